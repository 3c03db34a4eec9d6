//! Signatures and the checking of them. Making them is `datamesh-crypto`'s.
//!
//! Every signature is Ed25519 (RFC 8032) over `"datamesh/1/" ‖ context ‖ 0x00 ‖ mesh id ‖ body`.
//! The context names the kind of record, the mesh id the mesh, so a signature made for one purpose
//! or in one mesh is worth nothing in another. The genesis record, which comes before the mesh id,
//! is signed with 32 zero bytes in its place.

#[cfg(feature = "simulation")]
pub mod checked;

use std::fmt;

use ed25519_dalek::VerifyingKey;

use crate::id::{AccountId, MeshId, NodeId};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// What a signature is for. The text is part of the signed bytes and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// [`Genesis`](crate::Genesis)
    Genesis,
    /// [`Delegation`](crate::certificate::Delegation)
    Delegation,
    /// [`NodeCertificate`](crate::NodeCertificate)
    NodeCertificate,
    /// [`Grant`](crate::Grant)
    Grant,
    /// [`StoreTicket`](crate::StoreTicket)
    StoreTicket,
    /// [`Receipt`](crate::Receipt)
    Receipt,
    /// [`Advert`](crate::Advert)
    Advert,
    /// [`Renewal`](crate::lease::Renewal)
    LeaseRenewal,
    /// [`Release`](crate::lease::Release)
    LeaseRelease,
    /// [`LogCertificate`](crate::catalog::LogCertificate)
    LogCertificate,
    /// [`Operation`](crate::catalog::Operation)
    Operation,
    /// The head of a log.
    Head,
    /// [`Listing`](crate::lease::Listing)
    GrantListing,
    /// A holder's answers to an [audit](crate::audit).
    Audit,
    /// [`SegmentPin`](crate::lease::SegmentPin)
    SegmentPin,
    /// Who shares, for the one that it is shared with; see [`share`](crate::share).
    Share,
}

impl Context {
    /// The text that is signed with the record.
    pub fn label(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::Delegation => "delegation",
            Self::NodeCertificate => "node-certificate",
            Self::Grant => "grant",
            Self::StoreTicket => "store-ticket",
            Self::Receipt => "receipt",
            Self::Advert => "advert",
            Self::LeaseRenewal => "lease-renewal",
            Self::LeaseRelease => "lease-release",
            Self::LogCertificate => "log-certificate",
            Self::Operation => "operation",
            Self::Head => "head",
            Self::GrantListing => "grant-listing",
            Self::Audit => "audit",
            Self::SegmentPin => "segment-pin",
            Self::Share => "share",
        }
    }
}

/// The bytes that are signed for `body`.
pub fn signed_bytes(context: Context, mesh: &MeshId, body: &[u8]) -> Vec<u8> {
    let label = context.label().as_bytes();
    let mut bytes = Vec::with_capacity(11 + label.len() + 1 + 32 + body.len());
    bytes.extend_from_slice(b"datamesh/1/");
    bytes.extend_from_slice(label);
    bytes.push(0);
    bytes.extend_from_slice(&mesh.0);
    bytes.extend_from_slice(body);
    bytes
}

/// A signature does not belong to the record, the key, the context or the mesh it was shown with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signature of the {record} is not valid")]
pub struct SignatureError {
    /// The kind of record.
    pub record: &'static str,
}

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Checks a signature strictly: one form of it only, no key and no nonce point of small order.
    ///
    /// # Errors
    /// [`SignatureError`] where the signature is not this key's over exactly these bytes.
    pub fn verify(
        &self,
        context: Context,
        mesh: &MeshId,
        body: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let signed = signed_bytes(context, mesh, body);
        #[cfg(feature = "simulation")]
        let holds = checked::once(self, &signed, signature, || self.holds(&signed, signature));
        #[cfg(not(feature = "simulation"))]
        let holds = self.holds(&signed, signature);
        if holds { Ok(()) } else { Err(SignatureError { record: context.label() }) }
    }

    fn holds(&self, signed: &[u8], signature: &Signature) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else { return false };
        key.verify_strict(signed, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}

impl From<NodeId> for PublicKey {
    fn from(node: NodeId) -> Self {
        Self(node.0)
    }
}

impl From<AccountId> for PublicKey {
    fn from(account: AccountId) -> Self {
        Self(account.0)
    }
}

impl Encode for PublicKey {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.0);
    }
}

impl Decode for PublicKey {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self(from.array()?))
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

impl Encode for Signature {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.0);
    }
}

impl Decode for Signature {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self(from.array()?))
    }
}
