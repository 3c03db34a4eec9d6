//! Heads of logs: one a slot, the highest revision.

use datamesh_core::wire::{Encode, decode};

use super::Store;
use crate::commit::{Part, Work};
use crate::error::{Damage, StoreError};
use crate::index::Slot;
use crate::points;
use crate::record::{Head, Kind};

/// Most slots. Each takes some 100 bytes of memory, and a head on the disk.
pub const HEADS_MAX: usize = 1 << 16;

/// Most slots that one call lists.
const PAGE_MAX: usize = 1024;

/// What came of storing a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadWrite {
    /// It is durable, now or from before.
    Kept,
    /// The store has another of this revision or a later one.
    Behind(Head),
}

/// Slots that are being written; a slot is given back when the writing ends in whatever way.
struct Writing<'a> {
    store: &'a Store,
    slot: Slot,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.store.head_slots().remove(&self.slot);
    }
}

impl Store {
    /// Keeps a head, synced, unless one of its revision or a later one is kept. The caller has
    /// verified its signature.
    ///
    /// # Errors
    /// [`StoreError::HeadBusy`] where the slot is being written, [`StoreError::HeadsFull`] above
    /// [`HEADS_MAX`] slots, [`StoreError::ReadOnly`] and [`StoreError::Disk`] where the disk fails.
    pub fn put_head(&self, head: &Head) -> Result<HeadWrite, StoreError> {
        let slot = (head.account, head.log);
        if !self.head_slots().insert(slot) {
            return Err(StoreError::HeadBusy);
        }
        let _writing = Writing { store: self, slot };
        if let Some(reason) = &self.uncertain {
            return Err(StoreError::ReadOnly { reason: reason.clone() });
        }
        let known = self.index().head(&slot).map(|(revision, _)| revision);
        match known {
            None if self.index().head_count() >= HEADS_MAX => return Err(StoreError::HeadsFull),
            Some(revision) if revision >= head.revision => match self.head(&slot) {
                Ok(Some(kept)) if kept == *head => return Ok(HeadWrite::Kept),
                Ok(Some(kept)) => return Ok(HeadWrite::Behind(kept)),
                // Damaged: whatever comes is better than what cannot be read, but never older.
                _ if revision > head.revision => return Err(StoreError::HeadBusy),
                _ => {}
            },
            _ => {}
        }
        let part = Part::of(Kind::Head, self.next_sequence(), head.to_bytes());
        self.write(Work::of(points::HEAD_KEEP, vec![part]))?;
        Ok(HeadWrite::Kept)
    }

    /// The head that is kept in a slot.
    ///
    /// # Errors
    /// [`StoreError::RecordDamaged`] where its record is.
    pub fn head(&self, slot: &Slot) -> Result<Option<Head>, StoreError> {
        let mut read = None;
        loop {
            let found = self.index().head(slot).map(|(_, located)| located);
            let Some(located) = found else { return Ok(None) };
            if let Some((place, damage)) = read
                && place == located.place
            {
                return Err(StoreError::RecordDamaged { record: "head", damage });
            }
            let body = self.read_record(&located, Kind::Head)?;
            match body.and_then(|body| decode(&body).map_err(|_| Damage::Record)) {
                Ok(head) => return Ok(Some(head)),
                // Unless it moved to another pack meanwhile, it is damaged.
                Err(damage) => read = Some((located.place, damage)),
            }
        }
    }

    /// The revision of the head that is kept in a slot.
    pub fn head_slot(&self, slot: Slot) -> Option<u64> {
        self.index().head(&slot).map(|(revision, _)| revision)
    }

    /// Slots behind `after` in order, with the revisions of their heads, at most `count` and 1024.
    pub fn heads_after(&self, after: Option<Slot>, count: usize) -> Vec<(Slot, u64)> {
        self.index().heads_after(after).take(count.min(PAGE_MAX)).collect()
    }
}
