INSERT INTO peer_audit (node, bytes, sum) VALUES (?1, ?2, ?3)
