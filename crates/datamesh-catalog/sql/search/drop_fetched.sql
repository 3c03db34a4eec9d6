DELETE FROM fetched WHERE day < ?1
