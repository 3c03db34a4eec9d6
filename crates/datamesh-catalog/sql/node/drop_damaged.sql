DELETE FROM damaged_shard WHERE segment = ?1 AND shard = ?2
