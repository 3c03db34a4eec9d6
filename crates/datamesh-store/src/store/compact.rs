//! Compaction: a pack of which little is live gives its room back.
//!
//! What the state rests on is copied to the open pack under its own sequence, synced, and only then
//! the file goes. Whenever it breaks off, a record is there once or twice, never not at all; two
//! records of one sequence are copies, and either serves.
//!
//! Marks need care: that a shard was removed must be known for as long as any record of that shard
//! lies in any pack, or it would come back at the next start. So a mark goes only where no older
//! record of its shard is left elsewhere, and a directory whose last removal is not synced for certain
//! loses nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use datamesh_core::wire::{Encode, decode};
use datamesh_core::{Hash, SegmentId};

use super::Store;
use super::collect::{AgreedClock, Collection};
use crate::commit::{Part, Work};
use crate::disk::{DiskError, DiskFile};
use crate::error::{Damage, StoreError};
use crate::index::Place;
use crate::pack::{Expected, name_of, number_of};
use crate::points::{self, step};
use crate::record::{Compacted, HEADER_BYTES, Header, Kind, Row, ShardMeta, root_of};
use crate::scan::scan;
use crate::table::read_table;
use crate::writer::PackWriter;

/// Bytes copied at a time: half a group, so that writers wait little.
const COPY_BYTES: u64 = 4 << 20;

/// Records copied at a time.
const COPY_RECORDS: usize = 4096;

/// An open pack with less dead in it than this is left alone.
const DEAD_BYTES_MIN: u64 = 1 << 20;

/// What a compaction takes beside the copies, at most: fill of groups, the record of the pack, and a
/// pack's head and table. Each must gain more than that, or small packs would be rewritten for ever.
const COSTS_BYTES: u64 = 32 << 10;

/// Whether a pack with so much live in it is worth rewriting: where half of it is dead; in a store that
/// is `tight`, a quarter.
fn is_worthwhile(live: u64, length: u64, tight: bool) -> bool {
    let most = if tight { length / 4 * 3 } else { length / 2 };
    live + COSTS_BYTES / 2 <= most
}

/// Whether a store is more than half full.
fn is_tight(writer: &PackWriter) -> bool {
    writer.used() > writer.config.capacity / 2
}

/// What a compaction gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackReturned {
    /// The pack.
    pub pack: u32,
    /// Bytes of its file.
    pub bytes: u64,
    /// Bytes of its records that are in another pack now.
    pub copied: u64,
}

/// The oldest record of each shard that lies somewhere.
type Oldest = BTreeMap<(SegmentId, u8), u64>;

