SELECT id, acknowledged, sent, sum FROM segment WHERE transfer = ?1 AND id > ?2 ORDER BY id LIMIT ?3
