DELETE FROM tagged WHERE file = ?1
