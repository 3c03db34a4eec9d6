-- Version 1. Transfers under way; `what` is the hash of source and path.
CREATE TABLE transfer (
    id BLOB PRIMARY KEY,
    what BLOB NOT NULL,
    started INTEGER NOT NULL,
    record BLOB NOT NULL,
    sum BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX transfer_what ON transfer (what, started);

-- Slices whose segment is durable.
CREATE TABLE slice (
    transfer BLOB NOT NULL,
    number INTEGER NOT NULL,
    hash BLOB NOT NULL,
    sealed BLOB NOT NULL,
    sum BLOB NOT NULL,
    PRIMARY KEY (transfer, number)
) STRICT, WITHOUT ROWID;

-- Segments of which a node may hold a shard; `acknowledged` has a bit for each shard that one did
-- acknowledge, `sent` is when the first shard was about to leave. Those of no transfer, and those
-- that an ended transfer left, are of a transfer that is not in the table above.
CREATE TABLE segment (
    transfer BLOB NOT NULL,
    id BLOB NOT NULL,
    acknowledged INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    sum BLOB NOT NULL,
    PRIMARY KEY (transfer, id)
) STRICT, WITHOUT ROWID;

-- How far a log had come when it was last seen.
CREATE TABLE witness (
    device BLOB PRIMARY KEY,
    sequence INTEGER NOT NULL,
    hash BLOB NOT NULL,
    sum BLOB NOT NULL
) STRICT, WITHOUT ROWID;
