//! What the store knows: the fold of all records.
//!
//! The fold does not depend on the order in which rows come, because packs are read one after the
//! other while sequences run across them: each fact keeps the sequence that it rests on, and the
//! higher one stays. So any set of records has one state, whether it was read from tables, found by
//! scans, or written just now. Nothing here is stored; deleting it loses nothing.
//!
//! A shard takes 121 bytes and its part of the tree's nodes, some 160 in all; a segment whose lease
//! ends, or was ended, another 140. What is read seldom (descriptors, tickets, receipts) stays on disk.

use std::collections::BTreeMap;

use datamesh_core::{GrantId, SegmentId, Timestamp};

use crate::pack::Expected;
use crate::record::{HEADER_BYTES, Kind, RECORD_ALIGNMENT, RECORD_VERSION, Row};

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) pack: u32,
    /// In units of [`RECORD_ALIGNMENT`](crate::record::RECORD_ALIGNMENT).
    pub(crate) at: u32,
}

/// A record of a kind without cells, and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) sequence: u64,
    pub(crate) place: Place,
    pub(crate) length: u32,
}

impl Located {
    fn of(pack: u32, row: &Row) -> Self {
        Self { sequence: row.sequence, place: Place { pack, at: row.at }, length: row.length }
    }

    fn order(&self) -> (u64, Place) {
        (self.sequence, self.place)
    }

    /// Bytes of the record with what fills it up.
    fn span(&self) -> u64 {
        let bytes = HEADER_BYTES as u64 + u64::from(self.length);
        bytes.next_multiple_of(RECORD_ALIGNMENT as u64)
    }

    pub(crate) fn expected(&self, kind: Kind) -> Expected {
        Expected {
            pack: self.place.pack,
            offset: u64::from(self.place.at) * crate::record::RECORD_ALIGNMENT as u64,
            kind: kind as u8,
            sequence: self.sequence,
            length: self.length,
            hashed: self.length,
        }
    }
}

fn keep_later(kept: &mut Option<Located>, other: Located) {
    if kept.is_none_or(|kept| kept.order() < other.order()) {
        *kept = Some(other);
    }
}

/// What was last said of a shard by trash, moved, revive or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mark {
    Trash,
    Moved,
    Revive,
    Removed,
}

/// A shard's copy on this disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) record: Located,
    pub(crate) hashed: u32,
    /// Place of the grant in [`Index::grants`].
    grant: u32,
    pub(crate) damaged: bool,
}

impl Copy {
    /// Bytes of cells.
    pub(crate) fn cells(&self) -> u32 {
        self.record.length - self.hashed
    }

    /// The record's row, as far as reading the shard needs it.
    pub(crate) fn row(&self, segment: SegmentId, shard: u8) -> Row {
        Row {
            at: self.record.place.at,
            kind: Kind::Shard as u8,
            version: RECORD_VERSION,
            shard,
            damaged: self.damaged,
            sequence: self.record.sequence,
            length: self.record.length,
            hashed: self.hashed,
            key: segment.0,
            other: [0; 32],
            epoch: 0,
            time: 0,
        }
    }

    pub(crate) fn expected(&self) -> Expected {
        Expected { hashed: self.hashed, ..self.record.expected(Kind::Shard) }
    }

    /// An intact copy is better than a damaged one, then the later one counts.
    fn order(&self) -> (bool, u64, Place) {
        (!self.damaged, self.record.sequence, self.record.place)
    }
}

/// The newest mark of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marked {
    sequence: u64,
    /// When, in seconds since 1970, rounded up, so that nothing is old too early.
    second: u32,
    mark: Mark,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    copy: Option<Copy>,
    receipt: Option<Located>,
    mark: Option<Marked>,
}

impl Entry {
    fn marked(&self) -> Option<Mark> {
        let copy = self.copy?;
        self.mark.filter(|mark| mark.sequence > copy.record.sequence).map(|mark| mark.mark)
    }

    /// The copy that takes room under its grant.
    fn counted(&self) -> Option<Copy> {
        self.copy.filter(|_| self.marked() != Some(Mark::Removed))
    }

