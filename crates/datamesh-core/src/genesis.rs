//! The record that makes a mesh.

use crate::id::{Hash, MeshId};
use crate::seam::Timestamp;
use crate::signature::{Context, PublicKey, Signature, SignatureError};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// BLAKE3 derive-key context of mesh ids.
const MESH_ID_CONTEXT: &str = "datamesh 2026 mesh id v1";

/// One day in milliseconds.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// How much later than a whole term from now, by a holder's clock, a lease may end: an hour, for
/// clocks that differ.
const LEASE_SLACK_MS: u64 = 3600 * 1000;

/// The first record of a mesh. Its hash is the mesh's id; its authority key admits nodes and
/// accounts, itself or through delegates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// The key that signs certificates and grants, derived from the founder's words.
    pub authority: PublicKey,
    /// When the mesh was founded.
    pub created: Timestamp,
    /// Days after which a lease that nobody renews ends; 0 in a private mesh, where none does.
    pub lease_days: u32,
    /// Random bytes, so that one authority may found several meshes.
    pub nonce: [u8; 16],
    /// The authority's signature over the fields above.
    pub signature: Signature,
}

impl Genesis {
    /// Most days of a lease: ten years.
    pub const LEASE_DAYS_MAX: u32 = 3650;

    /// Newest version of the layout.
    pub const VERSION: u8 = 1;

    /// The bytes that the authority signs.
    pub fn signed_part(
        authority: &PublicKey,
        created: Timestamp,
        lease_days: u32,
        nonce: &[u8; 16],
    ) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(Self::VERSION).raw(&authority.0).u64(created).u32(lease_days).raw(nonce);
        out.into_vec()
    }

    /// When a lease that begins now ends; 0 where leases do not.
    pub fn lease_end(&self, now: Timestamp) -> Timestamp {
        match u64::from(self.lease_days) {
            0 => 0,
            days => now.saturating_add(days * DAY_MS),
        }
    }

    /// The latest end of a lease that a holder takes at this time: a whole term, and something for
    /// clocks that differ; 0 where leases do not end.
    pub fn lease_end_max(&self, now: Timestamp) -> Timestamp {
        match self.lease_end(now) {
            0 => 0,
            end => end.saturating_add(LEASE_SLACK_MS),
        }
    }

    /// The mesh's id.
    pub fn mesh_id(&self) -> MeshId {
        MeshId(Hash::derive(MESH_ID_CONTEXT, &self.to_bytes()).0)
    }

    /// Checks the authority's signature over itself.
    ///
    /// # Errors
    /// [`SignatureError`] where it does not hold.
    pub fn verify(&self) -> Result<(), SignatureError> {
        let body = Self::signed_part(&self.authority, self.created, self.lease_days, &self.nonce);
        self.authority.verify(Context::Genesis, &MeshId([0; 32]), &body, &self.signature)
    }
}

impl Encode for Genesis {
    fn encode(&self, out: &mut Writer) {
        out.raw(&Self::signed_part(&self.authority, self.created, self.lease_days, &self.nonce));
        self.signature.encode(out);
    }
}

impl Decode for Genesis {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("genesis", Self::VERSION)?;
        Ok(Self {
            authority: PublicKey::decode(from)?,
            created: from.u64()?,
            lease_days: from.u32()?,
            nonce: from.array()?,
            signature: Signature::decode(from)?,
        })
    }
}
