//! What repair asks of a holder: the permission that came with its shards, and room for a shard that
//! a member rebuilt.
//!
//! A repair brings back what was permitted once, so the grant's end, which stops new writes, does
//! not keep it out. That must not be a way around it: only members may do it.

use bytes::Bytes;
use datamesh_core::message::{Refusal, Reply};
use datamesh_core::{Descriptor, Grant, NodeId, SegmentId, StoreTicket};

use super::{Answer, Holder, refuse};
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

    /// Checks a shard that a member brings back, but for its bytes.
    pub(super) fn check_restore(
        &self,
        peer: &NodeId,
        descriptor: &Descriptor,
        ticket: &StoreTicket,
        grant: &Grant,
        cells: usize,
    ) -> Result<(), (Refusal, String)> {
        self.admit_restore(peer, descriptor, ticket, cells)?;
        let genesis = self.engine.genesis();
        // At the beginning of time nothing has expired: what counts is that it was permitted.
        match grant.verify(&genesis.authority, &self.engine.mesh(), 0) {
            Ok(()) => Ok(()),
            Err(error) => refuse(Refusal::NotPermitted, error),
        }
    }
}
