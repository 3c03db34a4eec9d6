SELECT DISTINCT file FROM fetched WHERE day >= ?1
