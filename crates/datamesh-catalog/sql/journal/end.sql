DELETE FROM transfer WHERE id = ?1