impl Collection {
    /// Gives back the room of one pack of which less than half is live, or less than three quarters
    /// where the store is more than half full, if there is one. Takes as much room for the copies first, beyond the capacity and from the reserve if need be.
    ///
    /// # Errors
    /// The errors of writing and of the disk; the pack is there then, or gone, and nothing is lost.
    pub fn compact(&mut self, clock: &AgreedClock) -> Result<Option<PackReturned>, StoreError> {
        let store = Arc::clone(&self.store);
        if let Some(reason) = &store.uncertain {
            return Err(StoreError::ReadOnly { reason: reason.clone() });
        }
        if self.unsynced {
            store.disk.sync_directory()?;
            self.unsynced = false;
        }
        let live = store.index().bytes_by_pack();
        store.seal_wasteful(&live);
        let (open, begun, tight) = {
            let writer = store.writer();
            let open = writer.open.as_ref().map(|open| open.number);
            (open, writer.next_number, is_tight(&writer))
        };
        // What was written into a pack that takes no more must be known before it counts as dead, and
        // packs that are begun from now on are not looked at.
        store.commit.settle();
        let mut candidates = Vec::new();
        for name in store.disk.list()? {
            let Some(pack) = number_of(&name) else { continue };
            if pack >= begun || Some(pack) == open || store.unreadable.contains(&pack) {
                continue;
            }
            let length = match store.file(pack).and_then(|file| file.length()) {
                Ok(length) => length,
                Err(DiskError::Missing { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let live = live.get(&pack).copied().unwrap_or(0);
            if is_worthwhile(live, length, tight) {
                candidates.push((length - live, pack, length));
            }
        }
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        for (_, pack, length) in candidates {
            if let Some(copied) = self.empty(pack, length, tight, clock)? {
                self.give_back(pack, length)?;
                return Ok(Some(PackReturned { pack, bytes: length, copied }));
            }
        }
        Ok(None)
    }

    /// Copies what is live in a pack. Nothing where that is too much after all, or some of it is
    /// damaged: then the pack stays, as repair may still need what is left.
    fn empty(
        &mut self,
        pack: u32,
        length: u64,
        tight: bool,
        clock: &AgreedClock,
    ) -> Result<Option<u64>, StoreError> {
        let store = Arc::clone(&self.store);
        self.stuck.remove(&pack);
        let file = store.file(pack)?;
        let rows = store.rows_of(pack, &*file)?;
        let live = self.live(pack, rows, clock)?;
        let bytes: u64 = live.iter().map(|row| row.record_bytes()).sum();
        if !is_worthwhile(bytes, length, tight) {
            return Ok(None);
        }
        let (mut parts, mut waiting) = (Vec::new(), 0);
        for row in &live {
            let part = match store.part_of(pack, &*file, row) {
                Ok(part) => part,
                Err(_) => {
                    self.stuck.insert(pack);
                    return Ok(None);
                }
            };
            waiting += part.bytes();
            parts.push(part);
            if waiting >= COPY_BYTES || parts.len() >= COPY_RECORDS {
                let parts = std::mem::take(&mut parts);
                store.write(Work::of(points::COMPACT_COPY, parts))?;
                waiting = 0;
            }
        }
        if !parts.is_empty() {
            store.write(Work::of(points::COMPACT_COPY, parts))?;
        }
        let mut index = store.index_mut();
        for row in live.iter().filter(|row| row.known().is_some()) {
            if index.rests_on(Place { pack, at: row.at }, row) {
                return Ok(None);
            }
        }
        index.settle();
        Ok(Some(bytes))
    }

    /// The records of a pack that must outlive it.
    fn live(&self, pack: u32, rows: Vec<Row>, clock: &AgreedClock) -> Result<Vec<Row>, StoreError> {
        let store = &*self.store;
        let marked: BTreeSet<(SegmentId, u8)> = rows
            .iter()
            .filter(|row| is_mark(row))
            .map(|row| (SegmentId(row.key), row.shard))
            .collect();
        let elsewhere = store.oldest_elsewhere(pack, &marked)?;
        let before = clock.now().saturating_sub(self.terms.tombstone_ms);
        let mut index = store.index_mut();
        let mut live: Vec<Row> = Vec::new();
        for row in rows.iter().filter(|row| !is_mark(row)) {
            let place = Place { pack, at: row.at };
            let segment = SegmentId(row.key);
            let keep = match row.known() {
                None => true,
                Some(Kind::Tombstone) if index.tombstone_is_due(segment, before) => {
                    index.forget_lease(segment, place);
                    false
                }
                // The newest one is written when a pack goes.
                Some(Kind::Compacted) => false,
                Some(_) => index.rests_on(place, row),
            };
            if keep {
                live.push(*row);
            }
        }
        let kept: Oldest = oldest(live.iter());
        for row in rows.iter().filter(|row| is_mark(row)) {
            let key = (SegmentId(row.key), row.shard);
            let older = |oldest: &Oldest| oldest.get(&key).is_some_and(|seq| *seq < row.sequence);
            let needed = match &elsewhere {
                Some(elsewhere) => older(elsewhere) || older(&kept),
                None => true,
            };
            if needed && index.newest_mark(&key, row.sequence).unwrap_or(true) {
                live.push(*row);
            }
        }
        live.sort_unstable_by_key(|row| row.at);
        Ok(live)
    }

    /// Removes a pack's file, whose records are elsewhere. A record of its own says so first: it
    /// takes a new sequence, so that none is given twice, and a pack of a higher number.
    fn give_back(&mut self, pack: u32, length: u64) -> Result<(), StoreError> {
        let store = Arc::clone(&self.store);
        let record =
            Part::of(Kind::Compacted, store.next_sequence(), Compacted { pack }.to_bytes());
        store.write(Work::of(points::COMPACT_RECORD, vec![record]))?;
        self.unsynced = true;
        step(&*store.disk, points::PACK_REMOVE, || {
            store.disk.remove(&name_of(pack))?;
            // Open it would keep its room.
            store.files().open.remove(&pack);
            store.writer().gave_back(length);
            Ok(())
        })?;
        step(&*store.disk, points::PACK_FORGET, || store.disk.sync_directory())?;
        self.unsynced = false;
        Ok(())
    }
}

fn is_mark(row: &Row) -> bool {
    matches!(row.known(), Some(Kind::Trash | Kind::Moved | Kind::Revive | Kind::Removed))
}

/// The oldest record of each shard among these.
fn oldest<'a>(rows: impl Iterator<Item = &'a Row>) -> Oldest {
    let mut oldest = Oldest::new();
    for row in rows.filter(|row| row.known() == Some(Kind::Shard)) {
        let sequence = oldest.entry((SegmentId(row.key), row.shard)).or_insert(row.sequence);
        *sequence = row.sequence.min(*sequence);
    }
    oldest
}

impl Store {
    /// Ends the open pack where it would be worth rewriting and enough of it to matter is dead: a small
    /// store may have no other.
    fn seal_wasteful(&self, live: &BTreeMap<u32, u64>) {
        let mut writer = self.writer();
        let tight = is_tight(&writer);
        let wasteful = writer.open.as_ref().is_some_and(|open| {
            let live = live.get(&open.number).copied().unwrap_or(0);
            open.end.saturating_sub(live) >= DEAD_BYTES_MIN && is_worthwhile(live, open.end, tight)
        });
        if wasteful {
            writer.seal_open(&self.key);
        }
    }

    /// The records of a pack.
    fn rows_of(&self, pack: u32, file: &dyn DiskFile) -> Result<Vec<Row>, StoreError> {
        if let Some(open) = self.writer().open.as_ref().filter(|open| open.number == pack) {
            return Ok(open.rows.clone());
        }
        match read_table(file, &self.key, pack) {
            Some(rows) => Ok(rows),
            None => Ok(scan(file, &self.key, pack, &self.pool)?.rows),
        }
    }

    /// The oldest record of each of these shards that lies in another pack; nothing where a pack
    /// cannot be looked at.
    fn oldest_elsewhere(
        &self,
        pack: u32,
        shards: &BTreeSet<(SegmentId, u8)>,
    ) -> Result<Option<Oldest>, StoreError> {
        if shards.is_empty() {
            return Ok(Some(Oldest::new()));
        }
        if !self.unreadable.is_empty() {
            return Ok(None);
        }
        let mut found = Oldest::new();
        for name in self.disk.list()? {
            let Some(other) = number_of(&name).filter(|other| *other != pack) else { continue };
            let rows = self.rows_of(other, &*self.file(other)?)?;
            let mut rows = oldest(rows.iter());
            rows.retain(|key, _| shards.contains(key));
            for (key, sequence) in rows {
                let kept = found.entry(key).or_insert(sequence);
                *kept = sequence.min(*kept);
            }
        }
        Ok(Some(found))
    }

    /// A record as it will be written again.
    fn part_of(&self, pack: u32, file: &dyn DiskFile, row: &Row) -> Result<Part, Damage> {
        let record = Expected::of(pack, row).read_whole(file, &self.key, &self.pool)?;
        let (header, _) = Header::read(record.as_ref()).ok_or(Damage::Record)?;
        let record: Bytes = record.into_bytes();
        let cells_at = HEADER_BYTES + header.hashed as usize;
        let hashed = record.get(HEADER_BYTES..cells_at).ok_or(Damage::Record)?.to_vec();
        let rest = record.slice(cells_at..);
        if row.known() == Some(Kind::Shard) {
            let meta: ShardMeta = decode(&hashed).map_err(|_| Damage::Record)?;
            if root_of(&meta) != Some(Hash::of(&rest)) {
                self.damaged(
                    SegmentId(row.key),
                    row.shard,
                    Place { pack, at: row.at },
                    Damage::Cells,
                );
                return Err(Damage::Cells);
            }
        }
        Ok(Part {
            kind: header.kind,
            version: header.version,
            sequence: header.sequence,
            hashed,
            rest,
        })
    }
}

#[cfg(test)]
mod tests;