    fn state(&self) -> Option<ShardState> {
        Some(match (self.marked(), self.copy?.damaged) {
            (Some(Mark::Removed), _) => return None,
            (_, true) => ShardState::Damaged,
            (Some(Mark::Trash), false) => ShardState::Trash,
            (Some(Mark::Moved), false) => ShardState::Moved,
            _ => ShardState::Held,
        })
    }
}

/// How a shard is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardState {
    /// Whole, as far as is known, and served.
    Held,
    /// Released and waiting for its removal; not served.
    Trash,
    /// Another node has it now and it waits for its removal: not held, and served as long as it is
    /// here.
    Moved,
    /// Found not to be what was stored; not served.
    Damaged,
}

/// Why a shard is in the trash, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trashed {
    /// Since when.
    pub(crate) since: Timestamp,
    /// Another node has it now; otherwise its lease ended.
    pub(crate) moved: bool,
}

/// What is known of a segment's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseState {
    /// Epoch of the newest renewal or release.
    pub epoch: u64,
    /// When the lease ends; 0 where leases do not.
    pub expiry: Timestamp,
    /// The owner ended the lease.
    pub released: bool,
}

impl LeaseState {
    /// Its end, comparable with others: no end is the latest.
    pub(crate) fn end(&self) -> Timestamp {
        if self.expiry == 0 { Timestamp::MAX } else { self.expiry }
    }

    /// Whether it has an end that was so long ago.
    pub fn ended_before(&self, time: Timestamp) -> bool {
        self.expiry != 0 && self.expiry <= time
    }
}

#[derive(Debug, Clone, Copy)]
struct LeaseEntry {
    state: LeaseState,
    sequence: u64,
    /// The renewal's or tombstone's own record; none where a shard's record said it.
    record: Option<Located>,
    /// When a tombstone came.
    since: Timestamp,
}

impl LeaseEntry {
    /// A renewal wins over a release of the same epoch; of two renewals of one epoch the one that ends
    /// later counts, so that nobody shortens a lease by sending an old one again.
    fn order(&self) -> (u64, bool, Timestamp, u64, Option<Place>) {
        let place = self.record.map(|record| record.place);
        (self.state.epoch, !self.state.released, self.state.end(), self.sequence, place)
    }
}

/// The newest pin of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PinEntry {
    pub(crate) epoch: u64,
    priority: u8,
    /// 0 where it does not end.
    until: Timestamp,
    pub(crate) record: Located,
}

