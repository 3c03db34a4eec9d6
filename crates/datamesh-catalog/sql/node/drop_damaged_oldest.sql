DELETE FROM damaged_shard WHERE saved IN (SELECT saved FROM damaged_shard ORDER BY saved LIMIT ?1)
