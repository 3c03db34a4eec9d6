SELECT count(*) FROM advert
