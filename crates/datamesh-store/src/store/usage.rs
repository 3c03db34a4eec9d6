//! How full the store is.

use datamesh_core::GrantId;

use super::Store;
use crate::error::StoreError;
use crate::index::ShardState;

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
    /// Bytes that may still be written: within the capacity, and above the file system's reserve.
    pub free: u64,
    /// Shards held.
    pub shards: u64,
    /// Bytes of their cells.
    pub shard_bytes: u64,
    /// Shards known to be damaged.
    pub damaged: u64,
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
        for (_, copy, state) in index.after(None) {
            match state {
                ShardState::Held => {
                    shards += 1;
                    shard_bytes += u64::from(copy.cells());
                }
                ShardState::Damaged => damaged += 1,
                ShardState::Trash => {}
            }
        }
        let grants =
            index.grants().iter().map(|g| GrantUsage { grant: g.id, bytes: g.used }).collect();
        Ok(Usage {
            capacity,
            used,
            free,
            shards,
            shard_bytes,
            damaged,
            packs: packs as u64,
            unreadable_packs: self.unreadable.clone(),
            read_only,
            grants,
        })
    }
}