impl PinEntry {
    /// What it counts for at that time.
    pub(crate) fn priority(&self, now: Timestamp) -> u8 {
        if self.until == 0 || self.until > now { self.priority } else { 0 }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct GrantEntry {
    pub(crate) id: GrantId,
    /// Bytes of shards kept under it.
    pub(crate) used: u64,
    /// Its record, once there is one.
    pub(crate) record: Option<Located>,
}

/// Where a head is kept: the account's pseudonym, and the log.
pub type Slot = ([u8; 32], [u8; 16]);

/// The fold.
#[derive(Debug, Default)]
pub(crate) struct Index {
    shards: BTreeMap<(SegmentId, u8), Entry>,
    /// Empty where leases do not end.
    leases: BTreeMap<SegmentId, LeaseEntry>,
    /// Of segments that were pinned, also where that is over.
    pins: BTreeMap<SegmentId, PinEntry>,
    /// With their revisions.
    heads: BTreeMap<Slot, (u64, Located)>,
    grants: Vec<GrantEntry>,
    grant_numbers: BTreeMap<GrantId, u32>,
    sequence_max: u64,
}

impl Index {
    /// Folds one record in. Records of unknown kinds only count for the sequence.
    pub(crate) fn apply(&mut self, pack: u32, row: &Row) {
        self.sequence_max = self.sequence_max.max(row.sequence);
        let located = Located::of(pack, row);
        let key = (SegmentId(row.key), row.shard);
        match row.known() {
            Some(Kind::Shard) => {
                let copy = Copy {
                    record: located,
                    hashed: row.hashed,
                    grant: self.grant_number(GrantId(row.other)),
                    damaged: row.damaged,
                };
                self.change(key, |entry| {
                    if entry.copy.is_none_or(|kept| kept.order() < copy.order()) {
                        entry.copy = Some(copy);
                    }
                });
                // What every shard of a mesh without expiry is stored with says nothing, whatever
                // comes before or after it.
                if (row.epoch, row.time) != (0, 0) {
                    let state = LeaseState { epoch: row.epoch, expiry: row.time, released: false };
                    self.lease(key.0, state, row.sequence, None, 0);
                }
            }
            Some(Kind::Receipt) => self.change(key, |e| keep_later(&mut e.receipt, located)),
            Some(Kind::Trash) => self.mark(key, row, Mark::Trash),
            Some(Kind::Moved) => self.mark(key, row, Mark::Moved),
            Some(Kind::Revive) => self.mark(key, row, Mark::Revive),
            Some(Kind::Removed) => self.mark(key, row, Mark::Removed),
            Some(Kind::Lease) => {
                let state = LeaseState { epoch: row.epoch, expiry: row.time, released: false };
                self.lease(key.0, state, row.sequence, Some(located), 0);
            }
            Some(Kind::Release | Kind::Tombstone) => {
                let state = LeaseState { epoch: row.epoch, expiry: 0, released: true };
                self.lease(key.0, state, row.sequence, Some(located), row.time);
            }
            Some(Kind::Pin) => {
                let (epoch, priority, until) = (row.epoch, row.other[0], row.time);
                let pin = PinEntry { epoch, priority, until, record: located };
                let kept = self.pins.entry(key.0).or_insert(pin);
                if (kept.epoch, kept.record.order()) < (pin.epoch, pin.record.order()) {
                    *kept = pin;
                }
            }
            Some(Kind::Grant) => {
                let number = self.grant_number(GrantId(row.key));
                if let Some(grant) = self.grants.get_mut(number as usize) {
                    keep_later(&mut grant.record, located);
                }
            }
            Some(Kind::Head) => {
                let mut log = [0; 16];
                log.copy_from_slice(&row.other[..16]);
                let head = (row.epoch, located);
                let kept = self.heads.entry((row.key, log)).or_insert(head);
                if (kept.0, kept.1.order()) < (head.0, head.1.order()) {
                    *kept = head;
                }
            }
            Some(Kind::Compacted | Kind::PackHeader | Kind::PackTable | Kind::PackEnd) | None => {}
        }
    }

    /// Lets leases decide where marks do not fit to them. A tombstone and the trash marks of its shards
    /// are one group, and so are a renewal and its revive marks; of a group that was torn any of them
    /// may be left. The lease's record is what counts: with it all of the group is there, without it
    /// nothing. Called once all packs are folded.
    pub(crate) fn follow_leases(&mut self) {
        for ((segment, _), entry) in &mut self.shards {
            let (Some(copy), marked) = (entry.copy, entry.marked()) else { continue };
            let lease = self.leases.get(segment);
            let ended = lease.filter(|lease| lease.state.released);
            let (mark, time, sequence) = match (marked, ended) {
                // One without a time is of an earlier form; the next sweep sees to it.
                (None | Some(Mark::Revive | Mark::Moved), Some(end))
                    if copy.record.sequence < end.sequence && end.since != 0 =>
                {
                    (Mark::Trash, end.since, end.sequence)
                }
                (Some(Mark::Trash), None) => {
                    let since = entry.mark.map_or(0, |mark| u64::from(mark.second) * 1000);
                    let sequence = entry.mark.map_or(0, |mark| mark.sequence);
                    // Only what ended by itself is in the trash without a tombstone.
                    let expired = lease.is_some_and(|lease| {
                        let expiry = lease.state.expiry;
                        expiry != 0 && expiry <= since && lease.sequence < sequence
                    });
                    if expired {
                        continue;
                    }
                    (Mark::Revive, since, sequence)
                }
                _ => continue,
            };
            let second = u32::try_from(time.div_ceil(1000)).unwrap_or(u32::MAX);
            let sequence = entry.mark.map_or(sequence, |mark| mark.sequence.max(sequence));
            entry.mark = Some(Marked { sequence, second, mark });
        }
    }

    /// Forgets shards that are not here any more, and what was only kept because the shard it is
    /// about might still come: called once all packs are folded, and after each compaction.
    pub(crate) fn settle(&mut self) {
        self.shards.retain(|_, entry| entry.state().is_some());
        // A pin says nothing about a segment of which nothing is here, and goes with its pack.
        let shards = &self.shards;
        self.pins.retain(|segment, _| {
            shards.range((*segment, 0)..=(*segment, u8::MAX)).next().is_some()
        });
    }

    fn change(&mut self, key: (SegmentId, u8), change: impl FnOnce(&mut Entry)) {
        let entry = self.shards.entry(key).or_default();
        let before = entry.counted();
        change(entry);
        let after = entry.counted();
        if before != after {
            for (copy, grows) in [(before, false), (after, true)] {
                let Some(copy) = copy else { continue };
                if let Some(grant) = self.grants.get_mut(copy.grant as usize) {
                    let bytes = u64::from(copy.cells());
                    grant.used = if grows { grant.used + bytes } else { grant.used - bytes };
                }
            }
        }
    }

    fn mark(&mut self, key: (SegmentId, u8), row: &Row, mark: Mark) {
        let second = u32::try_from(row.time.div_ceil(1000)).unwrap_or(u32::MAX);
        let mark = Marked { sequence: row.sequence, second, mark };
        self.change(key, |entry| {
            if entry.mark.is_none_or(|kept| kept.sequence < mark.sequence) {
                entry.mark = Some(mark);
            }
        });
    }

    fn lease(
        &mut self,
        segment: SegmentId,
        state: LeaseState,
        sequence: u64,
        record: Option<Located>,
        since: Timestamp,
    ) {
        let new = LeaseEntry { state, sequence, record, since };
        let kept = self.leases.entry(segment).or_insert(new);
        if kept.order() < new.order() {
            *kept = new;
        }
    }

    fn grant_number(&mut self, id: GrantId) -> u32 {
        let next = self.grants.len() as u32;
        let number = *self.grant_numbers.entry(id).or_insert(next);
        if number == next {
            self.grants.push(GrantEntry { id, used: 0, record: None });
        }
        number
    }

    /// Remembers that a copy is damaged, unless another has taken its place meanwhile. Returns its
    /// sequence if that was not known.
    pub(crate) fn mark_damaged(
        &mut self,
        segment: SegmentId,
        shard: u8,
        place: Place,
    ) -> Option<u64> {
        let copy = self.shards.get_mut(&(segment, shard)).and_then(|entry| entry.copy.as_mut());
        let copy = copy.filter(|copy| copy.record.place == place && !copy.damaged)?;
        copy.damaged = true;
        Some(copy.record.sequence)
    }

    /// Forgets a receipt whose record is damaged, so that another is made when it is needed.
    pub(crate) fn drop_receipt(&mut self, segment: SegmentId, shard: u8, place: Place) {
        if let Some(entry) = self.shards.get_mut(&(segment, shard))
            && entry.receipt.is_some_and(|receipt| receipt.place == place)
        {
            entry.receipt = None;
        }
    }

    /// Forgets a grant's record that is damaged, so that it is written again at its next use.
    pub(crate) fn drop_grant_record(&mut self, id: &GrantId, place: Place) {
        let number = self.grant_numbers.get(id).copied();
        let grant = number.and_then(|number| self.grants.get_mut(number as usize));
        if let Some(grant) = grant
            && grant.record.is_some_and(|record| record.place == place)
        {
            grant.record = None;
        }
    }

    pub(crate) fn sequence_max(&self) -> u64 {
        self.sequence_max
    }

    /// A shard's copy and state, whatever the state is.
    pub(crate) fn shard(&self, segment: SegmentId, shard: u8) -> Option<(Copy, ShardState)> {
        let entry = self.shards.get(&(segment, shard))?;
        entry.copy.zip(entry.state())
    }

    pub(crate) fn receipt(&self, segment: SegmentId, shard: u8) -> Option<Located> {
        self.shards.get(&(segment, shard))?.receipt
    }

    /// A segment's shards in order.
    pub(crate) fn segment(
        &self,
        segment: SegmentId,
    ) -> impl Iterator<Item = (u8, Copy, ShardState)> + '_ {
        self.shards.range((segment, 0)..=(segment, u8::MAX)).filter_map(|((_, shard), entry)| {
            entry.copy.zip(entry.state()).map(|(copy, state)| (*shard, copy, state))
        })
    }

    /// Shards after `after`, in order.
    pub(crate) fn after(
        &self,
        after: Option<(SegmentId, u8)>,
    ) -> impl Iterator<Item = ((SegmentId, u8), Copy, ShardState)> + '_ {
        let from = match after {
            Some(key) => std::ops::Bound::Excluded(key),
            None => std::ops::Bound::Unbounded,
        };
        self.shards.range((from, std::ops::Bound::Unbounded)).filter_map(|(key, entry)| {
            entry.copy.zip(entry.state()).map(|(copy, state)| (*key, copy, state))
        })
    }

