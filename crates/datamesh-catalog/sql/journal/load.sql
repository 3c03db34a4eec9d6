SELECT id, record, sum FROM transfer WHERE what = ?1 ORDER BY started DESC, id
