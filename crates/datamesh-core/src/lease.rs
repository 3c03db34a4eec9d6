//! The owner's claim that keeps a segment's shards, and its end.
//!
//! The lease key is in the descriptor; its secret is derived from the account per segment, so
//! nothing is stored for it and renewals of different segments do not show a common owner. A
//! release names an epoch above every renewal it knows; a renewal of equal or higher epoch wins.

use crate::id::{MeshId, SegmentId};
use crate::record;
use crate::seam::Timestamp;
use crate::signature::{Context, PublicKey, Signature, SignatureError};
use crate::wire::Writer;

record! {
    /// Keeps the shards of a segment until `expiry`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Renewal {
        /// The segment.
        pub segment: SegmentId,
        /// Orders renewals and releases.
        pub epoch: u64,
        /// When the lease ends; 0 where leases do not.
        pub expiry: Timestamp,
        /// The lease key's signature over the fields above.
        pub signature: Signature,
    }
}

impl Renewal {
    /// The bytes that the lease key signs.
    pub fn signed_part(segment: &SegmentId, epoch: u64, expiry: Timestamp) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&segment.0).u64(epoch).u64(expiry);
        out.into_vec()
    }

    /// Checks the lease key's signature.
    ///
    /// # Errors
    /// [`SignatureError`] where `lease_key` did not sign this in this mesh.
    pub fn verify(&self, lease_key: &PublicKey, mesh: &MeshId) -> Result<(), SignatureError> {
        let body = Self::signed_part(&self.segment, self.epoch, self.expiry);
        lease_key.verify(Context::LeaseRenewal, mesh, &body, &self.signature)
    }
}

record! {
    /// Ends the lease of a segment's shards: the owner needs them no more.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Release {
        /// The segment.
        pub segment: SegmentId,
        /// Above the epoch of every renewal that the signer knows.
        pub epoch: u64,
        /// The lease key's signature over the fields above.
        pub signature: Signature,
    }
}

impl Release {
    /// The bytes that the lease key signs.
    pub fn signed_part(segment: &SegmentId, epoch: u64) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&segment.0).u64(epoch);
        out.into_vec()
    }

    /// Checks the lease key's signature.
    ///
    /// # Errors
    /// [`SignatureError`] where `lease_key` did not sign this in this mesh.
    pub fn verify(&self, lease_key: &PublicKey, mesh: &MeshId) -> Result<(), SignatureError> {
        let body = Self::signed_part(&self.segment, self.epoch);
        lease_key.verify(Context::LeaseRelease, mesh, &body, &self.signature)
    }
}
