DELETE FROM witness WHERE device = ?1
