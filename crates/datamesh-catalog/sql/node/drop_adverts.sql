DELETE FROM advert WHERE node IN (SELECT node FROM advert ORDER BY expiry, node LIMIT ?1)
