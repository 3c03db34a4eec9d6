UPDATE tally SET count = ?2 WHERE name = ?1