    pub(crate) fn lease_of(&self, segment: SegmentId) -> Option<LeaseState> {
        self.leases.get(&segment).map(|entry| entry.state)
    }

    /// Since when a shard is in the trash, and why.
    pub(crate) fn trashed(&self, segment: SegmentId, shard: u8) -> Option<Trashed> {
        let entry = self.shards.get(&(segment, shard))?;
        let moved = match entry.marked()? {
            Mark::Trash => false,
            Mark::Moved => true,
            Mark::Revive | Mark::Removed => return None,
        };
        Some(Trashed { since: u64::from(entry.mark?.second) * 1000, moved })
    }

    /// Whether a shard is in the trash because its lease ended.
    pub(crate) fn ended(&self, segment: SegmentId, shard: u8) -> bool {
        self.trashed(segment, shard).is_some_and(|trashed| !trashed.moved)
    }

    /// Whether a segment has a shard here, in whatever state.
    pub(crate) fn has_segment(&self, segment: SegmentId) -> bool {
        self.segment(segment).next().is_some()
    }

    /// The record that says how a segment's lease is; none where it is a shard's own.
    pub(crate) fn lease_record(&self, segment: SegmentId) -> Option<(LeaseState, Located)> {
        let entry = self.leases.get(&segment)?;
        entry.record.map(|record| (entry.state, record))
    }

