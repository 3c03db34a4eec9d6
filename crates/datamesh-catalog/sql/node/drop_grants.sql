DELETE FROM seen_grant WHERE saved IN (SELECT saved FROM seen_grant ORDER BY saved LIMIT ?1)
