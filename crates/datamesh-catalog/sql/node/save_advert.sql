INSERT OR REPLACE INTO advert (node, sequence, expiry, bytes, sum) VALUES (?1, ?2, ?3, ?4, ?5)
