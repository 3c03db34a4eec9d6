//! Shares: what lets somebody else read a file and its later versions.
//!
//! A share has a signing key of its own, and lies on the mesh as the [head](crate::head) of the log
//! [`SHARE_LOG`] in the slot of that key. What is sealed in it is a [`SealedShare`]: the newest version's
//! name, key and content, under a key that follows from a link's secret, or that is wrapped to a person's
//! key. It is published once more for every new version; a head that says that the log has ended revokes
//! it. A person's key lies in a slot too, as a [`Contact`]. Layout: `docs/specs/share.md`.

use bytes::Bytes;

use crate::catalog::{EncapsulationKey, WrappedKey};
use crate::epochs::WRAP_BYTES;
use crate::id::{FileId, LogId};
use crate::record;
use crate::seam::Timestamp;
use crate::signature::PublicKey;
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// The log id of a share's head.
pub const SHARE_LOG: LogId = LogId(*b"datamesh share  ");

/// The log id of a contact's head.
pub const CONTACT_LOG: LogId = LogId(*b"datamesh contact");

/// Most bytes of a share's ciphertext, its tag included: a manifest of 16 KiB, a certificate, a name, and
/// what pads them.
pub const SHARE_BODY_BYTES_MAX: usize = 32 * 1024;

/// How a password is stretched (Argon2id, RFC 9106): its costs and its salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Memory in KiB, at most 256 MiB: whoever opens a link must not be asked for the machine's memory by
    /// whoever made it.
    pub memory_kib: u32,
    /// Passes over it, at most 8.
    pub passes: u32,
    /// Lanes, at most 4.
    pub lanes: u32,
    /// Random.
    pub salt: [u8; 16],
}

impl Stretch {
    /// Most memory in KiB.
    pub const MEMORY_KIB_MAX: u32 = 256 * 1024;
    const PASSES_MAX: u32 = 8;
    const LANES_MAX: u32 = 4;
}

impl Encode for Stretch {
    fn encode(&self, out: &mut Writer) {
        out.u32(self.memory_kib).u32(self.passes).u32(self.lanes).raw(&self.salt);
    }
}

impl Decode for Stretch {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (memory_kib, passes, lanes) = (from.u32()?, from.u32()?, from.u32()?);
        // Argon2 needs eight blocks of 1 KiB for each lane.
        let bounded = (1..=Self::LANES_MAX).contains(&lanes)
            && (8 * lanes..=Self::MEMORY_KIB_MAX).contains(&memory_kib)
            && (1..=Self::PASSES_MAX).contains(&passes);
        if !bounded {
            return Err(WireError::Invalid { field: "password costs" });
        }
        Ok(Self { memory_kib, passes, lanes, salt: from.array()? })
    }
}

/// Who can open a share, as its head shows everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareLock {
    /// Whoever has the link.
    Link,
    /// Whoever has the link and knows the password.
    Password(Stretch),
    /// One person: the key of what is sealed, wrapped to that person's key.
    Person(Box<[u8; WRAP_BYTES]>),
}

/// What the head of a share holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedShare {
    /// A keyed hash of what is sealed, by which the sharer's devices know whether it is the newest. It says
    /// nothing to anybody else.
    pub mark: [u8; 16],
    /// Who can open it.
    pub lock: ShareLock,
    /// Random; the key of what is sealed follows from it, so that none is used twice.
    pub salt: [u8; 32],
    /// Ciphertext and tag, at most [`SHARE_BODY_BYTES_MAX`].
    pub sealed: Bytes,
}

impl SealedShare {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;

    /// Everything before the ciphertext, which is authenticated with it.
    pub fn header(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(Self::VERSION).raw(&self.mark);
        match &self.lock {
            ShareLock::Link => {
                out.u8(1);
            }
            ShareLock::Password(stretch) => {
                out.u8(2);
                stretch.encode(&mut out);
            }
            ShareLock::Person(wrapped) => {
                out.u8(3).raw(&**wrapped);
            }
        }
        out.raw(&self.salt);
        out.into_vec()
    }
}

impl Encode for SealedShare {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.header()).bytes(&self.sealed);
    }
}

impl Decode for SealedShare {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("share", Self::VERSION)?;
        let mark = from.array()?;
        let lock = match from.u8()? {
            1 => ShareLock::Link,
            2 => ShareLock::Password(Stretch::decode(from)?),
            3 => ShareLock::Person(Box::new(from.array()?)),
            _ => return Err(WireError::Invalid { field: "lock of a share" }),
        };
        let salt = from.array()?;
        let sealed = Bytes::copy_from_slice(from.bytes("sealed share", SHARE_BODY_BYTES_MAX)?);
        Ok(Self { mark, lock, salt, sealed })
    }
}

/// What the head of a contact holds: the key that shares for this person are wrapped to. Public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The key.
    pub key: EncapsulationKey,
}

impl Contact {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;
}

impl Encode for Contact {
    fn encode(&self, out: &mut Writer) {
        out.u8(Self::VERSION);
        self.key.encode(out);
    }
}

impl Decode for Contact {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("contact", Self::VERSION)?;
        Ok(Self { key: EncapsulationKey::decode(from)? })
    }
}

/// With whom a file is shared, as the sharer's catalog keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareWith {
    /// Whoever has the link, and knows the password where it has one.
    Link(Option<Stretch>),
    /// A person.
    Person {
        /// The contact's key, which names the person.
        contact: PublicKey,
        /// What to wrap to, as the contact's slot said it when the share was made. It stays what it was,
        /// whatever the slot says later.
        key: EncapsulationKey,
    },
}

/// A file is shared: its current version and, until the share ends, every later one. Follows the file
/// through renames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The share's public key, which is its id too.
    pub share: PublicKey,
    /// The file.
    pub file: FileId,
    /// When it was made, by the device's clock.
    pub created: Timestamp,
    /// When it ends by itself; 0 for never.
    pub expiry: Timestamp,
    /// With whom.
    pub with: ShareWith,
    /// The share's secrets, sealed under the catalog key of an epoch.
    pub secrets: WrappedKey,
}

impl Encode for Share {
    fn encode(&self, out: &mut Writer) {
        self.share.encode(out);
        self.file.encode(out);
        out.u64(self.created).u64(self.expiry);
        match &self.with {
            ShareWith::Link(None) => {
                out.u8(1);
            }
            ShareWith::Link(Some(stretch)) => {
                out.u8(2);
                stretch.encode(out);
            }
            ShareWith::Person { contact, key } => {
                out.u8(3);
                contact.encode(out);
                key.encode(out);
            }
        }
        self.secrets.encode(out);
    }
}

impl Decode for Share {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (share, file) = (PublicKey::decode(from)?, FileId::decode(from)?);
        let (created, expiry) = (from.u64()?, from.u64()?);
        let with = match from.u8()? {
            1 => ShareWith::Link(None),
            2 => ShareWith::Link(Some(Stretch::decode(from)?)),
            3 => ShareWith::Person {
                contact: PublicKey::decode(from)?,
                key: EncapsulationKey::decode(from)?,
            },
            _ => return Err(WireError::Invalid { field: "with whom a file is shared" }),
        };
        Ok(Self { share, file, created, expiry, with, secrets: WrappedKey::decode(from)? })
    }
}

record! {
    /// A share ends, for good.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Unshare {
        /// The share.
        pub share: PublicKey,
        /// When, by the device's clock.
        pub created: Timestamp,
    }
}
