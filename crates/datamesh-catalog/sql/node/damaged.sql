SELECT bytes, sum FROM damaged_shard WHERE (segment, shard) > (?1, ?2) ORDER BY segment, shard LIMIT ?3
