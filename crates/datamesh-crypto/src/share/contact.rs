//! A contact: what an account hands out so that others can share with it.
//!
//! An account has one in each mesh. Its signing key and its X-Wing key follow from the account's
//! `encapsulation` branch and the mesh, so that all devices have them, and contacts of one account in two
//! meshes cannot be told to be the same. The public X-Wing key lies in the slot of the contact's key; what
//! people hand to each other is the text of the latter.

use std::fmt;
use std::str::FromStr;

use datamesh_core::catalog::EncapsulationKey;
use datamesh_core::head::Head;
use datamesh_core::share::{CONTACT_LOG, Contact};
use datamesh_core::wire::{self, Encode};
use datamesh_core::{Context, Hash, MeshId, PublicKey, Signature, Signer};

use crate::account::DeviceKeys;
use crate::content::SealError;
use crate::signing::SigningKey;
use crate::tree;
use crate::wrap::UnwrappingKey;

const SIGNER_SALT: &[u8] = b"datamesh contact v1";
const KEY_SALT: &[u8] = b"datamesh contact encapsulation v1";

/// Begins every contact's text, so that people and programs recognise one.
const PREFIX: &str = "datamesh-contact-";

/// BLAKE3 derive-key context of the checksum.
const CHECKSUM_CONTEXT: &str = "datamesh 2026 contact checksum v1";

/// Longest text in characters.
const TEXT_BYTES_MAX: usize = 256;

/// The first bytes of the mesh's id, so that a contact of another mesh is noticed before anybody is asked.
const MESH_BYTES: usize = 4;

/// Version of the text.
const VERSION: u8 = 1;

/// Text that is not a contact's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// It does not begin as one does.
    #[error("the key of a person begins with \"{PREFIX}\"")]
    Prefix,
    /// Characters are missing, changed or added.
    #[error("the key of the person is damaged: copy the whole line again")]
    Damaged,
    /// It was made by a later program.
    #[error("the key of the person is of a version that this program does not know")]
    Version,
}

/// A person to share with, as text is handed around: `datamesh-contact-…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient {
    mesh: [u8; MESH_BYTES],
    contact: PublicKey,
}

impl Recipient {
    /// A contact of a mesh.
    pub fn new(mesh: &MeshId, contact: PublicKey) -> Self {
        let mut first = [0; MESH_BYTES];
        first.copy_from_slice(&mesh.0[..MESH_BYTES]);
        Self { mesh: first, contact }
    }

    /// The contact's key.
    pub fn contact(&self) -> PublicKey {
        self.contact
    }

    /// Whether it may be a contact of this mesh.
    pub fn is_of(&self, mesh: &MeshId) -> bool {
        mesh.0.starts_with(&self.mesh)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [&[VERSION][..], &self.mesh, &self.contact.0].concat();
        let checksum = Hash::derive(CHECKSUM_CONTEXT, &bytes);
        bytes.extend_from_slice(&checksum.0[..4]);
        write!(f, "{PREFIX}{}", bs58::encode(bytes).into_string())
    }
}

impl FromStr for Recipient {
    type Err = RecipientError;
    fn from_str(text: &str) -> Result<Self, RecipientError> {
        let damaged = RecipientError::Damaged;
        let body = text.trim().strip_prefix(PREFIX).ok_or(RecipientError::Prefix)?;
        if body.len() > TEXT_BYTES_MAX {
            return Err(damaged);
        }
        let bytes = bs58::decode(body).into_vec().map_err(|_| damaged)?;
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(damaged)?;
        if Hash::derive(CHECKSUM_CONTEXT, content).0[..4] != checksum[..] {
            return Err(damaged);
        }
        let (version, rest) = content.split_first().ok_or(damaged)?;
        if *version != VERSION {
            return Err(RecipientError::Version);
        }
        let (mesh, contact) = rest.split_first_chunk::<MESH_BYTES>().ok_or(damaged)?;
        let contact = PublicKey(contact.try_into().map_err(|_| damaged)?);
        Ok(Self { mesh: *mesh, contact })
    }
}

/// The key that a contact's slot says to wrap to. Signature and account of the head must have been checked.
///
/// # Errors
/// [`SealError::Open`] where it is no contact's slot.
pub fn contact_key(head: &Head) -> Result<EncapsulationKey, SealError> {
    let wrong = SealError::Open { what: "key of the person" };
    if head.log != CONTACT_LOG {
        return Err(wrong);
    }
    wire::decode::<Contact>(&head.sealed).map(|contact| contact.key).map_err(|_| wrong)
}

impl DeviceKeys {
    fn contact_signer(&self, mesh: &MeshId) -> SigningKey {
        let secret = tree::derive(SIGNER_SALT, &**self.encapsulation(), &[&mesh.0]);
        SigningKey::from_secret(&secret)
    }

    pub(super) fn contact_unwrapping(&self, mesh: &MeshId) -> UnwrappingKey {
        UnwrappingKey::from_seed(&tree::derive(KEY_SALT, &**self.encapsulation(), &[&mesh.0]))
    }

    /// The account's contact in a mesh.
    pub fn contact(&self, mesh: &MeshId) -> PublicKey {
        self.contact_signer(mesh).public_key()
    }

    /// The head of the contact's slot: all devices of the account make the same.
    pub fn contact_head(&self, mesh: &MeshId) -> Head {
        let signer = self.contact_signer(mesh);
        let contact = Contact { key: self.contact_unwrapping(mesh).public() };
        let head = Head {
            account: signer.public_key(),
            log: CONTACT_LOG,
            revision: 1,
            expiry: 0,
            ended: false,
            sealed: contact.to_bytes().into(),
            signature: Signature([0; 64]),
        };
        let signature = signer.sign(Context::Head, mesh, &head.signed());
        Head { signature, ..head }
    }
}
