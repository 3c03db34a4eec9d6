DELETE FROM receipt WHERE saved IN (SELECT saved FROM receipt ORDER BY saved LIMIT ?1)