    /// The newest pin of a segment.
    pub(crate) fn pin(&self, segment: SegmentId) -> Option<PinEntry> {
        self.pins.get(&segment).copied()
    }

    /// Segments behind `after` whose lease something is known of, in order.
    pub(crate) fn leases_after(
        &self,
        after: Option<SegmentId>,
    ) -> impl Iterator<Item = (SegmentId, LeaseState)> + '_ {
        let from = match after {
            Some(segment) => std::ops::Bound::Excluded(segment),
            None => std::ops::Bound::Unbounded,
        };
        let behind = self.leases.range((from, std::ops::Bound::Unbounded));
        behind.map(|(segment, entry)| (*segment, entry.state))
    }

    /// Whether a tombstone came before `time` and nothing of its segment is here any more.
    pub(crate) fn tombstone_is_due(&self, segment: SegmentId, time: Timestamp) -> bool {
        let entry = self.leases.get(&segment);
        entry.is_some_and(|entry| entry.state.released && entry.since < time)
            && !self.has_segment(segment)
    }

    /// Forgets a lease whose record goes with its pack.
    pub(crate) fn forget_lease(&mut self, segment: SegmentId, place: Place) {
        if self.leases.get(&segment).is_some_and(|e| e.record.is_some_and(|r| r.place == place)) {
            self.leases.remove(&segment);
        }
    }

    /// Whether the newest mark of a shard is the one of that sequence; nothing where nothing is known
    /// of the shard.
    pub(crate) fn newest_mark(&self, key: &(SegmentId, u8), sequence: u64) -> Option<bool> {
        self.shards.get(key)?.mark.map(|mark| mark.sequence == sequence)
    }

    /// Whether the record at that place is what the state rests on. Marks have no place here, and
    /// records that this program does not know are none of the state.
    pub(crate) fn rests_on(&self, place: Place, row: &Row) -> bool {
        let here = |located: Option<Located>| located.is_some_and(|l| l.place == place);
        let key = (SegmentId(row.key), row.shard);
        match row.known() {
            Some(Kind::Shard) => {
                let entry = self.shards.get(&key);
                here(entry.and_then(Entry::counted).map(|copy| copy.record))
            }
            Some(Kind::Receipt) => {
                let entry = self.shards.get(&key).filter(|entry| entry.counted().is_some());
                here(entry.and_then(|entry| entry.receipt))
            }
            Some(Kind::Lease | Kind::Release | Kind::Tombstone) => {
                here(self.leases.get(&key.0).and_then(|entry| entry.record))
            }
            Some(Kind::Pin) => {
                let pin = self.pins.get(&key.0).filter(|_| self.has_segment(key.0));
                here(pin.map(|pin| pin.record))
            }
            Some(Kind::Grant) => here(self.grant(&GrantId(row.key)).and_then(|grant| grant.record)),
            Some(Kind::Head) => {
                let mut log = [0; 16];
                log.copy_from_slice(&row.other[..16]);
                here(self.heads.get(&(row.key, log)).map(|(_, located)| *located))
            }
            _ => false,
        }
    }

    /// Bytes of records in each pack that the state rests on, but for marks.
    pub(crate) fn bytes_by_pack(&self) -> BTreeMap<u32, u64> {
        let mut bytes = BTreeMap::new();
        let mut add = |located: &Located| {
            *bytes.entry(located.place.pack).or_default() += located.span();
        };
        for entry in self.shards.values().filter(|entry| entry.counted().is_some()) {
            entry.copy.iter().for_each(|copy| add(&copy.record));
            entry.receipt.iter().for_each(&mut add);
        }
        self.leases.values().filter_map(|entry| entry.record.as_ref()).for_each(&mut add);
        self.pins.values().for_each(|pin| add(&pin.record));
        self.heads.values().for_each(|(_, located)| add(located));
        self.grants.iter().filter_map(|grant| grant.record.as_ref()).for_each(&mut add);
        bytes
    }

    /// The head in a slot and its revision.
    pub(crate) fn head(&self, slot: &Slot) -> Option<(u64, Located)> {
        self.heads.get(slot).copied()
    }

    /// The slots behind `after` and their revisions, in order.
    pub(crate) fn heads_after(
        &self,
        after: Option<Slot>,
    ) -> impl Iterator<Item = (Slot, u64)> + '_ {
        let from = match after {
            Some(slot) => std::ops::Bound::Excluded(slot),
            None => std::ops::Bound::Unbounded,
        };
        let behind = self.heads.range((from, std::ops::Bound::Unbounded));
        behind.map(|(slot, (revision, _))| (*slot, *revision))
    }

    pub(crate) fn head_count(&self) -> usize {
        self.heads.len()
    }

    pub(crate) fn grant(&self, id: &GrantId) -> Option<&GrantEntry> {
        self.grants.get(*self.grant_numbers.get(id)? as usize)
    }

    /// The grant under which a copy is kept.
    pub(crate) fn grant_of(&self, copy: &Copy) -> Option<GrantId> {
        self.grants.get(copy.grant as usize).map(|grant| grant.id)
    }

    pub(crate) fn grants(&self) -> &[GrantEntry] {
        &self.grants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_takes_as_little_memory_as_documented() {
        assert_eq!(size_of::<Entry>() + size_of::<(SegmentId, u8)>(), 121);
    }
}
