INSERT INTO operation (id, bytes) VALUES (?1, ?2)
