DELETE FROM peer_audit WHERE saved IN (SELECT saved FROM peer_audit ORDER BY saved LIMIT ?1)
