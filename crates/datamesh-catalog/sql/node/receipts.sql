SELECT bytes, sum FROM receipt WHERE segment = ?1 ORDER BY node, shard LIMIT ?2
