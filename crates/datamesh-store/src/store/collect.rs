//! Collection: the one way by which a shard leaves this disk.
//!
//! [`Collection`] is a capability: a store gives it out once, to the collector. Whoever has only the
//! [`Store`] can write, read, put into the trash by an owner's word and take out of it, and cannot
//! remove. A removal is judged shard by shard ([`Collection::judge`]), and what was judged is looked
//! at once more when it is done.
//!
//! Promised: a shard is removed only where its owner released it, or its lease ended long ago, and it
//! lay in the trash for its time, by a clock that the peers share, and nobody renewed it; or where it
//! was moved to another node, lay in the trash for its time by that clock, and a member was seen to
//! hold it just before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use datamesh_core::{SegmentId, Timestamp};

use super::Store;
use super::read::bit;
use crate::commit::{Part, Work};
use crate::error::StoreError;
use crate::index::{LeaseState, ShardState, Trashed};
use crate::points;
use crate::record::Kind;

/// Shards that one step looks at.
const STEP_MAX: usize = 1024;

/// How far ahead of the agreed time a mark may be: an hour, more than clocks that agree differ by.
const AHEAD_MS: u64 = 3600 * 1000;
/// How old it may be that another member was seen to hold a shard: it may have been moved on since,
/// and lies in that member's trash for longer than this, so that it is there all the same.
const SEEN_MS_MAX: u64 = 10 * 60 * 1000;

/// One day in milliseconds.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// How long things are kept, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectionTerms {
    /// A shard in the trash.
    pub trash_ms: u64,
    /// A shard whose lease ended without a release, before it goes to the trash.
    pub expired_ms: u64,
    /// A tombstone, from when it came: longer than any lease that it may have ended.
    pub tombstone_ms: u64,
}

impl Default for CollectionTerms {
    fn default() -> Self {
        Self { trash_ms: 7 * DAY_MS, expired_ms: 30 * DAY_MS, tombstone_ms: 400 * DAY_MS }
    }
}

impl CollectionTerms {
    /// The same in a mesh whose leases are of so many days: a tombstone is kept for longer than any lease
    /// that it may have ended.
    #[must_use]
    pub fn for_leases(self, days: u32) -> Self {
        let least = u64::from(days) * DAY_MS + self.expired_ms + self.trash_ms;
        let tombstone_ms = if days == 0 { self.tombstone_ms } else { self.tombstone_ms.max(least) };
        Self { tombstone_ms, ..self }
    }
}

/// The time, as this node and its peers have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgreedClock {
    now: Timestamp,
    own: Timestamp,
}

/// Why the time is not known well enough to remove anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// No peer told its time.
    #[error("no peer tells its time")]
    NoPeer,
    /// The clock differs from that of the peers.
    #[error(
        "the clock differs from that of most peers by {difference_ms} ms; set this machine's time"
    )]
    Differs {
        /// By how much.
        difference_ms: u64,
    },
}

impl AgreedClock {
    /// Compares `own` with the median of what peers say. The earlier of the two counts, so that
    /// nothing is older than it is. A node that is `alone` in its mesh has nobody to ask.
    ///
    /// # Errors
    /// [`ClockError`] where no peer answered, or the median is further away than `bound_ms`.
    pub fn compare(
        own: Timestamp,
        peers: &[Timestamp],
        bound_ms: u64,
        alone: bool,
    ) -> Result<Self, ClockError> {
        let mut times = peers.to_vec();
        times.sort_unstable();
        let Some(median) = times.get(times.len() / 2).copied() else {
            return if alone { Ok(Self { now: own, own }) } else { Err(ClockError::NoPeer) };
        };
        let difference_ms = own.abs_diff(median);
        if difference_ms > bound_ms {
            return Err(ClockError::Differs { difference_ms });
        }
        Ok(Self { now: own.min(median), own })
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }
}

/// Why a shard is not removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is not in the trash.
    NotInTrash,
    /// It is in the trash for too short a time.
    TooEarly {
        /// When it may go.
        until: Timestamp,
    },
    /// Its lease was neither ended by its owner nor ended long ago.
    Leased,
    /// It was moved, and it was not seen just before that another member holds it.
    Moved,
}

/// That another member holds a shard: it said so, and proved a cell that was drawn then. Whoever
/// makes one has done both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elsewhere {
    /// The segment.
    pub segment: SegmentId,
    /// Which of its shards.
    pub shard: u8,
    /// When, by this node's clock.
    pub seen: Timestamp,
}

