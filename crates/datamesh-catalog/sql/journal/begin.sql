INSERT INTO transfer (id, what, started, record, sum) VALUES (?1, ?2, ?3, ?4, ?5)
