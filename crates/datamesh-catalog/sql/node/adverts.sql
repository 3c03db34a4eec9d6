SELECT bytes, sum FROM advert ORDER BY node
