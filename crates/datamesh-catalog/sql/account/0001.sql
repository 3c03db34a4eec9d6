-- Version 1. Every operation as it was signed, by log number << 40 | sequence: operations of one
-- log lie together, in order.
CREATE TABLE operation (
    id INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

-- Everything derived from the operations, in one ordered map whose rows prove themselves; the keys
-- are listed in src/account/record.rs.
CREATE TABLE entry (
    key BLOB PRIMARY KEY,
    value BLOB NOT NULL,
    next BLOB NOT NULL,
    sum BLOB NOT NULL
) STRICT, WITHOUT ROWID;
