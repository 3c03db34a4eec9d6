SELECT bytes, sum FROM advert WHERE node = ?1
