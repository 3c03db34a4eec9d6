DELETE FROM seen_grant WHERE id = ?1
