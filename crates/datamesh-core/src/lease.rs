//! The owner's claim that keeps a segment's shards, and its end.
//!
//! The lease key is in the descriptor; its secret is derived from the account per segment, so
//! nothing is stored for it and renewals of different segments do not show a common owner. A
//! release names an epoch above every renewal it knows; a renewal of equal or higher epoch wins.

use crate::id::{MeshId, NodeId, SegmentId};
use crate::record;
use crate::seam::Timestamp;
use crate::signature::{Context, PublicKey, Signature, SignatureError};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

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

/// The highest priority of a [`SegmentPin`].
pub const PIN_PRIORITY_MAX: u8 = 10;

record! {
    /// How much the owner cares for a segment: of two that are equally near to being lost, holders repair
    /// the one of the higher priority first. It changes nothing about the lease.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SegmentPin {
        /// The segment.
        pub segment: SegmentId,
        /// Orders pins: the one of the highest epoch counts.
        pub epoch: u64,
        /// 1 to [`PIN_PRIORITY_MAX`]; 0 for one that is pinned no longer.
        pub priority: u8,
        /// When the pin ends; 0 where it does not.
        pub until: Timestamp,
        /// The lease key's signature over the fields above.
        pub signature: Signature,
    }
}

impl SegmentPin {
    /// The bytes that the lease key signs.
    pub fn signed_part(segment: &SegmentId, epoch: u64, priority: u8, until: Timestamp) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&segment.0).u64(epoch).u8(priority).u64(until);
        out.into_vec()
    }

    /// Checks the lease key's signature.
    ///
    /// # Errors
    /// [`SignatureError`] where `lease_key` did not sign this in this mesh.
    pub fn verify(&self, lease_key: &PublicKey, mesh: &MeshId) -> Result<(), SignatureError> {
        let body = Self::signed_part(&self.segment, self.epoch, self.priority, self.until);
        lease_key.verify(Context::SegmentPin, mesh, &body, &self.signature)
    }
}

record! {
    /// Asks a node which segments it keeps under a grant, in the order of their ids. Whoever may know
    /// that proves the grant key; the answer links segments that nothing else links.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Listing {
        /// The grant's key.
        pub grant_key: PublicKey,
        /// The node that is asked, so that it cannot ask another with this.
        pub node: NodeId,
        /// Begin behind this segment; zeros: at the start.
        pub after: SegmentId,
        /// When it was asked; a node answers while that is near.
        pub time: Timestamp,
        /// The grant key's signature over the fields above.
        pub signature: Signature,
    }
}

impl Listing {
    /// The bytes that the grant key signs.
    pub fn signed_part(
        grant_key: &PublicKey,
        node: &NodeId,
        after: &SegmentId,
        time: Timestamp,
    ) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&grant_key.0).raw(&node.0).raw(&after.0).u64(time);
        out.into_vec()
    }

    /// Checks the grant key's signature.
    ///
    /// # Errors
    /// [`SignatureError`] where the grant key did not sign this in this mesh.
    pub fn verify(&self, mesh: &MeshId) -> Result<(), SignatureError> {
        let body = Self::signed_part(&self.grant_key, &self.node, &self.after, self.time);
        self.grant_key.verify(Context::GrantListing, mesh, &body, &self.signature)
    }
}

record! {
    /// A segment that a node keeps under a grant.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Listed {
        /// The segment.
        pub segment: SegmentId,
        /// Its shards there that are not in the trash: bit i for shard i.
        pub shards: u32,
        /// Bytes of one of its shards.
        pub shard_bytes: u32,
        /// When the last of them was stored, or the segment renewed there, whichever was later.
        pub stored: Timestamp,
        /// When their lease ends there; 0 where leases do not.
        pub lease_end: Timestamp,
    }
}

/// What a node says to a renewal, a release or a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// It counts there, durably.
    Taken {
        /// The shards that it is about: bit i for shard i.
        shards: u32,
    },
    /// Nothing of the segment is there.
    NotHeld,
    /// Something of a higher epoch counts there: a release does not end a renewal of its own epoch.
    Behind {
        /// That epoch.
        epoch: u64,
    },
    /// The segment's lease key did not sign it.
    NotSigned,
    /// It ends later than a lease of this mesh may from now on, or has no end where leases end, or one
    /// where they do not.
    TooLong {
        /// The latest end that the node takes; 0 where leases do not end.
        until: Timestamp,
    },
}

impl Encode for LeaseAnswer {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Taken { shards } => out.u8(1).u32(*shards),
            Self::NotHeld => out.u8(2),
            Self::Behind { epoch } => out.u8(3).u64(*epoch),
            Self::NotSigned => out.u8(4),
            Self::TooLong { until } => out.u8(5).u64(*until),
        };
    }
}

impl Decode for LeaseAnswer {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match from.u8()? {
            1 => Self::Taken { shards: from.u32()? },
            2 => Self::NotHeld,
            3 => Self::Behind { epoch: from.u64()? },
            4 => Self::NotSigned,
            5 => Self::TooLong { until: from.u64()? },
            _ => return Err(WireError::Invalid { field: "lease answer" }),
        })
    }
}
