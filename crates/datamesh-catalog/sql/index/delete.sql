DELETE FROM entry WHERE key = ?1
