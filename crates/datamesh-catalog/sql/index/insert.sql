INSERT INTO entry (key, value, next, sum) VALUES (?1, ?2, ?3, ?4)
