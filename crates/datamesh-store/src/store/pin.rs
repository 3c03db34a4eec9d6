//! Pins: how much owners care for segments.
//!
//! A pin is kept as long as a shard of its segment is here, the last word that it is pinned no longer
//! too: an older pin that somebody sends again must not count. It changes no lease and no shard.

use datamesh_core::lease::SegmentPin;
use datamesh_core::wire::{Encode, decode};
use datamesh_core::{SegmentId, Timestamp};

use super::Store;
use super::lease::{LEASE_CHANGES_MAX, LeaseOutcome};
use super::read::bit;
use crate::commit::{Part, Work};
use crate::error::{Damage, StoreError};
use crate::index::ShardState;
use crate::points;
use crate::record::Kind;

impl Store {
    /// Takes pins, whose signatures the caller has verified, all of them durable when this returns, in the
    /// order given. Of one segment at most one may be among them.
    ///
    /// # Errors
    /// [`StoreError::TooMany`] above [`LEASE_CHANGES_MAX`], and the errors of writing.
    pub fn pin(&self, pins: &[SegmentPin]) -> Result<Vec<LeaseOutcome>, StoreError> {
        if pins.len() > LEASE_CHANGES_MAX {
            return Err(StoreError::TooMany { count: pins.len(), bound: LEASE_CHANGES_MAX });
        }
        if let Some(reason) = &self.uncertain {
            return Err(StoreError::ReadOnly { reason: reason.clone() });
        }
        let mut parts = Vec::new();
        let outcomes = {
            let index = self.index();
            let judge = |pin: &SegmentPin| {
                if !index.has_segment(pin.segment) {
                    return LeaseOutcome::NotHeld;
                }
                let known = index.pin(pin.segment).map(|known| known.epoch);
                if let Some(epoch) = known.filter(|epoch| *epoch > pin.epoch) {
                    return LeaseOutcome::Behind { epoch };
                }
                if known != Some(pin.epoch) {
                    parts.push(Part::of(Kind::Pin, self.next_sequence(), pin.to_bytes()));
                }
                let held = index.segment(pin.segment);
                let held = held.filter(|(_, _, state)| *state == ShardState::Held);
                LeaseOutcome::Taken { shards: held.fold(0, |mask, (shard, ..)| mask | bit(shard)) }
            };
            pins.iter().map(judge).collect()
        };
        if !parts.is_empty() {
            self.write(Work::of(points::PIN_KEEP, parts))?;
        }
        Ok(outcomes)
    }

    /// The priority that a segment is pinned with at that time; 0 where it is not.
    pub fn priority(&self, segment: SegmentId, now: Timestamp) -> u8 {
        self.index().pin(segment).map_or(0, |pin| pin.priority(now))
    }

    /// The newest pin of a segment, for nodes that do not know it. One that is damaged is as none.
    ///
    /// # Errors
    /// [`StoreError::Disk`] where the pack cannot be opened.
    pub fn kept_pin(&self, segment: SegmentId) -> Result<Option<SegmentPin>, StoreError> {
        loop {
            let found = self.index().pin(segment);
            let Some(pin) = found else { return Ok(None) };
            let read = self.read_record(&pin.record, Kind::Pin)?;
            match read.and_then(|body| decode(&body).map_err(|_| Damage::Record)) {
                Ok(pin) => return Ok(Some(pin)),
                // It may just have moved to another pack.
                Err(_) if self.index().pin(segment) != found => {}
                Err(_) => return Ok(None),
            }
        }
    }
}
