//! Reading shards and what is known of them.

use bytes::Bytes;
use datamesh_core::wire::decode;
use datamesh_core::{Descriptor, Grant, GrantId, Hash, Receipt, SegmentId};

use super::Store;
use crate::disk::DiskError;
use crate::error::{Damage, StoreError};
use crate::index::{Copy, LeaseState, ShardState};
use crate::pack::read_exact;
use crate::record::{HEADER_BYTES, Kind, ShardMeta, root_of};

/// Most entries of a page of segments.
pub const PAGE_MAX: usize = 4096;

/// A shard as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredShard {
    /// What it belongs to, and by which permission it is here.
    pub meta: ShardMeta,
    /// Its cells in order.
    pub cells: Bytes,
}

impl Store {
    /// The copy of a shard that is held.
    pub(super) fn locate(&self, segment: SegmentId, shard: u8) -> Result<Copy, StoreError> {
        let known = self.index().shard(segment, shard);
        match known {
            Some((copy, ShardState::Held)) => Ok(copy),
            Some((_, ShardState::Damaged)) => {
                Err(StoreError::Damaged { segment, shard, damage: Damage::Known })
            }
            Some((_, ShardState::Trash | ShardState::Moved)) | None => {
                Err(StoreError::NotFound { segment, shard })
            }
        }
    }

    /// The copy of a shard that is held, or that was moved and is still here: whoever asks for it by
    /// what it remembers gets it.
    fn served(&self, segment: SegmentId, shard: u8) -> Result<Copy, StoreError> {
        // The index is free again before it is asked once more: with a writer waiting in between, both
        // would wait for ever.
        let known = self.index().shard(segment, shard);
        match known {
            Some((copy, ShardState::Moved)) => Ok(copy),
            _ => self.locate(segment, shard),
        }
    }

    /// Runs `read` on the copy of a shard that is served, and on the next one where a compaction
    /// copied it meanwhile.
    fn at_copy<T>(
        &self,
        segment: SegmentId,
        shard: u8,
        read: impl Fn(&Copy) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut copy = self.served(segment, shard).inspect_err(|_| {
            self.asked_for_trash(segment, shard);
        })?;
        loop {
            match read(&copy) {
                Err(error) => match self.served(segment, shard) {
                    Ok(other) if other.record.place != copy.record.place => copy = other,
                    _ => return Err(error),
                },
                done => return done,
            }
        }
    }

    /// Runs `read` on the pack of a copy; what it finds damaged is remembered.
    fn on_copy<T>(
        &self,
        segment: SegmentId,
        shard: u8,
        copy: &Copy,
        read: impl FnOnce(&dyn crate::disk::DiskFile) -> Result<T, Damage>,
    ) -> Result<T, StoreError> {
        let place = copy.record.place;
        let result = match self.file(place.pack) {
            Ok(file) => read(&*file),
            Err(DiskError::Missing { .. }) => Err(Damage::Missing),
            // The pack may be well and this process short of something.
            Err(error) => return Err(error.into()),
        };
        result.map_err(|damage| self.damaged(segment, shard, place, damage))
    }

    /// Reads a whole shard and compares its cells with their root.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Damaged`], after which the shard counts as damaged;
    /// [`StoreError::Disk`] where the pack cannot be opened.
    pub fn read_shard(&self, segment: SegmentId, shard: u8) -> Result<StoredShard, StoreError> {
        self.at_copy(segment, shard, |copy| {
            let stored = self.read_copy(segment, shard, copy)?;
            if root_of(&stored.meta) == Some(Hash::of(&stored.cells)) {
                Ok(stored)
            } else {
                Err(self.damaged(segment, shard, copy.record.place, Damage::Cells))
            }
        })
    }

    /// Reads a whole shard; the caller compares the cells with their root, and tells by
    /// [`report_damage`](Self::report_damage) where they do not have it.
    ///
    /// # Errors
    /// As [`read_shard`](Self::read_shard), but for damaged cells.
    pub fn read_shard_unverified(
        &self,
        segment: SegmentId,
        shard: u8,
    ) -> Result<StoredShard, StoreError> {
        self.at_copy(segment, shard, |copy| self.read_copy(segment, shard, copy))
    }

