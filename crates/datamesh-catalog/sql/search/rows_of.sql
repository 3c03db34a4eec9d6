SELECT id FROM file WHERE path = ?1 OR base = ?1 AND base <> path
