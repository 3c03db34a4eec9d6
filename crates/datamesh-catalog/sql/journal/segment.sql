INSERT OR REPLACE INTO segment (transfer, id, acknowledged, sent, sum) VALUES (?1, ?2, ?3, ?4, ?5)
