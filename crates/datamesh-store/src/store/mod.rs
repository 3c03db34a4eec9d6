//! The store: one directory's packs, their index, and who may do what with them.
//!
//! Calls block; they are made from threads that may. All of them may be made at the same time.
//!
//! Promised: what a call acknowledged survives any crash of the process, the system or the power;
//! what was not acknowledged is there whole or not at all; no bytes are returned that a check found
//! wrong. Not promised: that the disk keeps what it said it had synced. Such damage is found by
//! reading and by [scrubbing](Store::scrub_next), and never served.
//!
//! A shard leaves by the [`Collection`] alone, a power that a store gives out once, to the collector;
//! opening, writing, reading and scrubbing cannot remove.

mod collect;
mod compact;
mod damage;
mod heads;
mod lease;
mod open;
mod pin;
mod put;
mod read;
mod scrub;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use datamesh_core::SegmentId;
use datamesh_core::seam::Moment;

use crate::buffer::ReadPool;
use crate::commit::{Commit, Work};
use crate::disk::{Disk, DiskError, DiskFile, DiskLock};
use crate::error::{Damage, StoreError};
use crate::identity::StoreId;
use crate::index::{Index, Slot};
use crate::pack::name_of;
use crate::record::{Draft, RecordKey};
use crate::writer::{PackWriter, Written};

pub use collect::{
    AgreedClock, ClockError, Collected, Collection, CollectionTerms, Elsewhere, Kept, Removal,
};
pub use compact::PackReturned;
pub use damage::{DamagedShard, FoundDamaged};
pub use heads::{HEADS_MAX, HeadWrite};
pub use lease::{LEASE_CHANGES_MAX, LeaseChange, LeaseOutcome};
pub use put::ShardWrite;
pub use read::{PAGE_MAX, StoredShard};
pub use scrub::{ScrubCursor, ScrubReport};
pub use usage::{GrantUsage, StoredUnder, Usage};

/// Name of the lock file.
pub const LOCK_FILE: &str = "lock";

/// Most packs that are open for reading at once.
const FILES_MAX: usize = 128;

/// The shards on one disk.
#[derive(Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    id: StoreId,
    key: RecordKey,
    index: RwLock<Index>,
    commit: Commit,
    writer: Mutex<PackWriter>,
    /// The next record's.
    sequence: AtomicU64,
    files: Mutex<Files>,
    pool: ReadPool,
    /// Packs that could not be read when the store was opened.
    unreadable: Vec<u32>,
    /// Set where opening could not make sure that what it found is durable: then nothing that is
    /// here already may be acknowledged.
    uncertain: Option<String>,
    /// Slots whose heads are being written.
    head_slots: Mutex<BTreeSet<Slot>>,
    /// Damage that nobody was told of yet.
    damage_queue: Mutex<damage::DamageQueue>,
    /// Held by whoever judges leases and writes what follows.
    leases: Mutex<()>,
    /// Somebody has the power to remove.
    collected: AtomicBool,
    /// Times that a shard in the trash was asked for.
    trash_asked: AtomicU64,
    /// Goes last, when nothing writes any more.
    _lock: Box<dyn DiskLock>,
}

/// Packs open for reading, and when each was last used.
#[derive(Debug, Default)]
struct Files {
    open: BTreeMap<u32, (Arc<dyn DiskFile>, u64)>,
    uses: u64,
}

impl Files {
    fn keep(&mut self, pack: u32, file: Arc<dyn DiskFile>) {
        if self.open.len() >= FILES_MAX {
            let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(pack, _)| *pack);
            oldest.and_then(|oldest| self.open.remove(&oldest));
        }
        self.uses += 1;
        self.open.insert(pack, (file, self.uses));
    }
}

impl Store {
    /// The store's id, to be kept elsewhere and shown at the next opening. Secret.
    pub fn id(&self) -> StoreId {
        self.id
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, PackWriter> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head_slots(&self) -> MutexGuard<'_, BTreeSet<Slot>> {
        self.head_slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damage_queue(&self) -> MutexGuard<'_, damage::DamageQueue> {
        self.damage_queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease_turn(&self) -> MutexGuard<'_, ()> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    fn file(&self, pack: u32) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut files = self.files();
        files.uses += 1;
        let now = files.uses;
        if let Some((file, used)) = files.open.get_mut(&pack) {
            *used = now;
            return Ok(file.clone());
        }
        let file = self.disk.open(&name_of(pack))?;
        files.keep(pack, file.clone());
        Ok(file)
    }

    /// Makes records durable, together with what others write at the same time.
    fn write(&self, work: Work) -> Result<(), StoreError> {
        self.commit.run(
            work,
            |group| self.write_group(group),
            |written| {
                if let Some(written) = written {
                    self.publish(written);
                }
            },
        )
    }

    fn write_group(&self, group: &[Work]) -> (Vec<Result<(), StoreError>>, Option<Written>) {
        let mut writer = self.writer();
        let mut free = match writer.free() {
            Ok(free) => free,
            Err(error) => {
                return (group.iter().map(|_| Err(error.clone().into())).collect(), None);
            }
        };
        let mut results = Vec::with_capacity(group.len());
        let mut drafts: Vec<Draft<'_>> = Vec::new();
        let mut grants = Vec::new();
        for work in group {
            let needed = crate::table::room_for(work.bytes(), 1 + work.parts.len());
            if work.claim.is_some() && needed > free {
                results.push(Err(StoreError::Full { free, needed }));
                continue;
            }
            free = free.saturating_sub(needed);
            if let Some((id, part)) = &work.grant
                && !grants.contains(id)
                && self.index().grant(id).is_none_or(|grant| grant.record.is_none())
            {
                grants.push(*id);
                drafts.push(part.draft());
            }
            drafts.extend(work.parts.iter().map(|part| part.draft()));
            results.push(Ok(()));
        }
        if drafts.is_empty() {
            return (results, None);
        }
        let reached = |moment| {
            let works = group.iter().zip(&results).filter(|(_, result)| result.is_ok());
            works.into_iter().try_for_each(|(work, _)| self.disk.reached(work.point, moment))
        };
        let written = reached(Moment::Before).map_err(StoreError::from).and_then(|()| {
            let written = writer.append(&self.key, &drafts)?;
            reached(Moment::After)?;
            Ok(written)
        });
        match written {
            Ok(written) => (results, Some(written)),
            Err(error) => {
                let failed = |result: Result<(), StoreError>| result.and(Err(error.clone()));
                (results.into_iter().map(failed).collect(), None)
            }
        }
    }

    fn publish(&self, written: Written) {
        if let Some(file) = written.began {
            self.files().keep(written.pack, file);
        }
        let mut index = self.index_mut();
        for row in &written.rows {
            index.apply(written.pack, row);
        }
    }

    /// Remembers damage and says so.
    fn damaged(
        &self,
        segment: SegmentId,
        shard: u8,
        place: crate::index::Place,
        damage: Damage,
    ) -> StoreError {
        self.mark_damaged(segment, shard, place);
        StoreError::Damaged { segment, shard, damage }
    }
}
