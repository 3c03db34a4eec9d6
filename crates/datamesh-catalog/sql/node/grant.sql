SELECT bytes, sum FROM seen_grant WHERE id = ?1
