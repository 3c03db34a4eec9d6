SELECT count(*) FROM transfer
