SELECT count(*) FROM operation
