//! How full the store is.

use std::sync::atomic::Ordering;

use datamesh_core::{GrantId, PublicKey, SegmentId, Timestamp};

use super::Store;
use super::read::bit;
use crate::error::StoreError;
use crate::index::{Copy, ShardState};

/// What one grant uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantUsage {
    /// The grant.
    pub grant: GrantId,
    /// Bytes of shards kept under it, those in the trash and damaged ones included.
    pub bytes: u64,
}

/// How full the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Most bytes of packs.
    pub capacity: u64,
    /// Bytes of packs.
    pub used: u64,
    /// Bytes of the records in them that something rests on, marks of shards not counted.
    pub live: u64,
    /// Bytes that may still be written: within the capacity, and above the file system's reserve.
    pub free: u64,
    /// Shards held.
    pub shards: u64,
    /// Bytes of their cells.
    pub shard_bytes: u64,
    /// Shards known to be damaged.
    pub damaged: u64,
    /// Shards in the trash whose lease ended.
    pub trash: u64,
    /// Bytes of their cells.
    pub trash_bytes: u64,
    /// Shards in the trash that another node has now.
    pub moved: u64,
    /// Bytes of their cells.
    pub moved_bytes: u64,
    /// Times since the opening that a shard in the trash was asked for.
    pub trash_asked: u64,
    /// Packs.
    pub packs: u64,
    /// Packs that could not be read when the store was opened.
    pub unreadable_packs: Vec<u32>,
    /// Why the store takes no writes, if it does not.
    pub read_only: Option<String>,
    /// What each grant uses.
    pub grants: Vec<GrantUsage>,
}

impl Store {
    /// How full the store is. Counts every shard: for a statistic, not for each request.
    ///
    /// # Errors
    /// [`StoreError::Disk`] where the file system does not say.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let packs = self.disk.list()?.iter().filter_map(|n| crate::pack::number_of(n)).count();
        let (capacity, used, free, read_only) = {
            let writer = self.writer();
            (writer.config.capacity, writer.used(), writer.free()?, writer.stopped.clone())
        };
        let index = self.index();
        let (mut shards, mut shard_bytes, mut damaged) = (0, 0, 0);
        let (mut trash, mut trash_bytes) = (0, 0);
        let (mut moved, mut moved_bytes) = (0, 0);
        for (_, copy, state) in index.after(None) {
            match state {
                ShardState::Held => {
                    shards += 1;
                    shard_bytes += u64::from(copy.cells());
                }
                ShardState::Damaged => damaged += 1,
                ShardState::Trash => {
                    trash += 1;
                    trash_bytes += u64::from(copy.cells());
                }
                ShardState::Moved => {
                    moved += 1;
                    moved_bytes += u64::from(copy.cells());
                }
            }
        }
        let grants =
            index.grants().iter().map(|g| GrantUsage { grant: g.id, bytes: g.used }).collect();
        Ok(Usage {
            capacity,
            used,
            live: index.bytes_by_pack().values().sum(),
            free,
            shards,
            shard_bytes,
            damaged,
            trash,
            trash_bytes,
            moved,
            moved_bytes,
            trash_asked: self.trash_asked.load(Ordering::Relaxed),
            packs: packs as u64,
            unreadable_packs: self.unreadable.clone(),
            read_only,
            grants,
        })
    }
}

/// What of a segment is kept under a grant and is not in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredUnder {
    /// The segment.
    pub segment: SegmentId,
    /// Its shards here, damaged ones too: bit i for shard i.
    pub shards: u32,
    /// Bytes of the cells of one.
    pub shard_bytes: u32,
    /// When the last of them was stored, or the segment renewed here, whichever was later.
    pub stored_at: Timestamp,
    /// When their lease ends; 0 where leases do not.
    pub lease_end: Timestamp,
}

impl Store {
    /// Segments behind `after` that are kept under grants for that key, in order, at most `count`,
    /// and whether there are more.
    pub fn stored_under(
        &self,
        key: &PublicKey,
        after: Option<SegmentId>,
        count: usize,
    ) -> (Vec<StoredUnder>, bool) {
        let grants: Vec<GrantId> = self.index().grants().iter().map(|grant| grant.id).collect();
        let theirs = |id: &GrantId| self.grant(id).is_ok_and(|grant| grant.key == *key);
        let grants: Vec<GrantId> = grants.into_iter().filter(theirs).collect();
        if grants.is_empty() {
            return (Vec::new(), false);
        }
        let mut page: Vec<(StoredUnder, u8, Copy)> = Vec::new();
        let mut more = false;
        {
            let index = self.index();
            let shards = index.after(after.map(|segment| (segment, u8::MAX)));
            let kept = shards
                .filter(|(_, _, state)| !matches!(state, ShardState::Trash | ShardState::Moved));
            for ((segment, shard), copy, _) in kept {
                let full = page.len() >= count;
                let last = page.last_mut().filter(|(last, ..)| last.segment == segment);
                let theirs = index.grant_of(&copy).is_some_and(|id| grants.contains(&id));
                match last {
                    Some((last, ..)) => last.shards |= bit(shard),
                    None if theirs && full => {
                        more = true;
                        break;
                    }
                    None if theirs => {
                        let (shards, shard_bytes) = (bit(shard), copy.cells());
                        let lease_end = index.lease_of(segment).map_or(0, |lease| lease.expiry);
                        let stored =
                            StoredUnder { segment, shards, shard_bytes, stored_at: 0, lease_end };
                        page.push((stored, shard, copy));
                    }
                    None => {}
                }
            }
        }
        let page = page.into_iter().map(|(mut stored, shard, copy)| {
            // One that cannot be read was stored at a time that nobody knows: it counts as new.
            let meta = self.meta_of(stored.segment, shard, &copy);
            let kept = self.lease_kept(stored.segment);
            let renewed = kept.map_or(Timestamp::MAX, |kept| kept.map_or(0, |kept| kept.time));
            stored.stored_at = meta.map_or(Timestamp::MAX, |meta| meta.stored_at.max(renewed));
            stored
        });
        (page.collect(), more)
    }
}
