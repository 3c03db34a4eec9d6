INSERT OR REPLACE INTO segment (transfer, id, acknowledged, sum) VALUES (?1, ?2, ?3, ?4)
