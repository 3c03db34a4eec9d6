INSERT INTO receipt (segment, node, shard, bytes, sum) VALUES (?1, ?2, ?3, ?4, ?5)
