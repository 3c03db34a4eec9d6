SELECT id, bytes FROM operation WHERE id BETWEEN ?1 AND ?2 ORDER BY id
