INSERT INTO tagged (tag, file) VALUES (?1, ?2)
