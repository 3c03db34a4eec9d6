SELECT transfer, id, acknowledged, sent, sum FROM segment
WHERE (transfer, id) > (?1, ?2) AND transfer NOT IN (SELECT id FROM transfer)
ORDER BY transfer, id LIMIT ?3
