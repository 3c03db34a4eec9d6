//! Columns of answers that are lists, as CSV: the fields of their items, in their order, whatever the items that
//! are there have.

/// Versions of files.
pub(crate) const FILES: &[&str] = &[
    "path", "kind", "file", "version", "number", "size", "hash", "created", "modified", "tags",
    "note", "scheme", "degraded", "deleted", "purged",
];

/// Folders and files of a folder.
pub(crate) const ENTRIES: &[&str] = &[
    "type", "path", "kind", "file", "version", "number", "size", "hash", "created", "modified",
    "tags", "note", "scheme", "degraded", "deleted", "purged",
];

/// Files with how often they were fetched.
pub(crate) const POPULAR: &[&str] = &[
    "file.path",
    "file.kind",
    "file.file",
    "file.version",
    "file.number",
    "file.size",
    "file.hash",
    "file.created",
    "file.modified",
    "file.tags",
    "file.note",
    "file.scheme",
    "file.degraded",
    "file.deleted",
    "file.purged",
    "fetches",
    "last_fetched",
];

/// Files that were stored.
pub(crate) const STORED: &[&str] =
    &["path", "file", "version", "size", "scheme", "margin", "degraded", "owed", "known_bytes"];

/// Files that would be stored.
pub(crate) const PLANNED: &[&str] = &["path", "file", "size", "tags"];

/// Files that have another name, or one more.
pub(crate) const PLACED: &[&str] = &["from", "to"];

/// Files with their tags and notes.
pub(crate) const LABELLED: &[&str] = &["path", "tags", "note", "unchanged"];

/// Files that were pinned or are no longer.
pub(crate) const PINNED: &[&str] = &["path", "unchanged"];

/// Pins.
pub(crate) const PINS: &[&str] = &["file", "path", "deleted", "priority", "until", "since"];

/// Shares.
pub(crate) const SHARES: &[&str] =
    &["share", "path", "file", "created", "expires", "person", "password", "state", "link"];

/// What a sync did or would do.
pub(crate) const ACTIONS: &[&str] = &["action", "path", "to", "size"];

/// Nodes of the mesh.
pub(crate) const PEERS: &[&str] = &[
    "node",
    "local",
    "state",
    "domain",
    "operator",
    "addresses",
    "capacity",
    "free_sixteenths",
    "release",
    "heard",
    "latency_ms",
    "goodput",
    "successes",
    "failures",
    "wrong",
];

/// Peers that were found.
pub(crate) const FOUND: &[&str] = &["node", "found_by", "addresses", "member", "connected"];

/// Peers that a node begins with.
pub(crate) const BOOTSTRAP: &[&str] = &[
    "address",
    "priority",
    "region",
    "node",
    "answered",
    "took_ms",
    "failures",
    "last_error",
    "next_try",
];

/// Presets of the network.
pub(crate) const PRESETS: &[&str] =
    &["name", "chosen", "dht", "mdns", "upnp", "probe", "relays", "serve_relay", "about"];

/// Nodes as they stand in the topology.
pub(crate) const NODES: &[&str] =
    &["node", "domain", "state", "local", "distance", "asked", "connected"];

/// Nodes with the shards that they hold.
pub(crate) const HOLDERS: &[&str] = &["node", "domain", "shards"];

/// What was found to be right or wrong.
pub(crate) const FINDINGS: &[&str] = &["subject", "severity", "message", "hint"];

/// Settings.
pub(crate) const SETTINGS: &[&str] = &["key", "value", "origin", "about"];

/// Workers of the service.
pub(crate) const WORKERS: &[&str] = &[
    "name",
    "state",
    "since",
    "restarts",
    "last_failure",
    "throttle",
    "progress.done",
    "progress.total",
    "progress.unit",
];

/// Puts that were broken off.
pub(crate) const TRANSFERS: &[&str] = &["source", "size", "path", "started", "changed"];

/// Figures of a benchmark.
pub(crate) const FIGURES: &[&str] = &[
    "group",
    "name",
    "node",
    "value",
    "unit",
    "least",
    "most",
    "iterations",
    "limit.name",
    "limit.ratio",
];

/// Devices of the account.
pub(crate) const DEVICES: &[&str] =
    &["device", "this", "issued", "log", "current", "operations", "revoked"];

/// Records of the audit log.
pub(crate) const AUDIT_LOG: &[&str] = &["number", "time", "event", "detail", "previous", "hash"];
