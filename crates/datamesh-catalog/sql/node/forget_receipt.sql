DELETE FROM receipt WHERE segment = ?1 AND node = ?2
