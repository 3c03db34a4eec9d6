SELECT bytes FROM operation WHERE id = ?1