    fn read_copy(
        &self,
        segment: SegmentId,
        shard: u8,
        copy: &Copy,
    ) -> Result<StoredShard, StoreError> {
        let expected = copy.expected();
        let cells_at = HEADER_BYTES + copy.hashed as usize;
        self.on_copy(segment, shard, copy, |file| {
            let record = expected.read_whole(file, &self.key, &self.pool)?;
            let hashed = record.as_ref().get(HEADER_BYTES..cells_at).ok_or(Damage::Record)?;
            let meta = decode(hashed).map_err(|_| Damage::Record)?;
            Ok(StoredShard { meta, cells: record.into_bytes().slice(cells_at..) })
        })
    }

    /// Reads cells `first` up to, not including, `end`. They are not verified here: whoever asked
    /// checks them by their place in the root's tree.
    ///
    /// # Errors
    /// [`StoreError::Range`] where the shard has no such cells, otherwise as
    /// [`read_shard_unverified`](Self::read_shard_unverified).
    pub fn read_cells(
        &self,
        segment: SegmentId,
        shard: u8,
        first: u32,
        end: u32,
    ) -> Result<Bytes, StoreError> {
        self.at_copy(segment, shard, |copy| {
            let meta = self.meta_of(segment, shard, copy)?;
            let (cell, cells) = (meta.descriptor.cell, meta.descriptor.rows() as u32);
            if first >= end || end > cells {
                return Err(StoreError::Range { shard, first, end, cells });
            }
            let from = copy.expected().rest_offset() + u64::from(first) * u64::from(cell);
            let length = (end - first) as usize * cell as usize;
            self.on_copy(segment, shard, copy, |file| {
                let mut buffer = self.pool.take(length);
                read_exact(file, from, buffer.as_mut_slice())?;
                Ok(buffer.into_bytes())
            })
        })
    }

    pub(super) fn meta_of(
        &self,
        segment: SegmentId,
        shard: u8,
        copy: &Copy,
    ) -> Result<ShardMeta, StoreError> {
        let expected = copy.expected();
        self.on_copy(segment, shard, copy, |file| {
            let hashed = expected.read_hashed(file, &self.key)?;
            decode(&hashed).map_err(|_| Damage::Record)
        })
    }

    /// What stands before a held shard's cells.
    ///
    /// # Errors
    /// As [`read_shard_unverified`](Self::read_shard_unverified).
    pub fn shard_meta(&self, segment: SegmentId, shard: u8) -> Result<ShardMeta, StoreError> {
        self.at_copy(segment, shard, |copy| self.meta_of(segment, shard, copy))
    }

