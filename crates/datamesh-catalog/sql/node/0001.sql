-- Version 1. The newest advert of each node.
CREATE TABLE advert (
    node BLOB PRIMARY KEY,
    sequence BLOB NOT NULL,
    expiry BLOB NOT NULL,
    bytes BLOB NOT NULL,
    sum BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX advert_expiry ON advert (expiry);

-- Receipts in the order in which they were saved, which is the order in which they are dropped.
CREATE TABLE receipt (
    saved INTEGER PRIMARY KEY,
    segment BLOB NOT NULL,
    shard INTEGER NOT NULL,
    node BLOB NOT NULL,
    bytes BLOB NOT NULL,
    sum BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX receipt_of ON receipt (segment, node, shard);

-- Grants that came with shards, in the order in which they were saved.
CREATE TABLE seen_grant (
    saved INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    bytes BLOB NOT NULL,
    sum BLOB NOT NULL
) STRICT;

CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    sum BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- How many rows the large tables have, so that nobody counts them.
CREATE TABLE tally (
    name TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO tally (name, count) VALUES ('receipt', 0), ('seen_grant', 0);
