INSERT OR REPLACE INTO setting (name, value, sum) VALUES (?1, ?2, ?3)
