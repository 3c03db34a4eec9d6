SELECT number, hash, sealed, sum FROM slice WHERE transfer = ?1 AND number >= ?2 ORDER BY number LIMIT ?3
