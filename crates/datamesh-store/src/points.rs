//! Named steps that make a change durable, where tests crash the disk: before one, in the middle of
//! it, and when it is done and nobody knows.

use datamesh_core::seam::Moment;

use crate::disk::{Disk, DiskError};

/// The identity is written under its draft name and synced.
pub const IDENTITY_WRITE: &str = "identity.write";
/// The identity gets its name.
pub const IDENTITY_NAME: &str = "identity.name";
/// The directory is synced with the identity in it.
pub const IDENTITY_LIST: &str = "identity.list";
/// A pack's file is created and gets its header.
pub const PACK_CREATE: &str = "pack.create";
/// The pack's header is synced.
pub const PACK_SYNC: &str = "pack.sync";
/// The directory is synced with the pack in it.
pub const PACK_LIST: &str = "pack.list";
/// Room is reserved for what comes.
pub const PACK_RESERVE: &str = "pack.reserve";
/// A group is written.
pub const GROUP_WRITE: &str = "group.write";
/// A group is synced.
pub const GROUP_SYNC: &str = "group.sync";
/// A pack's table is written.
pub const TABLE_WRITE: &str = "table.write";
/// A pack's table is synced: the pack is sealed.
pub const TABLE_SYNC: &str = "table.sync";
/// Room that a sealed pack does not need is given back.
pub const PACK_TRIM: &str = "pack.trim";
/// What is found at an opening is synced before it counts.
pub const OPEN_SYNC: &str = "open.sync";
/// The directory is synced at an opening.
pub const OPEN_LIST: &str = "open.list";

/// A shard and its receipt are stored.
pub const SHARD_STORE: &str = "shard.store";
/// A receipt takes another one's place.
pub const RECEIPT_RENEW: &str = "receipt.renew";
/// Leases are renewed, and shards leave the trash.
pub const LEASE_RENEW: &str = "lease.renew";
/// Leases are ended, and shards go to the trash.
pub const LEASE_RELEASE: &str = "lease.release";
/// Segments are pinned, or no longer.
pub const PIN_KEEP: &str = "pin.keep";
/// A head is kept.
pub const HEAD_KEEP: &str = "head.keep";
/// Shards whose lease ended long ago go to the trash.
pub const TRASH_SWEEP: &str = "trash.sweep";
/// Shards that came to the trash while the clock was ahead are marked with the right time.
pub const TRASH_MARK: &str = "trash.mark";
/// A shard goes to the trash because another node has it.
pub const SHARD_GIVE_UP: &str = "shard.give_up";
/// Shards that were given up are held again.
pub const SHARD_TAKE_BACK: &str = "shard.take_back";
/// Shards are removed.
pub const SHARD_REMOVE: &str = "shard.remove";

/// What is live in a pack is copied.
pub const COMPACT_COPY: &str = "compact.copy";
/// The record that gives the pack back is written.
pub const COMPACT_RECORD: &str = "compact.record";
/// The pack's file is removed.
pub const PACK_REMOVE: &str = "pack.remove";
/// The directory is synced without the pack.
pub const PACK_FORGET: &str = "pack.forget";

/// All of them.
pub const ALL: [&str; 29] = [
    IDENTITY_WRITE,
    IDENTITY_NAME,
    IDENTITY_LIST,
    PACK_CREATE,
    PACK_SYNC,
    PACK_LIST,
    PACK_RESERVE,
    GROUP_WRITE,
    GROUP_SYNC,
    TABLE_WRITE,
    TABLE_SYNC,
    PACK_TRIM,
    OPEN_SYNC,
    OPEN_LIST,
    SHARD_STORE,
    RECEIPT_RENEW,
    LEASE_RENEW,
    LEASE_RELEASE,
    PIN_KEEP,
    HEAD_KEEP,
    TRASH_SWEEP,
    TRASH_MARK,
    SHARD_GIVE_UP,
    SHARD_TAKE_BACK,
    SHARD_REMOVE,
    COMPACT_COPY,
    COMPACT_RECORD,
    PACK_REMOVE,
    PACK_FORGET,
];

/// Takes a step, and tells the disk before and after.
pub(crate) fn step<T>(
    disk: &dyn Disk,
    point: &'static str,
    work: impl FnOnce() -> Result<T, DiskError>,
) -> Result<T, DiskError> {
    disk.reached(point, Moment::Before)?;
    let done = work()?;
    disk.reached(point, Moment::After)?;
    Ok(done)
}
