//! A node's signed statement about itself, spread through the mesh.

use crate::certificate::NodeCertificate;
use crate::id::{MeshId, NodeId};
use crate::seam::Timestamp;
use crate::signature::{Context, Signature, SignatureError};
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// Most addresses in an advert.
pub const ADDRESSES_MAX: usize = 8;

/// Longest address in bytes.
pub const ADDRESS_BYTES_MAX: usize = 256;

/// Most bytes of the program's version.
const RELEASE_BYTES_MAX: usize = 32;

/// What a node says of itself. The certificate that travels with it says what others vouch for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    /// The node's admission.
    pub certificate: NodeCertificate,
    /// Where it listens: multiaddrs as text.
    pub addresses: Vec<String>,
    /// Bytes it offers for shards.
    pub capacity: u64,
    /// How much of that is free, in sixteenths: coarse, so that an advert says little and changes
    /// seldom. 0 means that it takes no more.
    pub free_class: u8,
    /// The node is leaving and takes nothing new.
    pub draining: bool,
    /// Version of its program.
    pub release: String,
    /// The newest advert of a node has the highest.
    pub sequence: u64,
    /// When the advert ends unless a newer one comes.
    pub expiry: Timestamp,
    /// The node's signature over everything above but the certificate.
    pub signature: Signature,
}

impl Advert {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;

    /// The node.
    pub fn node(&self) -> NodeId {
        self.certificate.claim.node
    }

    /// Bytes that placement counts on: what the node offers, within what its certificate allows.
    pub fn counted_capacity(&self) -> u64 {
        self.capacity.min(self.certificate.claim.capacity_cap)
    }

    /// The bytes that the node signs.
    pub fn signed_part(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(Self::VERSION);
        self.node().encode(&mut out);
        out.texts(&self.addresses);
        out.u64(self.capacity).u8(self.free_class).flag(self.draining).text(&self.release);
        out.u64(self.sequence).u64(self.expiry);
        out.into_vec()
    }

    /// Checks the node's signature. The certificate is checked by itself.
    ///
    /// # Errors
    /// [`SignatureError`] where the node did not sign this in this mesh.
    pub fn verify(&self, mesh: &MeshId) -> Result<(), SignatureError> {
        crate::PublicKey::from(self.node()).verify(
            Context::Advert,
            mesh,
            &self.signed_part(),
            &self.signature,
        )
    }
}

impl Encode for Advert {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.signed_part());
        self.certificate.encode(out);
        self.signature.encode(out);
    }
}

impl Decode for Advert {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("advert", Self::VERSION)?;
        let node = NodeId::decode(from)?;
        let addresses = from.lines("addresses", ADDRESSES_MAX, ADDRESS_BYTES_MAX)?;
        let (capacity, free_class) = (from.u64()?, from.u8()?);
        let draining = from.flag("draining")?;
        let release = from.line("release", RELEASE_BYTES_MAX)?;
        let (sequence, expiry) = (from.u64()?, from.u64()?);
        let certificate = NodeCertificate::decode(from)?;
        if certificate.claim.node != node {
            return Err(WireError::Invalid { field: "advert certificate" });
        }
        let signature = Signature::decode(from)?;
        Ok(Self {
            certificate,
            addresses,
            capacity,
            free_class,
            draining,
            release,
            sequence,
            expiry,
            signature,
        })
    }
}
