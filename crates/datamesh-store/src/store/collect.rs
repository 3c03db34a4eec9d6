//! Collection: the one way by which a shard leaves this disk.
//!
//! [`Collection`] is a capability: a store gives it out once, to the collector. Whoever has only the
//! [`Store`] can write, read, put into the trash by an owner's word and take out of it, and cannot
//! remove. A removal is judged shard by shard ([`Collection::judge`]), and what was judged is looked
//! at once more when it is done.
//!
//! Promised: a shard is removed only where its owner released it, or its lease ended long ago, and it
//! lay in the trash for its time, by a clock that the peers share, and nobody renewed it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use datamesh_core::{SegmentId, Timestamp};

use super::Store;
use crate::commit::{Part, Work};
use crate::error::StoreError;
use crate::index::{LeaseState, ShardState};
use crate::points;
use crate::record::Kind;

/// Shards that one step looks at.
const STEP_MAX: usize = 1024;

/// How far ahead of the agreed time a mark may be: an hour, more than clocks that agree differ by.
const AHEAD_MS: u64 = 3600 * 1000;

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

/// The time, as this node and its peers have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgreedClock {
    now: Timestamp,
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
            return if alone { Ok(Self { now: own }) } else { Err(ClockError::NoPeer) };
        };
        let difference_ms = own.abs_diff(median);
        if difference_ms > bound_ms {
            return Err(ClockError::Differs { difference_ms });
        }
        Ok(Self { now: own.min(median) })
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
}

/// That a shard may be removed. Only [`Collection::judge`] makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Removal {
    segment: SegmentId,
    shard: u8,
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
    /// yet: shards that were on their way when the release came, or were stored before a lease ended.
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
                        if index.trashed(*segment, shard).is_none() {
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
        let index = self.store.index();
        let since = index.trashed(segment, shard).ok_or(Kept::NotInTrash)?;
        let until = since.saturating_add(self.terms.trash_ms);
        if clock.now < until {
            return Err(Kept::TooEarly { until });
        }
        let is_over = index.lease_of(segment).is_some_and(|lease| self.is_over(&lease, clock));
        if is_over { Ok(Removal { segment, shard }) } else { Err(Kept::Leased) }
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
                if self.judge(removal.segment, removal.shard, clock).is_err() {
                    continue;
                }
                let (segment, shard) = (removal.segment, removal.shard);
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

    /// Marks what came to the trash while this node's clock was ahead anew: it counts from now on,
    /// and does not wait for that time to come, and longer.
    fn set_marks_right(&mut self, clock: &AgreedClock) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.trash_after(after, STEP_MAX);
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            // A renewal must not come between the looking and the writing.
            let _turn = self.store.lease_turn();
            let mut parts = Vec::new();
            for (segment, shard) in page {
                let since = self.store.trashed_since(segment, shard);
                if since.is_some_and(|since| since > clock.now.saturating_add(AHEAD_MS)) {
                    let mark = self.store.mark(Kind::Trash, segment, shard, clock.now);
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
        let long_ago = lease.expiry.saturating_add(self.terms.expired_ms);
        lease.released || lease.expiry != 0 && long_ago <= clock.now
    }

    /// Looks at everything in the trash and removes what may go.
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
        self.index().trashed(segment, shard)
    }

    /// Counts that somebody asked for a shard that is in the trash, and says so: what is wanted
    /// should not be there.
    pub(super) fn asked_for_trash(&self, segment: SegmentId, shard: u8) {
        if self.shard_state(segment, shard) == Some(ShardState::Trash) {
            self.trash_asked.fetch_add(1, Ordering::Relaxed);
        }
    }
}
