SELECT id, record, sum FROM transfer ORDER BY id
