DELETE FROM segment WHERE transfer = ?1
