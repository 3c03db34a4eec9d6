//! Leases: what their owners say of them, and what follows for the shards here.
//!
//! A release puts a segment's shards into the trash and stays here as a tombstone; a renewal of equal
//! or higher epoch takes them out again. Both are one group of records: a crash leaves the lease and
//! its shards as they were before, or as they are after. A shard that was moved to another node stays
//! in the trash when its lease is renewed: what the owner keeps is there.

use datamesh_core::lease::{Release, Renewal};
use datamesh_core::wire::{Decode, Encode, decode};
use datamesh_core::{Descriptor, PublicKey, SegmentId, Timestamp};

use super::Store;
use super::read::bit;
use crate::commit::{Part, Work};
use crate::error::{Damage, StoreError};
use crate::index::{Index, LeaseState, ShardState};
use crate::points;
use crate::record::{Kind, Lease, ShardMark, Tombstone};

/// Most changes of leases in one call: with the marks of their shards less than a group's bytes.
pub const LEASE_CHANGES_MAX: usize = 512;

/// What an owner says of a lease; the caller has verified the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseChange {
    /// The shards are kept.
    Renew(Renewal),
    /// They are not needed any more.
    Release {
        /// The owner's statement.
        release: Release,
        /// The key that it was verified with.
        lease_key: PublicKey,
    },
}

/// What came of a change of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// It counts, now or from before, and is durable.
    Taken {
        /// The shards that are held since, or that are in the trash since: bit i for shard i.
        shards: u32,
    },
    /// Nothing of the segment is here.
    NotHeld,
    /// Something of a higher epoch counts: a release does not end a renewal of its own epoch.
    Behind {
        /// That epoch.
        epoch: u64,
    },
}

impl Store {
    /// Stores a lease renewal, whose signature the caller has verified.
    ///
    /// # Errors
    /// [`StoreError::SegmentNotFound`] where no shard of the segment is here, and the errors of
    /// writing.
    pub fn renew_lease(&self, renewal: &Renewal) -> Result<(), StoreError> {
        let segment = renewal.segment;
        match self.change_leases(&[LeaseChange::Renew(renewal.clone())], 0)?.first() {
            Some(LeaseOutcome::Taken { .. } | LeaseOutcome::Behind { .. }) => Ok(()),
            _ => Err(StoreError::SegmentNotFound { segment }),
        }
    }

    /// Takes what owners say of leases, all of it durable when this returns, in the order given. Of
    /// one segment at most one change may be among them.
    ///
    /// # Errors
    /// [`StoreError::TooMany`] above [`LEASE_CHANGES_MAX`], and the errors of writing: then none of
    /// it counts, as far as anybody is told.
    pub fn change_leases(
        &self,
        changes: &[LeaseChange],
        now: Timestamp,
    ) -> Result<Vec<LeaseOutcome>, StoreError> {
        if changes.len() > LEASE_CHANGES_MAX {
            return Err(StoreError::TooMany { count: changes.len(), bound: LEASE_CHANGES_MAX });
        }
        if let Some(reason) = &self.uncertain {
            return Err(StoreError::ReadOnly { reason: reason.clone() });
        }
        // Two that judge the same segment at once would each miss what the other is about to write.
        let _turn = self.lease_turn();
        let mut parts = Vec::new();
        let outcomes: Vec<LeaseOutcome> = {
            let index = self.index();
            changes.iter().map(|change| self.judge(&index, change, now, &mut parts)).collect()
        };
        if !parts.is_empty() {
            let ends = |change: &LeaseChange| matches!(change, LeaseChange::Release { .. });
            let point = match changes.iter().any(ends) {
                true => points::LEASE_RELEASE,
                false => points::LEASE_RENEW,
            };
            self.write(Work::of(point, parts))?;
        }
        Ok(outcomes)
    }

    /// What a change comes to, and the records that it takes.
    fn judge(
        &self,
        index: &Index,
        change: &LeaseChange,
        now: Timestamp,
        parts: &mut Vec<Part>,
    ) -> LeaseOutcome {
        let known = index.lease_of(match change {
            LeaseChange::Renew(renewal) => renewal.segment,
            LeaseChange::Release { release, .. } => release.segment,
        });
        match change {
            LeaseChange::Renew(renewal) => self.judge_renewal(index, renewal, known, now, parts),
            LeaseChange::Release { release, lease_key } => {
                self.judge_release(index, release, *lease_key, known, now, parts)
            }
        }
    }

    fn judge_renewal(
        &self,
        index: &Index,
        renewal: &Renewal,
        known: Option<LeaseState>,
        now: Timestamp,
        parts: &mut Vec<Part>,
    ) -> LeaseOutcome {
        let segment = renewal.segment;
        let released = known.is_some_and(|lease| lease.released);
        if !index.has_segment(segment) && !released {
            return LeaseOutcome::NotHeld;
        }
        if let Some(lease) = known.filter(|lease| lease.epoch > renewal.epoch) {
            return LeaseOutcome::Behind { epoch: lease.epoch };
        }
        // One that ends no later than what counts already says nothing: sent again after the lease
        // ended it would take shards out of the trash that nobody keeps any more. One without an end is
        // noted again, as the time when it came tells that somebody wants the segment.
        let says_nothing = |lease: LeaseState| {
            let same = !lease.released && lease.epoch == renewal.epoch;
            same && renewal.expiry != 0 && lease.end() >= renewal.expiry
        };
        let counts = known.is_some_and(says_nothing);
        // What a shard was stored with is no owner's word that could be passed on.
        let signed = index.lease_record(segment).is_some_and(|(lease, _)| says_nothing(lease));
        if !signed {
            let lease = Lease { renewal: renewal.clone(), time: now };
            parts.push(Part::of(Kind::Lease, self.next_sequence(), lease.to_bytes()));
        }
        let mut shards = 0;
        for (shard, copy, state) in index.segment(segment) {
            if !counts && index.ended(segment, shard) {
                parts.push(self.mark(Kind::Revive, segment, shard, now));
            }
            let kept = match state {
                ShardState::Damaged | ShardState::Moved => false,
                ShardState::Trash => !counts,
                ShardState::Held => true,
            };
            if kept && !copy.damaged {
                shards |= bit(shard);
            }
        }
        LeaseOutcome::Taken { shards }
    }

