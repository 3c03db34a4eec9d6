INSERT INTO file (path, base, extension, size, stored) VALUES (?1, ?2, ?3, ?4, ?5)
