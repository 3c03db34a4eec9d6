INSERT INTO seen_grant (id, bytes, sum) VALUES (?1, ?2, ?3)
