-- Version 2. Copies of shards in this node's store that were found damaged, in the order in which
-- they were saved.
CREATE TABLE damaged_shard (
    saved INTEGER PRIMARY KEY,
    segment BLOB NOT NULL,
    shard INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    sum BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX damaged_shard_of ON damaged_shard (segment, shard);

-- What audits of each peer came to.
CREATE TABLE peer_audit (
    saved INTEGER PRIMARY KEY,
    node BLOB NOT NULL UNIQUE,
    bytes BLOB NOT NULL,
    sum BLOB NOT NULL
) STRICT;

INSERT INTO tally (name, count) VALUES ('damaged_shard', 0), ('peer_audit', 0);
