SELECT key, value, next, sum FROM entry WHERE key < ?1 ORDER BY key DESC LIMIT 1
