//! What repair asks of a holder: the permission that came with its shards, and room for a shard that
//! a member rebuilt.
//!
//! A repair brings back what was permitted once, so neither the grant's end nor its bound keep it
//! out. That must not be a way around both: only members may do it, and beyond the grant's bound only
//! a node high enough in the segment's ranking to be given a shard of it takes one, up to half as much
//! again (`docs/decisions/0005-over-the-limit-repair.md`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datamesh_core::message::{Refusal, Reply};
use datamesh_core::{Descriptor, Grant, NodeId, SegmentId, StoreTicket};

use super::{Answer, Holder, refuse};
use crate::placement::ranking;
use crate::repair::{Permit, permit_of};
use crate::view::Standing;

/// The part of a grant's bytes by which a repair may pass them: one half, for meshes that lost a
/// third of their nodes.
const REPAIR_EXCESS: u64 = 2;

/// Segments of which shards are on their way, and how many of each.
pub(super) type Arriving = Arc<Mutex<BTreeMap<SegmentId, usize>>>;

/// A shard on its way, until this is dropped.
pub(super) struct Arrival {
    arriving: Arriving,
    segment: SegmentId,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = arriving.get_mut(&self.segment) {
            *count -= 1;
            if *count == 0 {
                arriving.remove(&self.segment);
            }
        }
    }
}

impl Holder {
    /// Takes note of a shard that a member brings. One that is to be alone is turned away where
    /// another shard of its segment is, or comes at the same time: several holders may have chosen
    /// this node at once.
    pub(super) fn arrives(
        &self,
        segment: SegmentId,
        shard: u8,
        alone: bool,
    ) -> Result<Arrival, (Refusal, String)> {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        let others = self.store.held(segment) & !1_u32.checked_shl(u32::from(shard)).unwrap_or(0);
        if alone && (others != 0 || arriving.contains_key(&segment)) {
            return refuse(Refusal::Busy, "another shard of the segment is here");
        }
        *arriving.entry(segment).or_default() += 1;
        Ok(Arrival { arriving: Arc::clone(&self.arriving), segment })
    }

    /// Shows the permission for a segment to who knows the mesh.
    pub(super) async fn permit(&self, peer: &NodeId, segment: SegmentId) -> Answer {
        if !self.may_see_members(peer) {
            return refuse(Refusal::NotAdmitted, "say hello first");
        }
        let store = Arc::clone(&self.store);
        match self.block(move || permit_of(&store, segment)).await? {
            Some(permit) => {
                let Permit { ticket, grant, renewal } = permit;
                Ok((Reply::Permitted { ticket, grant, renewal }, Bytes::new()))
            }
            None => refuse(Refusal::NotFound, ""),
        }
    }

    /// What can be said before the body is read.
    pub(super) fn admit_restore(
        &self,
        peer: &NodeId,
        descriptor: &Descriptor,
        ticket: &StoreTicket,
        cells: usize,
    ) -> Result<(), (Refusal, String)> {
        if !self.is_member_now(peer) {
            return refuse(Refusal::NotAdmitted, "only members bring back shards");
        }
        Self::check_fit(descriptor, ticket, cells)
    }

    /// Whether a peer is a member that is not gone, by a certificate that holds now and not one that
    /// held when its advert came.
    fn is_member_now(&self, peer: &NodeId) -> bool {
        let (view, now) = (self.engine.view(), self.engine.now());
        view.member(peer).is_some_and(|member| {
            let certificate = &member.advert.certificate;
            view.standing(member, now) != Standing::Gone
                && certificate.verify(&view.genesis().authority, &view.mesh(), now).is_ok()
        })
    }

    /// Checks a shard that a member brings back, and says how many bytes this node may keep under its
    /// grant with it.
    pub(super) fn check_restore(
        &self,
        peer: &NodeId,
        descriptor: &Descriptor,
        ticket: &StoreTicket,
        grant: &Grant,
        cells: &Bytes,
    ) -> Result<u64, (Refusal, String)> {
        self.admit_restore(peer, descriptor, ticket, cells.len())?;
        let genesis = self.engine.genesis();
        // At the beginning of time nothing has expired: what counts is that it was permitted.
        if let Err(error) = grant.verify(&genesis.authority, &self.engine.mesh(), 0) {
            return refuse(Refusal::NotPermitted, error);
        }
        let candidates = self.engine.view().candidates(self.engine.now());
        let own = self.engine.transport().local();
        let first = ranking(&ticket.segment, &candidates)
            .iter()
            .take(2 * descriptor.scheme.n())
            .any(|candidate| candidate.node == own);
        let bound = grant.bytes_per_node;
        Ok(if first { bound.saturating_add(bound / REPAIR_EXCESS) } else { bound })
    }
}
