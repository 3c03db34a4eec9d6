//! What repair asks of a holder: the permission that came with its shards, and room for a shard that
//! a member rebuilt.
//!
//! A repair brings back what was permitted once, so neither the grant's end nor its bound keep it
//! out. That must not be a way around both: only members may do it, and beyond the grant only a node
//! high enough in the segment's ranking to be given a shard of it takes one.

use bytes::Bytes;
use datamesh_core::message::{Refusal, Reply};
use datamesh_core::{Descriptor, Grant, NodeId, SegmentId, StoreTicket};
use datamesh_store::Limits;

use super::{Answer, Holder, refuse};
use crate::placement::ranking;
use crate::repair::permit_of;

impl Holder {
    /// Shows the permission for a segment to who knows the mesh.
    pub(super) async fn permit(&self, peer: &NodeId, segment: SegmentId) -> Answer {
        if !self.may_see_members(peer) {
            return refuse(Refusal::NotAdmitted, "say hello first");
        }
        let store = std::sync::Arc::clone(&self.store);
        match self.block(move || permit_of(&store, segment)).await? {
            Some(permit) => {
                let (ticket, grant) = (permit.ticket, permit.grant);
                Ok((Reply::Permitted { ticket, grant }, Bytes::new()))
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
        if self.engine.view().member(peer).is_none() {
            return refuse(Refusal::NotAdmitted, "only members bring back shards");
        }
        Self::check_fit(descriptor, ticket, cells)
    }

    /// Checks a shard that a member brings back, and says which limits it is under.
    pub(super) fn check_restore(
        &self,
        peer: &NodeId,
        descriptor: &Descriptor,
        ticket: &StoreTicket,
        grant: &Grant,
        cells: &Bytes,
    ) -> Result<Limits, (Refusal, String)> {
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
        Ok(if first { Limits::Space } else { Limits::Grant })
    }
}
