INSERT INTO witness (device, sequence, hash, sum) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (device) DO UPDATE SET sequence = ?2, hash = ?3, sum = ?4 WHERE sequence < ?2
