SELECT bytes, sum FROM seen_grant ORDER BY saved LIMIT ?1
