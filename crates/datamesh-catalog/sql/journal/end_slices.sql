DELETE FROM slice WHERE transfer = ?1
