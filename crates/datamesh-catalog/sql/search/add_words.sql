INSERT INTO words (rowid, name, folder, tags, note) VALUES (?1, ?2, ?3, ?4, ?5)
