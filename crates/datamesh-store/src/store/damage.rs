//! Shards that were found damaged: told once, and known again after a restart.
//!
//! Damage is noticed by whoever reads: a peer's read, a scrub, a report. All of it goes through
//! [`Store::mark_damaged`], which stops serving the shard and puts it into a bounded queue. Whoever
//! empties the queue remembers it outside the store, and gives it back at the next opening. The
//! memory of it may be lost: then the next reader finds it again.

use std::collections::VecDeque;

use datamesh_core::SegmentId;

use super::Store;
use super::read::PAGE_MAX;
use crate::index::{Place, ShardState};

/// Most shards in the queue; beyond it the queue only knows that it is not whole.
const QUEUE_MAX: usize = 4096;

/// A damaged copy of a shard. The sequence tells it from another copy that was stored since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DamagedShard {
    /// The segment.
    pub segment: SegmentId,
    /// Which shard.
    pub shard: u8,
    /// Sequence of the copy's record.
    pub sequence: u64,
}

/// What was found damaged and not yet told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundDamaged {
    /// In the order in which it was found.
    pub shards: Vec<DamagedShard>,
    /// There was more than the queue takes: [`Store::damaged_after`] knows all of it.
    pub incomplete: bool,
}

#[derive(Debug, Default)]
pub(super) struct DamageQueue {
    shards: VecDeque<DamagedShard>,
    incomplete: bool,
}

impl Store {
    /// Stops serving a copy, unless another has taken its place meanwhile.
    pub(super) fn mark_damaged(&self, segment: SegmentId, shard: u8, place: Place) {
        let marked = self.index_mut().mark_damaged(segment, shard, place);
        let Some(sequence) = marked else { return };
        let mut queue = self.damage_queue();
        if queue.shards.len() < QUEUE_MAX {
            queue.shards.push_back(DamagedShard { segment, shard, sequence });
        } else {
            queue.incomplete = true;
        }
    }

    /// What was found damaged since the last call.
    pub fn take_damaged(&self) -> FoundDamaged {
        let mut queue = self.damage_queue();
        FoundDamaged {
            shards: queue.shards.drain(..).collect(),
            incomplete: std::mem::take(&mut queue.incomplete),
        }
    }

    /// Stops serving copies that were found damaged before the store was opened. Returns those of
    /// them that are not here any more: they may be forgotten.
    pub fn recall_damaged(&self, known: &[DamagedShard]) -> Vec<DamagedShard> {
        let mut gone = Vec::new();
        let mut index = self.index_mut();
        for damaged in known {
            let copy = index.shard(damaged.segment, damaged.shard).map(|(copy, _)| copy.record);
            match copy {
                Some(record) if record.sequence == damaged.sequence => {
                    index.mark_damaged(damaged.segment, damaged.shard, record.place);
                }
                _ => gone.push(*damaged),
            }
        }
        gone
    }

    /// Shards known to be damaged after `after`, in order, at most `count` and [`PAGE_MAX`].
    pub fn damaged_after(&self, after: Option<(SegmentId, u8)>, count: usize) -> Vec<DamagedShard> {
        let index = self.index();
        let damaged = index.after(after).filter(|(_, _, state)| *state == ShardState::Damaged);
        damaged
            .map(|((segment, shard), copy, _)| DamagedShard {
                segment,
                shard,
                sequence: copy.record.sequence,
            })
            .take(count.min(PAGE_MAX))
            .collect()
    }
}
