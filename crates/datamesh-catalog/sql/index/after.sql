SELECT key, value, next, sum FROM entry WHERE key > ?1 ORDER BY key LIMIT 1