    fn judge_release(
        &self,
        index: &Index,
        release: &Release,
        lease_key: PublicKey,
        known: Option<LeaseState>,
        now: Timestamp,
        parts: &mut Vec<Part>,
    ) -> LeaseOutcome {
        let segment = release.segment;
        // Every shard is stored with a renewal of epoch 0, whether anything says so or not.
        let newest = known.unwrap_or(LeaseState { epoch: 0, expiry: 0, released: false });
        if newest.released && newest.epoch >= release.epoch {
            let shards = index.segment(segment).fold(0, |mask, (shard, _, _)| mask | bit(shard));
            return LeaseOutcome::Taken { shards };
        }
        if !index.has_segment(segment) {
            return LeaseOutcome::NotHeld;
        }
        if newest.epoch >= release.epoch {
            return LeaseOutcome::Behind { epoch: newest.epoch };
        }
        let tombstone = Tombstone { release: release.clone(), lease_key, time: now };
        parts.push(Part::of(Kind::Tombstone, self.next_sequence(), tombstone.to_bytes()));
        let mut shards = 0;
        for (shard, _, _) in index.segment(segment) {
            shards |= bit(shard);
            if !index.ended(segment, shard) {
                parts.push(self.mark(Kind::Trash, segment, shard, now));
            }
        }
        LeaseOutcome::Taken { shards }
    }

    /// A mark of a shard.
    pub(super) fn mark(&self, kind: Kind, segment: SegmentId, shard: u8, time: Timestamp) -> Part {
        let mark = ShardMark { segment, shard, time };
        Part::of(kind, self.next_sequence(), mark.to_bytes())
    }

    /// The key that renewals and releases of a segment are signed with: from the descriptor of any
    /// of its shards here, those in the trash included, or from its tombstone.
    ///
    /// # Errors
    /// [`StoreError::SegmentNotFound`] where neither is here, [`StoreError::Damaged`] where none can
    /// be read.
    pub fn lease_key(&self, segment: SegmentId) -> Result<PublicKey, StoreError> {
        if let Some(tombstone) = self.tombstone(segment)? {
            return Ok(tombstone.lease_key);
        }
        self.any_descriptor(segment).map(|descriptor| descriptor.lease_key)
    }

    /// The descriptor of a segment of which a shard is here, in whatever state.
    ///
    /// # Errors
    /// As [`descriptor`](Self::descriptor).
    pub fn any_descriptor(&self, segment: SegmentId) -> Result<Descriptor, StoreError> {
        let copies: Vec<_> =
            self.index().segment(segment).map(|(shard, copy, _)| (shard, copy)).collect();
        let mut last = StoreError::SegmentNotFound { segment };
        for (shard, copy) in copies {
            match self.meta_of(segment, shard, &copy) {
                Ok(meta) => return Ok(meta.descriptor),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The tombstone of a segment, where its lease was ended and not renewed since.
    ///
    /// # Errors
    /// [`StoreError::Disk`] where the pack cannot be opened. A damaged record is as none.
    pub fn tombstone(&self, segment: SegmentId) -> Result<Option<Tombstone>, StoreError> {
        self.lease_record(segment, Kind::Tombstone)
    }

    /// The newest renewal of a segment, where its owner renewed it and did not end it since.
    ///
    /// # Errors
    /// As [`tombstone`](Self::tombstone).
    pub fn renewal(&self, segment: SegmentId) -> Result<Option<Renewal>, StoreError> {
        Ok(self.lease_kept(segment)?.map(|lease| lease.renewal))
    }

    /// The newest renewal of a segment with the time at which it came here.
    pub(super) fn lease_kept(&self, segment: SegmentId) -> Result<Option<Lease>, StoreError> {
        self.lease_record(segment, Kind::Lease)
    }

    /// The record that says how a segment's lease is, if it is of this kind.
    fn lease_record<T: Decode>(
        &self,
        segment: SegmentId,
        kind: Kind,
    ) -> Result<Option<T>, StoreError> {
        let ended = kind == Kind::Tombstone;
        loop {
            let found = self.index().lease_record(segment);
            let Some((_, located)) = found.filter(|(lease, _)| lease.released == ended) else {
                return Ok(None);
            };
            let read = self.read_record(&located, kind)?;
            match read.and_then(|body| decode(&body).map_err(|_| Damage::Record)) {
                Ok(record) => return Ok(Some(record)),
                // It may just have moved to another pack.
                Err(_) if self.index().lease_record(segment) != found => {}
                Err(_) => return Ok(None),
            }
        }
    }
}