/// That a shard may be removed. Only [`Collection::judge`] and [`Collection::judge_moved`] make one.
#[derive(Debug, PartialEq, Eq)]
pub struct Removal {
    segment: SegmentId,
    shard: u8,
    /// Why one that was moved may go.
    elsewhere: Option<Elsewhere>,
}

/// What one step of the collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Shards put into the trash.
    pub trashed: u64,
    /// Shards removed.
    pub removed: u64,
    /// Bytes of their cells.
    pub removed_bytes: u64,
}

/// The power to remove shards and to give back their room.
#[derive(Debug)]
pub struct Collection {
    pub(super) store: Arc<Store>,
    pub(super) terms: CollectionTerms,
    /// A pack's file was removed and the directory may not know it for good.
    pub(super) unsynced: bool,
    /// Packs that keep their room because something that is live in them is damaged.
    pub(super) stuck: BTreeSet<u32>,
}

impl Store {
    /// The power to remove, for the collector; none where somebody has it already.
    pub fn collection(self: &Arc<Self>, terms: CollectionTerms) -> Option<Collection> {
        let first = !self.collected.swap(true, Ordering::AcqRel);
        first.then(|| Collection {
            store: Arc::clone(self),
            terms,
            unsynced: false,
            stuck: BTreeSet::new(),
        })
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.store.collected.store(false, Ordering::Release);
    }
}

impl Collection {
    /// The store that it is about.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Packs that keep their room because something that is live in them is damaged: repair stores
    /// it again, and then they go.
    pub fn stuck(&self) -> &BTreeSet<u32> {
        &self.stuck
    }

    /// Puts what is released, or whose lease ended long ago, into the trash where it is not there
    /// for that yet: shards that were on their way when the release came, were stored before a lease
    /// ended, or were moved.
    ///
    /// # Errors
    /// The errors of writing.
    pub fn sweep(&mut self, clock: &AgreedClock) -> Result<Collected, StoreError> {
        let (mut swept, mut after) = (Collected::default(), None);
        loop {
            // A renewal must not come between the looking and the writing.
            let _turn = self.store.lease_turn();
            let mut parts = Vec::new();
            {
                let index = self.store.index();
                let leases: Vec<_> = index.leases_after(after).take(STEP_MAX).collect();
                let Some((last, _)) = leases.last() else { return Ok(swept) };
                after = Some(*last);
                let due = leases.iter().filter(|(_, lease)| self.is_over(lease, clock));
                for (segment, _) in due {
                    for (shard, _, _) in index.segment(*segment) {
                        if !index.ended(*segment, shard) {
                            let mark = self.store.mark(Kind::Trash, *segment, shard, clock.now);
                            parts.push(((*segment, shard), mark));
                        }
                    }
                }
            }
            let parts = self.store.undisturbed(parts);
            swept.trashed += parts.len() as u64;
            if !parts.is_empty() {
                let parts = parts.into_iter().map(|(_, part)| part).collect();
                self.store.write(Work::of(points::TRASH_SWEEP, parts))?;
            }
        }
    }

    /// Why a shard that lay in the trash for its time is there.
    fn ripe(&self, segment: SegmentId, shard: u8, clock: &AgreedClock) -> Result<Trashed, Kept> {
        let trashed = self.store.index().trashed(segment, shard).ok_or(Kept::NotInTrash)?;
        let until = trashed.since.saturating_add(self.terms.trash_ms);
        if clock.now < until { Err(Kept::TooEarly { until }) } else { Ok(trashed) }
    }

    /// Whether a shard may be removed now.
    ///
    /// # Errors
    /// [`Kept`] says why it may not.
    pub fn judge(
        &self,
        segment: SegmentId,
        shard: u8,
        clock: &AgreedClock,
    ) -> Result<Removal, Kept> {
        if self.ripe(segment, shard, clock)?.moved {
            return Err(Kept::Moved);
        }
        let index = self.store.index();
        let is_over = index.lease_of(segment).is_some_and(|lease| self.is_over(&lease, clock));
        if is_over { Ok(Removal { segment, shard, elsewhere: None }) } else { Err(Kept::Leased) }
    }

