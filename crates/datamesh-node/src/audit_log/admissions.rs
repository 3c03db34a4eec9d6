//! Notes who uses an invite.

use std::sync::Arc;

use datamesh_core::NodeId;
use datamesh_core::message::Redeem;
use datamesh_engine::{Admissions, RedeemError, Redeemed};

use super::AuditLog;

/// Admissions whose outcomes are noted.
pub(crate) struct NotedAdmissions {
    pub(crate) inner: Arc<dyn Admissions>,
    pub(crate) log: Arc<AuditLog>,
}

impl Admissions for NotedAdmissions {
    fn redeem(&self, peer: NodeId, redeem: &Redeem) -> Result<Redeemed, RedeemError> {
        let redeemed = self.inner.redeem(peer, redeem);
        let by = ("peer", peer.to_string());
        match &redeemed {
            Ok((certificate, grant)) => {
                let given = match (certificate, grant) {
                    (Some(_), Some(_)) => "certificate and grant",
                    (Some(_), None) => "certificate",
                    (None, Some(_)) => "grant",
                    (None, None) => "nothing",
                };
                // Asking again with the same number is free.
                self.log.record_caused("invite.redeemed", &[by, ("given", given.to_owned())]);
            }
            Err(error) => {
                self.log.record_caused("invite.refused", &[by, ("why", error.to_string())]);
            }
        }
        redeemed
    }
}
