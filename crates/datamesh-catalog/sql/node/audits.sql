SELECT bytes, sum FROM peer_audit ORDER BY node
