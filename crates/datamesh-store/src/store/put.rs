//! Writing shards and receipts.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use datamesh_core::wire::Encode;
use datamesh_core::{Descriptor, Grant, Receipt, SegmentId, StoreTicket, Timestamp};

use super::Store;
use crate::commit::{Claim, Part, Work};
use crate::error::StoreError;
use crate::index::ShardState;
use crate::points;
use crate::record::{Kind, ShardMeta};

/// A shard to store. The caller has verified the cells' root, the ticket and the grant; the store
/// checks only that the parts belong together.
#[derive(Clone)]
pub struct ShardWrite<'a> {
    /// The segment.
    pub descriptor: Descriptor,
    /// Which of its shards.
    pub shard: u8,
    /// The grant key's permission.
    pub ticket: StoreTicket,
    /// The grant that it rests on.
    pub grant: Grant,
    /// Most bytes that may then be kept here under the grant: its own bound, or a higher one for a
    /// repair.
    pub grant_bound: u64,
    /// The shard's cells in order.
    pub cells: Bytes,
    /// Now.
    pub stored_at: Timestamp,
    /// Epoch of the lease that it gets.
    pub lease_epoch: u64,
    /// When that lease ends; 0 where leases do not.
    pub lease_expiry: Timestamp,
    /// Signs the receipt with the sequence that the store gives it. The receipt is stored beside
    /// the shard and leaves the store only once both are synced.
    pub sign_receipt: &'a dyn Fn(u64) -> Receipt,
}

impl ShardWrite<'_> {
    fn check(&self, segment: &SegmentId) -> Result<(), StoreError> {
        let descriptor = &self.descriptor;
        let inconsistent = |field| Err(StoreError::Inconsistent { field });
        if descriptor.roots.len() != descriptor.scheme.n() {
            return inconsistent("number of roots");
        }
        if usize::from(self.shard) >= descriptor.scheme.n() {
            return inconsistent("shard number");
        }
        if self.cells.len() != descriptor.shard_length() {
            return inconsistent("length of the cells");
        }
        if self.ticket.segment != *segment {
            return inconsistent("ticket's segment");
        }
        Ok(())
    }
}

/// What came of asking for a place in the queue.
enum Admission {
    Claimed,
    Held,
}

impl Store {
    /// Stores a shard and returns its receipt once both are synced. A shard that is held and reads
    /// back whole is not written again: its stored receipt is returned.
    ///
    /// # Errors
    /// [`StoreError::Full`] and [`StoreError::GrantUsedUp`] where there is no room,
    /// [`StoreError::Released`] where the segment's owner released it, [`StoreError::Inconsistent`] where the parts do not belong together,
    /// [`StoreError::ReadOnly`] and [`StoreError::Disk`] where the disk fails. After an error the
    /// shard is there whole or not at all.
    pub fn put_shard(&self, write: ShardWrite<'_>) -> Result<Receipt, StoreError> {
        let segment = write.descriptor.id();
        write.check(&segment)?;
        if let Some(reason) = &self.uncertain {
            return Err(StoreError::ReadOnly { reason: reason.clone() });
        }
        let mut claim = Claim { shard: (segment, write.shard), grant: write.grant.id(), bytes: 0 };
        while let Admission::Held = self.admit(&mut claim, &write)? {
            match self.read_shard(segment, write.shard) {
                Ok(_) => return self.receipt_or_sign(segment, write.shard, write.sign_receipt),
                // It is marked now, and the next turn writes it again.
                Err(StoreError::Damaged { .. } | StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut claimed = Claimed { store: self, claim: Some(claim) };
        let first = self.sequence.fetch_add(3, Ordering::Relaxed);
        let receipt = (write.sign_receipt)(first + 2);
        let grant = Part::of(Kind::Grant, first, write.grant.to_bytes());
        let meta = ShardMeta {
            descriptor: write.descriptor,
            shard: write.shard,
            ticket: write.ticket,
            grant: claim.grant,
            stored_at: write.stored_at,
            lease_epoch: write.lease_epoch,
            lease_expiry: write.lease_expiry,
        };
        let shard = Part::with_rest(Kind::Shard, first + 1, meta.to_bytes(), write.cells);
        let work = Work {
            point: points::SHARD_STORE,
            parts: vec![shard, receipt_part(first + 2, &receipt)],
            grant: Some((claim.grant, grant)),
            claim: claimed.claim.take(),
        };
        self.write(work)?;
        Ok(receipt)
    }

    /// Claims the shard and its bytes, or finds that it is held.
    fn admit(&self, claim: &mut Claim, write: &ShardWrite<'_>) -> Result<Admission, StoreError> {
        let (segment, shard) = claim.shard;
        let mut queue = self.commit.lock();
        while queue.has(&claim.shard) {
            queue = self.commit.wait(queue);
        }
        let index = self.index();
        // What its owner gave up comes back by a renewal only, not with whoever was away meanwhile.
        if index.lease_of(segment).is_some_and(|lease| lease.released) {
            return Err(StoreError::Released { segment });
        }
        let mut replaced = 0;
        if let Some((copy, state)) = index.shard(segment, shard) {
            if state == ShardState::Held {
                return Ok(Admission::Held);
            }
            if index.grant_of(&copy) == Some(claim.grant) {
                replaced = u64::from(copy.cells());
            }
        }
        let used = index.grant(&claim.grant).map_or(0, |grant| grant.used);
        let used = used + queue.claimed(&claim.grant);
        claim.bytes = (write.cells.len() as u64).saturating_sub(replaced);
        if used.saturating_add(claim.bytes) > write.grant_bound {
            return Err(StoreError::GrantUsedUp {
                grant: claim.grant,
                used,
                bound: write.grant_bound,
                needed: claim.bytes,
            });
        }
        queue.claim(claim);
        Ok(Admission::Claimed)
    }

    fn receipt_or_sign(
        &self,
        segment: SegmentId,
        shard: u8,
        sign: &dyn Fn(u64) -> Receipt,
    ) -> Result<Receipt, StoreError> {
        match self.receipt(segment, shard)? {
            Some(receipt) => Ok(receipt),
            None => self.renew_receipt(segment, shard, sign),
        }
    }

    /// Signs and stores a receipt in place of the one that a held shard has, for instance with a
    /// later expiry. The caller has made sure that the shard is readable.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] and [`StoreError::Damaged`] where the shard is not held, and the
    /// errors of writing.
    pub fn renew_receipt(
        &self,
        segment: SegmentId,
        shard: u8,
        sign: &dyn Fn(u64) -> Receipt,
    ) -> Result<Receipt, StoreError> {
        self.locate(segment, shard)?;
        let sequence = self.next_sequence();
        let receipt = sign(sequence);
        let parts = vec![receipt_part(sequence, &receipt)];
        self.write(Work::of(points::RECEIPT_RENEW, parts))?;
        Ok(receipt)
    }
}

fn receipt_part(sequence: u64, receipt: &Receipt) -> Part {
    Part::of(Kind::Receipt, sequence, receipt.to_bytes())
}

/// Gives the claim back if the receipt cannot be signed.
struct Claimed<'a> {
    store: &'a Store,
    claim: Option<Claim>,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        if let Some(claim) = &self.claim {
            self.store.commit.unclaim(claim);
        }
    }
}
