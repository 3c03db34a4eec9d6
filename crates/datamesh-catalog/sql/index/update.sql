UPDATE entry SET value = ?2, next = ?3, sum = ?4 WHERE key = ?1
