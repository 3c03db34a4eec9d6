SELECT count(*) FROM segment WHERE transfer = ?1
