SELECT sequence FROM seen WHERE log = ?1