    /// Whether a shard that was moved may be removed now. The clock was compared after the other
    /// member was seen to hold it.
    ///
    /// # Errors
    /// [`Kept`] says why it may not.
    pub fn judge_moved(&self, elsewhere: Elsewhere, clock: &AgreedClock) -> Result<Removal, Kept> {
        let Elsewhere { segment, shard, seen } = elsewhere;
        if !self.ripe(segment, shard, clock)?.moved {
            return self.judge(segment, shard, clock);
        }
        if clock.own.abs_diff(seen) > SEEN_MS_MAX.min(self.terms.trash_ms) {
            return Err(Kept::Moved);
        }
        Ok(Removal { segment, shard, elsewhere: Some(elsewhere) })
    }

    /// Shards behind `after` that were moved and lay in the trash for their time, in order, at most
    /// `count`: they go where another member is seen to hold them, and are taken back where not.
    pub fn moved_after(
        &self,
        after: Option<(SegmentId, u8)>,
        count: usize,
        clock: &AgreedClock,
    ) -> Vec<(SegmentId, u8)> {
        let index = self.store.index();
        let ripe = |trashed: Trashed| {
            trashed.moved && trashed.since.saturating_add(self.terms.trash_ms) <= clock.now
        };
        let shards = index.after(after).map(|(key, _, _)| key);
        shards.filter(|key| index.trashed(key.0, key.1).is_some_and(ripe)).take(count).collect()
    }

    /// Removes shards: they are gone when this returns, and their room comes back with the next
    /// [compaction](Self::compact). One that was renewed since it was judged stays.
    ///
    /// # Errors
    /// The errors of writing.
    pub fn remove(
        &mut self,
        removals: &[Removal],
        clock: &AgreedClock,
    ) -> Result<Collected, StoreError> {
        let mut done = Collected::default();
        for batch in removals.chunks(STEP_MAX) {
            let _turn = self.store.lease_turn();
            let mut parts = Vec::new();
            for removal in batch {
                let (segment, shard) = (removal.segment, removal.shard);
                let again = match removal.elsewhere {
                    None => self.judge(segment, shard, clock),
                    Some(elsewhere) => self.judge_moved(elsewhere, clock),
                };
                if again.is_err() {
                    continue;
                }
                let mark = self.store.mark(Kind::Removed, segment, shard, clock.now);
                parts.push(((segment, shard), mark));
            }
            let parts = self.store.undisturbed(parts);
            let cells = |(segment, shard)| {
                let copy = self.store.index().shard(segment, shard);
                copy.map_or(0, |(copy, _)| u64::from(copy.cells()))
            };
            let bytes: u64 = parts.iter().map(|(key, _)| cells(*key)).sum();
            let count = parts.len() as u64;
            if count > 0 {
                let parts = parts.into_iter().map(|(_, part)| part).collect();
                self.store.write(Work::of(points::SHARD_REMOVE, parts))?;
            }
            done.removed += count;
            done.removed_bytes += bytes;
        }
        Ok(done)
    }

    /// Mends what was done while the clocks were ahead. Shards whose lease is not over after all are taken out of
    /// the trash again: somebody may need them, and only of what is held is asked whether it was released. All
    /// others are marked anew: they wait from now on, and not for that time to come.
    fn set_marks_right(&mut self, clock: &AgreedClock) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.trash_after(after, STEP_MAX);
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            // A renewal must not come between the looking and the writing.
            let _turn = self.store.lease_turn();
            let mut parts = Vec::new();
            {
                let index = self.store.index();
                for (segment, shard) in page {
                    let Some(trashed) = index.trashed(segment, shard) else { continue };
                    let lease = index.lease_of(segment);
                    let is_over = lease.is_some_and(|lease| self.is_over(&lease, clock));
                    let kind = match trashed.moved {
                        false if !is_over => Kind::Revive,
                        _ if trashed.since <= clock.now.saturating_add(AHEAD_MS) => continue,
                        false => Kind::Trash,
                        true => Kind::Moved,
                    };
                    let mark = self.store.mark(kind, segment, shard, clock.now);
                    parts.push(((segment, shard), mark));
                }
            }
            let parts = self.store.undisturbed(parts);
            if !parts.is_empty() {
                let parts = parts.into_iter().map(|(_, part)| part).collect();
                self.store.write(Work::of(points::TRASH_MARK, parts))?;
            }
        }
    }

    /// Whether a lease was ended by its owner, or ended so long ago that its shards need not be kept.
    fn is_over(&self, lease: &LeaseState, clock: &AgreedClock) -> bool {
        lease.released || lease.ended_before(clock.now.saturating_sub(self.terms.expired_ms))
    }

    /// Looks at everything in the trash and removes what may go, but for what was moved.
    ///
    /// # Errors
    /// The errors of writing.
    pub fn collect(&mut self, clock: &AgreedClock) -> Result<Collected, StoreError> {
        let mut all = self.sweep(clock)?;
        self.set_marks_right(clock)?;
        let mut after = None;
        loop {
            let page = self.store.trash_after(after, STEP_MAX);
            let Some(last) = page.last() else { return Ok(all) };
            after = Some(*last);
            let due: Vec<Removal> = page
                .into_iter()
                .filter_map(|(segment, shard)| self.judge(segment, shard, clock).ok())
                .collect();
            let done = self.remove(&due, clock)?;
            all.removed += done.removed;
            all.removed_bytes += done.removed_bytes;
        }
    }
}

