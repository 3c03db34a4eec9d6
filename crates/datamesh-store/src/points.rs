//! Named points between the steps that make a change durable, where tests crash the disk.

/// The identity is written under its draft name.
pub const IDENTITY_WRITTEN: &str = "identity.written";
/// The identity has its name; the directory is not synced.
pub const IDENTITY_NAMED: &str = "identity.named";
/// A pack's file is created and has its header; nothing is synced.
pub const PACK_CREATED: &str = "pack.created";
/// The pack's header is synced; the directory is not.
pub const PACK_SYNCED: &str = "pack.synced";
/// The directory is synced; nothing is appended yet.
pub const PACK_LISTED: &str = "pack.listed";
/// A group is written and not synced.
pub const GROUP_WRITTEN: &str = "group.written";
/// A group is synced and nobody knows.
pub const GROUP_SYNCED: &str = "group.synced";
/// A pack's table is written and not synced.
pub const TABLE_WRITTEN: &str = "table.written";
/// A pack is sealed and the next one is not there.
pub const PACK_SEALED: &str = "pack.sealed";

/// What is live in a pack is copied and synced; the pack is still there.
pub const COMPACT_COPIED: &str = "compact.copied";
/// The record that gives the pack back is synced; the pack is still there.
pub const COMPACT_RECORDED: &str = "compact.recorded";
/// The pack's file is removed; the directory is not synced.
pub const PACK_REMOVED: &str = "pack.removed";
/// The directory is synced without the pack.
pub const PACK_FORGOTTEN: &str = "pack.forgotten";

/// All of them.
pub const ALL: [&str; 13] = [
    IDENTITY_WRITTEN,
    IDENTITY_NAMED,
    PACK_CREATED,
    PACK_SYNCED,
    PACK_LISTED,
    GROUP_WRITTEN,
    GROUP_SYNCED,
    TABLE_WRITTEN,
    PACK_SEALED,
    COMPACT_COPIED,
    COMPACT_RECORDED,
    PACK_REMOVED,
    PACK_FORGOTTEN,
];
