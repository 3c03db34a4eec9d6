SELECT count FROM tally WHERE name = ?1