impl Store {
    /// Shards in the trash behind `after`, in order, at most `count`.
    pub fn trash_after(
        &self,
        after: Option<(SegmentId, u8)>,
        count: usize,
    ) -> Vec<(SegmentId, u8)> {
        let index = self.index();
        let shards = index.after(after).map(|(key, _, _)| key);
        let trashed = shards.filter(|(segment, shard)| index.trashed(*segment, *shard).is_some());
        trashed.take(count).collect()
    }

    /// Leaves out the marks of shards that are on their way to the disk: a shard whose sequence was
    /// drawn before its mark's would come under the mark once it is there. One that is claimed later
    /// draws a later sequence.
    fn undisturbed(&self, marks: Vec<((SegmentId, u8), Part)>) -> Vec<((SegmentId, u8), Part)> {
        let queue = self.commit.lock();
        marks.into_iter().filter(|(shard, _)| !queue.has(shard)).collect()
    }

    /// Since when a shard is in the trash, where it is.
    pub fn trashed_since(&self, segment: SegmentId, shard: u8) -> Option<Timestamp> {
        self.index().trashed(segment, shard).map(|trashed| trashed.since)
    }

    /// Puts a held shard into the trash because another node has it now. Says whether it was held. It
    /// is served as long as it lies there, and [`take_back`](Self::take_back) makes it held again.
    ///
    /// # Errors
    /// The errors of writing.
    pub fn give_up(
        &self,
        segment: SegmentId,
        shard: u8,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if let Some(reason) = &self.uncertain {
            return Err(StoreError::ReadOnly { reason: reason.clone() });
        }
        let _turn = self.lease_turn();
        if self.shard_state(segment, shard) != Some(ShardState::Held) {
            return Ok(false);
        }
        let mark = self.mark(Kind::Moved, segment, shard, now);
        let parts = self.undisturbed(vec![((segment, shard), mark)]);
        let parts: Vec<Part> = parts.into_iter().map(|(_, part)| part).collect();
        let given_up = !parts.is_empty();
        if given_up {
            self.write(Work::of(points::SHARD_GIVE_UP, parts))?;
        }
        Ok(given_up)
    }

    /// Takes shards of a segment that were moved out of the trash, where they read back whole.
    /// `shards` has bit i set for shard i. Returns those that are held now.
    ///
    /// # Errors
    /// The errors of writing.
    pub fn take_back(
        &self,
        segment: SegmentId,
        shards: u32,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        if let Some(reason) = &self.uncertain {
            return Err(StoreError::ReadOnly { reason: reason.clone() });
        }
        let moved = |shard: &u8| self.shard_state(segment, *shard) == Some(ShardState::Moved);
        let wanted = (0..32u8).filter(|shard| shards & bit(*shard) != 0);
        let whole: Vec<u8> = wanted
            .filter(|shard| moved(shard) && self.read_shard(segment, *shard).is_ok())
            .collect();
        let _turn = self.lease_turn();
        let parts: Vec<Part> = whole
            .iter()
            .filter(|shard| moved(shard))
            .map(|shard| self.mark(Kind::Revive, segment, *shard, now))
            .collect();
        if !parts.is_empty() {
            self.write(Work::of(points::SHARD_TAKE_BACK, parts))?;
        }
        Ok(self.held(segment) & shards)
    }

    /// Counts that somebody asked for a shard that is in the trash, and says so: what is wanted
    /// should not be there.
    pub(super) fn asked_for_trash(&self, segment: SegmentId, shard: u8) {
        if self.shard_state(segment, shard) == Some(ShardState::Trash) {
            self.trash_asked.fetch_add(1, Ordering::Relaxed);
        }
    }
}
