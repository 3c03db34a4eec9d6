//! Founding a mesh and admitting nodes and accounts to it.

use datamesh_core::certificate::{Delegation, Issuer, NodeClaim};
use datamesh_core::wire::Encode;
use datamesh_core::{
    Context, Genesis, Grant, MeshId, NodeCertificate, PublicKey, Signature, Signer, Timestamp,
};

use crate::signing::SigningKey;

/// Makes the first record of a mesh, signed by its authority.
pub fn found(
    authority: &SigningKey,
    created: Timestamp,
    lease_days: u32,
    nonce: [u8; 16],
) -> Genesis {
    let key = authority.public_key();
    let body = Genesis::signed_part(&key, created, lease_days, &nonce);
    let signature = authority.sign(Context::Genesis, &MeshId([0; 32]), &body);
    Genesis { authority: key, created, lease_days, nonce, signature }
}

/// Gives a delegate the power to sign certificates and grants.
pub fn delegate(
    authority: &SigningKey,
    mesh: &MeshId,
    delegate: PublicKey,
    serial: u64,
    expiry: Timestamp,
) -> Delegation {
    let body = Delegation::signed_part(&delegate, serial, expiry);
    let signature = authority.sign(Context::Delegation, mesh, &body);
    Delegation { delegate, serial, expiry, signature }
}

/// The key of a running service that issues certificates and grants.
#[derive(Debug, Clone)]
pub struct IssuingKey {
    mesh: MeshId,
    key: SigningKey,
    issuer: Issuer,
}

impl IssuingKey {
    /// The key of a delegate.
    pub fn delegate(mesh: MeshId, key: SigningKey, delegation: Delegation) -> Self {
        Self { mesh, key, issuer: Issuer::Delegate(delegation) }
    }

    fn sign(&self, context: Context, body: &[u8]) -> Signature {
        self.key.sign(context, &self.mesh, body)
    }

    /// Admits a node.
    pub fn certify(&self, claim: NodeClaim) -> NodeCertificate {
        let signature = self.sign(Context::NodeCertificate, &claim.to_bytes());
        NodeCertificate { claim, issuer: self.issuer.clone(), signature }
    }

    /// Permits an account to store.
    pub fn grant(
        &self,
        key: PublicKey,
        bytes_per_node: u64,
        serial: u64,
        expiry: Timestamp,
    ) -> Grant {
        let body = Grant::signed_part(&key, bytes_per_node, serial, expiry);
        let signature = self.sign(Context::Grant, &body);
        Grant { key, bytes_per_node, serial, expiry, issuer: self.issuer.clone(), signature }
    }
}
