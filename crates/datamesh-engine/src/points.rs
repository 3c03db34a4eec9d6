//! Named steps towards something durable, around which tests end the process.

/// A segment's shards are handed to its holders.
pub const SEGMENT_SEND: &str = "segment.send";
/// One shard is handed to one holder.
pub const SHARD_SEND: &str = "shard.send";
/// A head is handed to those who keep it, until a quorum has it.
pub const HEAD_QUORUM: &str = "head.quorum";
/// A head is handed to one of them.
pub const HEAD_SEND: &str = "head.send";
/// A head is handed on to whoever keeps it now.
pub const HEAD_MOVE: &str = "head.move";
/// Leases are renewed everywhere.
pub const LEASES_RENEW: &str = "leases.renew";
/// Leases are ended everywhere.
pub const LEASES_RELEASE: &str = "leases.release";
/// Holders are told what is pinned.
pub const SEGMENTS_PIN: &str = "segments.pin";

/// A shard that has to move is fetched.
pub const REPAIR_COPY: &str = "repair.copy";
/// The shards that others are rebuilt from are fetched.
pub const REPAIR_FETCH: &str = "repair.fetch";
/// What is lost is rebuilt and compared with its roots.
pub const REPAIR_REBUILD: &str = "repair.rebuild";
/// A shard is handed to its new holder.
pub const REPAIR_SEND: &str = "repair.send";
/// The new holder proves that it has it.
pub const REPAIR_VERIFY: &str = "repair.verify";
/// Its receipt is kept.
pub const REPAIR_NOTE: &str = "repair.note";

/// A node asks what was released while it did not hear of it.
pub const COLLECT_RECONCILE: &str = "collect.reconcile";
/// What is due goes to the trash, and what lay there long enough is removed.
pub const COLLECT_REMOVE: &str = "collect.remove";
/// A pack gives its room back.
pub const COLLECT_COMPACT: &str = "collect.compact";

/// All of them.
pub const ALL: [&str; 17] = [
    SEGMENT_SEND,
    SHARD_SEND,
    HEAD_QUORUM,
    HEAD_SEND,
    HEAD_MOVE,
    LEASES_RENEW,
    LEASES_RELEASE,
    SEGMENTS_PIN,
    REPAIR_COPY,
    REPAIR_FETCH,
    REPAIR_REBUILD,
    REPAIR_SEND,
    REPAIR_VERIFY,
    REPAIR_NOTE,
    COLLECT_RECONCILE,
    COLLECT_REMOVE,
    COLLECT_COMPACT,
];
