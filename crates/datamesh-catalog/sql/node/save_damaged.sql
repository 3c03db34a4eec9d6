INSERT INTO damaged_shard (segment, shard, bytes, sum) VALUES (?1, ?2, ?3, ?4)
