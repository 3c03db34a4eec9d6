DELETE FROM segment WHERE transfer = ?1 AND id = ?2
