-- Version 1. What searches look through: a row for each path that is listed. `base` is the path of which
-- it is a version: another one where it is listed as a conflict.
CREATE TABLE file (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    base TEXT NOT NULL,
    extension TEXT NOT NULL,
    size INTEGER NOT NULL,
    stored INTEGER NOT NULL
) STRICT;

CREATE INDEX file_base ON file (base) WHERE base <> path;
CREATE INDEX file_size ON file (size, path);
CREATE INDEX file_stored ON file (stored, path);

CREATE TABLE tagged (
    tag TEXT NOT NULL,
    file INTEGER NOT NULL,
    PRIMARY KEY (tag, file)
) STRICT, WITHOUT ROWID;

CREATE INDEX tagged_file ON tagged (file);

-- The words of the same rows, by their ids.
CREATE VIRTUAL TABLE words USING fts5 (
    name, folder, tags, note,
    content = '', contentless_delete = 1,
    tokenize = "unicode61 remove_diacritics 2", prefix = '2 3'
);

-- Up to which operation each log was looked at.
CREATE TABLE seen (
    log BLOB PRIMARY KEY,
    sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How often a file was fetched on this device, day by day.
CREATE TABLE fetched (
    day INTEGER NOT NULL,
    file BLOB NOT NULL,
    count INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (day, file)
) STRICT, WITHOUT ROWID;
