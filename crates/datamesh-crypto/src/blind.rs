//! An account's identity, blinded for one mesh: nodes see a key that signs, and can tell neither the
//! identity from it nor two meshes' keys from each other; whoever knows the account's id finds the
//! public half, and only the words have the secret one.
//!
//! The construction is that of Tor's onion services (rend-spec-v3, appendix A): the public key is
//! `h·A` and the secret scalar `h·a`, `h` a hash of `A` and the mesh. Signatures are plain Ed25519.

use curve25519_dalek::Scalar;
use curve25519_dalek::edwards::CompressedEdwardsY;
use datamesh_core::{AccountId, Context, MeshId, PublicKey, Signature, Signer};
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use sha2::{Digest, Sha512};

use crate::Secret;

const FACTOR_LABEL: &[u8] = b"datamesh blinded identity v1";
const PREFIX_LABEL: &[u8] = b"datamesh blinded nonce v1";

fn factor(account: &AccountId, mesh: &MeshId) -> Scalar {
    let hash = Sha512::new().chain_update(FACTOR_LABEL).chain_update(account.0);
    Scalar::from_hash(hash.chain_update(mesh.0))
}

/// The account's blinded key in a mesh; nothing where the account's id is no key.
pub(crate) fn blinded_public(account: &AccountId, mesh: &MeshId) -> Option<PublicKey> {
    let point = CompressedEdwardsY(account.0).decompress()?;
    Some(PublicKey((point * factor(account, mesh)).compress().0))
}

/// The secret half of an account's blinded key. Wipes itself.
pub(crate) struct BlindedKey {
    expanded: ExpandedSecretKey,
    public: VerifyingKey,
}

impl BlindedKey {
    /// The key of the account whose identity has this secret.
    pub(crate) fn new(identity: &Secret, mesh: &MeshId) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(identity);
        let account = AccountId(key.verifying_key().to_bytes());
        let plain = ExpandedSecretKey::from(identity as &[u8; 32]);
        // A prefix of its own: a nonce must never serve under two keys.
        let prefix = Sha512::new().chain_update(PREFIX_LABEL).chain_update(plain.hash_prefix);
        let prefix = prefix.chain_update(mesh.0).finalize();
        let mut hash_prefix = [0; 32];
        hash_prefix.copy_from_slice(&prefix[..32]);
        let scalar = plain.scalar * factor(&account, mesh);
        let expanded = ExpandedSecretKey { scalar, hash_prefix };
        let public = VerifyingKey::from(&expanded);
        Self { expanded, public }
    }
}

impl Signer for BlindedKey {
    fn public_key(&self) -> PublicKey {
        PublicKey(self.public.to_bytes())
    }

    fn sign(&self, context: Context, mesh: &MeshId, body: &[u8]) -> Signature {
        let bytes = datamesh_core::signature::signed_bytes(context, mesh, body);
        Signature(raw_sign::<Sha512>(&self.expanded, &bytes, &self.public).to_bytes())
    }
}
