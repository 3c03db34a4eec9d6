//! Admission of nodes: delegations of the authority's power and node certificates.
//!
//! A certificate signed by the authority or by a delegate of it is what *vetted* means; a peer
//! without one is never a member.

use crate::domain::Domain;
use crate::id::{MeshId, NodeId};
use crate::record;
use crate::seam::Timestamp;
use crate::signature::{Context, PublicKey, Signature, SignatureError};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// Longest operator name in bytes.
pub const OPERATOR_BYTES_MAX: usize = 64;

/// A certificate that does not admit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// A signature in the chain does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The record or its delegation has expired.
    #[error("the {record} expired at {expiry} ms")]
    Expired {
        /// Which record.
        record: &'static str,
        /// When.
        expiry: Timestamp,
    },
}

/// Refuses a record whose expiry, if it has one, has passed.
pub(crate) fn check_expiry(
    record: &'static str,
    expiry: Timestamp,
    now: Timestamp,
) -> Result<(), AdmissionError> {
    if expiry != 0 && expiry <= now {
        return Err(AdmissionError::Expired { record, expiry });
    }
    Ok(())
}

record! {
    /// The authority's statement that a key of a running service may sign certificates and grants.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Delegation {
        /// The delegate's key.
        pub delegate: PublicKey,
        /// Distinguishes delegations, so that one can be named.
        pub serial: u64,
        /// End of validity; 0 for none.
        pub expiry: Timestamp,
        /// The authority's signature over the fields above.
        pub signature: Signature,
    }
}

impl Delegation {
    /// The bytes that the authority signs.
    pub fn signed_part(delegate: &PublicKey, serial: u64, expiry: Timestamp) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&delegate.0).u64(serial).u64(expiry);
        out.into_vec()
    }

    /// Checks the authority's signature and the expiry.
    ///
    /// # Errors
    /// [`AdmissionError`] where the delegation gives no power now.
    pub fn verify(
        &self,
        authority: &PublicKey,
        mesh: &MeshId,
        now: Timestamp,
    ) -> Result<(), AdmissionError> {
        let body = Self::signed_part(&self.delegate, self.serial, self.expiry);
        authority.verify(Context::Delegation, mesh, &body, &self.signature)?;
        check_expiry("delegation", self.expiry, now)
    }
}

/// Who signed a certificate or grant: the authority itself or a delegate that shows its power.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issuer {
    /// The authority key of the genesis record.
    Authority,
    /// A delegate.
    Delegate(Delegation),
}

impl Issuer {
    /// The key whose signature counts, once the delegation, if any, is checked.
    ///
    /// # Errors
    /// [`AdmissionError`] where the delegation does not hold.
    pub fn key(
        &self,
        authority: &PublicKey,
        mesh: &MeshId,
        now: Timestamp,
    ) -> Result<PublicKey, AdmissionError> {
        match self {
            Self::Authority => Ok(*authority),
            Self::Delegate(delegation) => {
                delegation.verify(authority, mesh, now)?;
                Ok(delegation.delegate)
            }
        }
    }
}

impl Encode for Issuer {
    fn encode(&self, out: &mut Writer) {
        match self {
            Self::Authority => {
                out.u8(0);
            }
            Self::Delegate(delegation) => {
                out.u8(1);
                delegation.encode(out);
            }
        }
    }
}

impl Decode for Issuer {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match from.u8()? {
            0 => Ok(Self::Authority),
            1 => Ok(Self::Delegate(Delegation::decode(from)?)),
            _ => Err(WireError::Invalid { field: "issuer" }),
        }
    }
}

/// What a certificate says of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeClaim {
    /// The node.
    pub node: NodeId,
    /// The party answering for it, at most [`OPERATOR_BYTES_MAX`] bytes without control characters.
    pub operator: String,
    /// What it fails together with.
    pub domain: Domain,
    /// Most bytes that other members count on from it.
    pub capacity_cap: u64,
    /// Distinguishes certificates of one node; the higher one counts.
    pub serial: u64,
    /// End of validity; 0 for none.
    pub expiry: Timestamp,
}

impl Encode for NodeClaim {
    fn encode(&self, out: &mut Writer) {
        self.node.encode(out);
        out.text(&self.operator);
        self.domain.encode(out);
        out.u64(self.capacity_cap).u64(self.serial).u64(self.expiry);
    }
}

impl Decode for NodeClaim {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            node: NodeId::decode(from)?,
            operator: from.line("operator", OPERATOR_BYTES_MAX)?,
            domain: Domain::decode(from)?,
            capacity_cap: from.u64()?,
            serial: from.u64()?,
            expiry: from.u64()?,
        })
    }
}

/// A node's signed admission to a mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCertificate {
    /// What is certified.
    pub claim: NodeClaim,
    /// Who certifies it.
    pub issuer: Issuer,
    /// The issuer's signature over the claim.
    pub signature: Signature,
}

impl NodeCertificate {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;

    /// Checks the whole chain up to the authority.
    ///
    /// # Errors
    /// [`AdmissionError`] where the certificate does not admit its node now.
    pub fn verify(
        &self,
        authority: &PublicKey,
        mesh: &MeshId,
        now: Timestamp,
    ) -> Result<(), AdmissionError> {
        let key = self.issuer.key(authority, mesh, now)?;
        key.verify(Context::NodeCertificate, mesh, &self.claim.to_bytes(), &self.signature)?;
        check_expiry("node certificate", self.claim.expiry, now)
    }

    /// Checks whether a certificate whose signatures were verified before still admits its node.
    ///
    /// # Errors
    /// [`AdmissionError`] where it has expired, or its issuer's power has.
    pub fn check_times(&self, now: Timestamp) -> Result<(), AdmissionError> {
        if let Issuer::Delegate(delegation) = &self.issuer {
            check_expiry("delegation", delegation.expiry, now)?;
        }
        check_expiry("node certificate", self.claim.expiry, now)
    }
}

impl Encode for NodeCertificate {
    fn encode(&self, out: &mut Writer) {
        out.u8(Self::VERSION);
        self.claim.encode(out);
        self.issuer.encode(out);
        self.signature.encode(out);
    }
}

impl Decode for NodeCertificate {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("node certificate", Self::VERSION)?;
        Ok(Self {
            claim: NodeClaim::decode(from)?,
            issuer: Issuer::decode(from)?,
            signature: Signature::decode(from)?,
        })
    }
}
