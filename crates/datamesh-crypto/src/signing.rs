//! Ed25519 signing keys.

use datamesh_core::{
    AccountId, Context, Entropy, MeshId, NodeId, PublicKey, SegmentId, Signature, Signer,
    StoreTicket, Timestamp,
};
use ed25519_dalek::Signer as _;

use crate::Secret;

/// A key that signs. Wipes itself.
#[derive(Clone)]
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// The key with this secret.
    pub fn from_secret(secret: &Secret) -> Self {
        Self { key: ed25519_dalek::SigningKey::from_bytes(secret) }
    }

    /// A fresh key.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        let mut secret = Secret::default();
        entropy.fill(&mut *secret);
        Self::from_secret(&secret)
    }

    /// The secret half, to be stored.
    pub fn secret(&self) -> Secret {
        Secret::new(self.key.to_bytes())
    }

    /// The node that has this key.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.public_key().0)
    }

    /// The account that has this key as its identity.
    pub fn account_id(&self) -> AccountId {
        AccountId(self.public_key().0)
    }

    /// A store ticket, where this is a grant key. The lease that shards are stored with ends then; 0
    /// where leases do not.
    pub fn store_ticket(
        &self,
        mesh: &MeshId,
        segment: SegmentId,
        shard_length: u32,
        lease_end: Timestamp,
    ) -> StoreTicket {
        let body = StoreTicket::signed_part(&segment, shard_length, lease_end);
        let signature = self.sign(Context::StoreTicket, mesh, &body);
        StoreTicket { segment, shard_length, lease_end, signature }
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey of {:?}", self.public_key())
    }
}

impl Signer for SigningKey {
    fn public_key(&self) -> PublicKey {
        PublicKey(self.key.verifying_key().to_bytes())
    }

    fn sign(&self, context: Context, mesh: &MeshId, body: &[u8]) -> Signature {
        let bytes = datamesh_core::signature::signed_bytes(context, mesh, body);
        Signature(self.key.sign(&bytes).to_bytes())
    }
}
