INSERT OR REPLACE INTO seen (log, sequence) VALUES (?1, ?2)
