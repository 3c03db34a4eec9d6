DELETE FROM advert WHERE node = ?1
