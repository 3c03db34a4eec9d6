//! Opening: whose store it is, and the fold of what its packs hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, RwLock};

use datamesh_core::Entropy;

use super::{Files, LOCK_FILE, Store};
use crate::buffer::{AlignedBuffer, ReadPool};
use crate::commit::Commit;
use crate::config::StoreConfig;
use crate::disk::{ALIGNMENT, Disk, DiskError, DiskFile};
use crate::error::StoreError;
use crate::identity::{self, Owner};
use crate::index::Index;
use crate::pack::{PACK_ROWS_MAX, name_of, number_of};
use crate::points::{self, step};
use crate::record::{RECORD_ALIGNMENT, RecordKey};
use crate::scan::scan;
use crate::table::{read_table, table_bytes};
use crate::writer::{OpenPack, PackWriter, seal};

/// Sequences left out after damage was found: more than could have been given to records that were
/// in flight, so that none is used twice.
const SEQUENCE_GAP: u64 = 1 << 20;

impl Store {
    /// Opens the store on `disk`, or makes one where the directory is empty and the owner knows of
    /// no store. `entropy` is asked only for a new store's id.
    ///
    /// # Errors
    /// [`StoreError::IdentityMissing`], [`StoreError::IdentityDamaged`], [`StoreError::OtherNode`],
    /// [`StoreError::OtherStore`] and [`StoreError::DirectoryNotEmpty`] where the directory is not
    /// this owner's store; [`DiskError::Locked`] where another has it open.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: StoreConfig,
        owner: &Owner,
        entropy: &dyn Entropy,
    ) -> Result<Arc<Self>, StoreError> {
        let lock = disk.lock(LOCK_FILE)?;
        let id = identity::open(&*disk, owner, entropy, &[LOCK_FILE])?;
        let key = RecordKey::of(&id);
        let pool = ReadPool::default();
        let mut opening = Opening {
            disk: &*disk,
            key: &key,
            pool: &pool,
            index: Index::default(),
            open: None,
            closed_bytes: 0,
            unreadable: Vec::new(),
            damaged_bytes: 0,
            uncertain: None,
        };
        let packs: Vec<u32> = disk.list()?.iter().filter_map(|name| number_of(name)).collect();
        for pack in &packs {
            let last = Some(pack) == packs.last();
            match opening.pack(*pack, last, &config) {
                Ok(()) => {}
                Err(DiskError::Io { .. } | DiskError::Missing { .. }) => {
                    opening.unreadable.push(*pack);
                }
                Err(error) => return Err(error.into()),
            }
        }
        // A directory that a crash left unsynced may still forget a pack that is in it.
        opening.certain(step(&*disk, points::OPEN_LIST, || disk.sync_directory()));
        let Opening { mut index, open, closed_bytes, unreadable, damaged_bytes, uncertain, .. } =
            opening;
        index.follow_leases();
        index.settle();
        let gap = if damaged_bytes == 0 && unreadable.is_empty() {
            1
        } else {
            SEQUENCE_GAP + damaged_bytes / RECORD_ALIGNMENT as u64
        };
        let sequence = AtomicU64::new(index.sequence_max().saturating_add(gap));
        let next_number = packs.last().map_or(1, |last| last.saturating_add(1));
        let mut writer = PackWriter::new(disk.clone(), config, open, next_number, closed_bytes);
        writer.stopped.clone_from(&uncertain);
        Ok(Arc::new(Self {
            disk,
            id,
            key,
            index: RwLock::new(index),
            commit: Commit::default(),
            writer: Mutex::new(writer),
            sequence,
            files: Mutex::new(Files::default()),
            pool,
            unreadable,
            uncertain,
            head_slots: Mutex::default(),
            damage_queue: Mutex::default(),
            leases: Mutex::default(),
            collected: AtomicBool::new(false),
            trash_asked: AtomicU64::new(0),
            _lock: lock,
        }))
    }
}

struct Opening<'a> {
    disk: &'a dyn Disk,
    key: &'a RecordKey,
    pool: &'a ReadPool,
    index: Index,
    open: Option<OpenPack>,
    closed_bytes: u64,
    unreadable: Vec<u32>,
    damaged_bytes: u64,
    uncertain: Option<String>,
}

impl Opening<'_> {
    fn certain(&mut self, synced: Result<(), DiskError>) {
        if let Err(error) = synced {
            self.uncertain = Some(format!("what it found could not be synced: {error}"));
        }
    }

    fn pack(&mut self, pack: u32, last: bool, config: &StoreConfig) -> Result<(), DiskError> {
        // Every pack but the last was synced whole before the next one was begun, unless its own
        // last sync failed, and then it has no table.
        if !last {
            let file = self.disk.open(&name_of(pack))?;
            if let Some(rows) = read_table(&*file, self.key, pack) {
                rows.iter().for_each(|row| self.index.apply(pack, row));
                self.closed_bytes += file.length()?;
                return Ok(());
            }
        }
        let file = self.synced(pack)?;
        if let Some(rows) = read_table(&*file, self.key, pack) {
            rows.iter().for_each(|row| self.index.apply(pack, row));
            self.closed_bytes += file.length()?;
            return Ok(());
        }
        let found = scan(&*file, self.key, pack, self.pool)?;
        found.rows.iter().for_each(|row| self.index.apply(pack, row));
        self.damaged_bytes += found.unreadable;
        let end = found.end.next_multiple_of(ALIGNMENT as u64);
        let open = OpenPack { number: pack, file, end, allocated: end, rows: found.rows };
        let full = end + table_bytes(open.rows.len() + 1) > config.pack_bytes;
        if self.uncertain.is_some() || open.rows.len() > PACK_ROWS_MAX {
            self.closed_bytes += end;
        } else if last && !full && end > 0 {
            self.open = Some(open);
        } else {
            // Where sealing fails, the pack stays as it is and is scanned again the next time.
            let sealed = seal(self.disk, self.key, &open, &mut AlignedBuffer::default());
            self.closed_bytes += sealed.unwrap_or(end);
        }
        Ok(())
    }

    /// A pack whose bytes may be on their way to the disk, if the last process was killed between
    /// writing and syncing: they must be on it before they count. What was in the page cache only
    /// because a sync failed is dropped from it.
    fn synced(&mut self, pack: u32) -> Result<Arc<dyn DiskFile>, DiskError> {
        let name = name_of(pack);
        let file = match self.disk.open_append(&name) {
            Ok(file) => file,
            Err(error @ DiskError::ReadOnly { .. }) => {
                self.certain(Err(error));
                return self.disk.open(&name);
            }
            Err(error) => return Err(error),
        };
        let synced = step(self.disk, points::OPEN_SYNC, || file.sync_data());
        self.certain(synced);
        file.discard_cached(0, file.length()?);
        Ok(file)
    }
}
