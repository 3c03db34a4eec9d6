SELECT count(*) FROM transfer WHERE id = ?1
