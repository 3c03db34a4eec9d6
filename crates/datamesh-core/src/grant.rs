//! An account's permission to store, and its use for one segment.

use crate::certificate::{AdmissionError, Issuer, check_expiry};
use crate::id::{GrantId, Hash, MeshId, SegmentId};
use crate::record;
use crate::seam::Timestamp;
use crate::signature::{Context, PublicKey, Signature, SignatureError};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// BLAKE3 derive-key context of grant ids.
const GRANT_ID_CONTEXT: &str = "datamesh 2026 grant id v1";

/// A mesh's signed permission for an account to store up to a bound on every node. Nodes see the
/// grant key, never the account. Expiry ends new writes only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The account's key for store tickets.
    pub key: PublicKey,
    /// Most bytes of shards that one node keeps under this grant.
    pub bytes_per_node: u64,
    /// Names the grant for revocation.
    pub serial: u64,
    /// End of validity for new writes; 0 for none.
    pub expiry: Timestamp,
    /// Who signed it.
    pub issuer: Issuer,
    /// The issuer's signature over the first four fields.
    pub signature: Signature,
}

impl Grant {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;

    /// The bytes that the issuer signs.
    pub fn signed_part(
        key: &PublicKey,
        bytes_per_node: u64,
        serial: u64,
        expiry: Timestamp,
    ) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&key.0).u64(bytes_per_node).u64(serial).u64(expiry);
        out.into_vec()
    }

    /// The grant's id.
    pub fn id(&self) -> GrantId {
        GrantId(Hash::derive(GRANT_ID_CONTEXT, &self.to_bytes()).0)
    }

    /// Checks the chain up to the authority.
    ///
    /// # Errors
    /// [`AdmissionError`] where the grant permits no new write now.
    pub fn verify(
        &self,
        authority: &PublicKey,
        mesh: &MeshId,
        now: Timestamp,
    ) -> Result<(), AdmissionError> {
        let key = self.issuer.key(authority, mesh, now)?;
        let body = Self::signed_part(&self.key, self.bytes_per_node, self.serial, self.expiry);
        key.verify(Context::Grant, mesh, &body, &self.signature)?;
        check_expiry("grant", self.expiry, now)
    }
}

impl Encode for Grant {
    fn encode(&self, out: &mut Writer) {
        out.u8(Self::VERSION);
        out.raw(&Self::signed_part(&self.key, self.bytes_per_node, self.serial, self.expiry));
        self.issuer.encode(out);
        self.signature.encode(out);
    }
}

impl Decode for Grant {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("grant", Self::VERSION)?;
        Ok(Self {
            key: PublicKey::decode(from)?,
            bytes_per_node: from.u64()?,
            serial: from.u64()?,
            expiry: from.u64()?,
            issuer: Issuer::decode(from)?,
            signature: Signature::decode(from)?,
        })
    }
}

record! {
    /// The grant key's permission to store the shards of one segment. It travels with every shard,
    /// so that any peer may deliver a repair.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct StoreTicket {
        /// The segment.
        pub segment: SegmentId,
        /// Bytes of each of its shards.
        pub shard_length: u32,
        /// When the lease that they are stored with ends, unless it is renewed; 0 where leases do not.
        /// Signed, so that whoever brings a shard back cannot keep it for longer than its owner said.
        pub lease_end: Timestamp,
        /// The grant key's signature over the fields above.
        pub signature: Signature,
    }
}

impl StoreTicket {
    /// The bytes that the grant key signs.
    pub fn signed_part(segment: &SegmentId, shard_length: u32, lease_end: Timestamp) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&segment.0).u32(shard_length).u64(lease_end);
        out.into_vec()
    }

    /// Checks the grant key's signature.
    ///
    /// # Errors
    /// [`SignatureError`] where the ticket was not made with `key` for this mesh.
    pub fn verify(&self, key: &PublicKey, mesh: &MeshId) -> Result<(), SignatureError> {
        let body = Self::signed_part(&self.segment, self.shard_length, self.lease_end);
        key.verify(Context::StoreTicket, mesh, &body, &self.signature)
    }
}
