INSERT OR REPLACE INTO slice (transfer, number, hash, sealed, sum) VALUES (?1, ?2, ?3, ?4, ?5)