    /// The descriptor of a segment of which a shard is held.
    ///
    /// # Errors
    /// [`StoreError::SegmentNotFound`] where none is, [`StoreError::Damaged`] where none of them
    /// can be read.
    pub fn descriptor(&self, segment: SegmentId) -> Result<Descriptor, StoreError> {
        let mut last = StoreError::SegmentNotFound { segment };
        for (shard, _) in shards_of(self.held(segment)) {
            match self.shard_meta(segment, shard) {
                Ok(meta) => return Ok(meta.descriptor),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Which shards of a segment are held: bit i for shard i.
    pub fn held(&self, segment: SegmentId) -> u32 {
        let index = self.index();
        let held = index.segment(segment).filter(|(_, _, state)| *state == ShardState::Held);
        held.fold(0, |mask, (shard, _, _)| mask | bit(shard))
    }

    /// How a shard is here; none where it is not.
    pub fn shard_state(&self, segment: SegmentId, shard: u8) -> Option<ShardState> {
        self.index().shard(segment, shard).map(|(_, state)| state)
    }

    /// The stored receipt of a held shard. None where it is damaged or was never written: then
    /// [`renew_receipt`](Self::renew_receipt) makes one.
    ///
    /// # Errors
    /// As [`read_shard_unverified`](Self::read_shard_unverified), without looking at the shard.
    pub fn receipt(&self, segment: SegmentId, shard: u8) -> Result<Option<Receipt>, StoreError> {
        self.locate(segment, shard)?;
        loop {
            let Some(located) = self.index().receipt(segment, shard) else { return Ok(None) };
            match self.read_record(&located, Kind::Receipt)? {
                Ok(body) => return Ok(decode(&body).ok()),
                // Where it moved to another pack meanwhile, this drops nothing.
                Err(_) => self.index_mut().drop_receipt(segment, shard, located.place),
            }
        }
    }

    /// A grant under which shards were stored.
    ///
    /// # Errors
    /// [`StoreError::GrantNotFound`], and [`StoreError::RecordDamaged`] where its record is: then
    /// it is written again with the next shard under it.
    pub fn grant(&self, grant: &GrantId) -> Result<Grant, StoreError> {
        let mut lost = None;
        loop {
            let located = self.index().grant(grant).and_then(|entry| entry.record);
            let Some(located) = located else {
                let damaged = |damage| StoreError::RecordDamaged { record: "grant", damage };
                return Err(lost.map_or(StoreError::GrantNotFound { grant: *grant }, damaged));
            };
            let body = self
                .read_record(&located, Kind::Grant)?
                .and_then(|body| decode(&body).map_err(|_| Damage::Record));
            match body {
                Ok(found) => return Ok(found),
                // Where it moved to another pack meanwhile, this drops nothing.
                Err(damage) => {
                    self.index_mut().drop_grant_record(grant, located.place);
                    lost = Some(damage);
                }
            }
        }
    }

    /// What is known of a segment's lease; none where nothing but "no end" ever was.
    pub fn lease(&self, segment: SegmentId) -> Option<LeaseState> {
        self.index().lease_of(segment)
    }

    pub(super) fn read_record(
        &self,
        located: &crate::index::Located,
        kind: Kind,
    ) -> Result<Result<Vec<u8>, Damage>, StoreError> {
        let file = match self.file(located.place.pack) {
            Ok(file) => file,
            Err(DiskError::Missing { .. }) => return Ok(Err(Damage::Missing)),
            Err(error) => return Err(error.into()),
        };
        Ok(located.expected(kind).read_hashed(&*file, &self.key))
    }

    /// Segments after `after` in the order of their ids, each with the mask of its held shards, at
    /// most `count` and [`PAGE_MAX`] of them. Segments of which no shard is held are left out.
    pub fn segments_after(&self, after: Option<SegmentId>, count: usize) -> Vec<(SegmentId, u32)> {
        let count = count.min(PAGE_MAX);
        let index = self.index();
        let mut page: Vec<(SegmentId, u32)> = Vec::new();
        for ((segment, shard), _, state) in index.after(after.map(|id| (id, u8::MAX))) {
            if state != ShardState::Held {
                continue;
            }
            let full = page.len() == count;
            match page.last_mut() {
                Some((last, mask)) if *last == segment => *mask |= bit(shard),
                _ if full => break,
                _ => page.push((segment, bit(shard))),
            }
        }
        page
    }

    /// Tells that a reader found the cells of a shard not to have their root. The store looks for
    /// itself before it believes it; the result is whether the shard is damaged.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and [`StoreError::Disk`] where the pack cannot be opened.
    pub fn report_damage(&self, segment: SegmentId, shard: u8) -> Result<bool, StoreError> {
        match self.read_shard(segment, shard) {
            Ok(_) => Ok(false),
            Err(StoreError::Damaged { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// The bit of a shard in a mask; shards have numbers below 24.
pub(super) fn bit(shard: u8) -> u32 {
    1u32.checked_shl(u32::from(shard)).unwrap_or(0)
}

fn shards_of(mask: u32) -> impl Iterator<Item = (u8, u32)> {
    (0..32u8).map(|shard| (shard, bit(shard))).filter(move |(_, bit)| mask & bit != 0)
}
