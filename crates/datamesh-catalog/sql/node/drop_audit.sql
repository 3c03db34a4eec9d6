DELETE FROM peer_audit WHERE node = ?1
