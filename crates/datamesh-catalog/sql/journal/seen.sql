SELECT sequence, hash, sum FROM witness WHERE device = ?1
