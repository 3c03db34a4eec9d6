INSERT INTO fetched (day, file, count, last) VALUES (?1, ?2, 1, ?3)
ON CONFLICT (day, file) DO UPDATE SET count = count + 1, last = max(last, ?3)
