//! The keys of a share: what is sealed in its head, for whom, and who signed it.
//!
//! The body of a share is sealed under a key that is used once: it follows from a secret and from salt
//! that is drawn for each publication. For a link the secret follows from what stands in the link, and
//! from the password where there is one. For a person it is drawn, wrapped to the person's key by HPKE, and
//! the sharer's signature lies inside, so that the person learns whose share it is and nodes do not.
//! Everything is bound to mesh, share and revision. Layout: `docs/specs/share.md`.

mod body;
mod contact;
mod link;

use aws_lc_rs::aead::{Aad, Nonce};
use bytes::Bytes;
use datamesh_core::catalog::WrappedKey;
use datamesh_core::head::Head;
use datamesh_core::padding::padme;
use datamesh_core::share::{
    SHARE_BODY_BYTES_MAX, SHARE_LOG, SealedShare, ShareLock, ShareWith, Stretch,
};
use datamesh_core::wire::{self, Encode, Reader, Writer};
use datamesh_core::{
    Context, Entropy, Hash, MeshId, PublicKey, Signature, Signer, Timestamp, seam,
};
use zeroize::Zeroizing;

use crate::Secret;
use crate::account::DeviceKeys;
use crate::content::SealError;
use crate::frame::{TAG_BYTES, cipher};
use crate::keystore::{self, PASSWORD_BYTES_MIN};
use crate::signing::SigningKey;
use crate::tree;
use crate::wrap;

pub use body::{ShareBody, Sharer};
pub use contact::{Recipient, RecipientError, contact_key};
pub use link::{LinkError, ShareLink};

const ROOT_SALT: &[u8] = b"datamesh share root v1";
const BODY_SALT: &[u8] = b"datamesh share key v1";
const MARK_SALT: &[u8] = b"datamesh share mark v1";
const BODY_LABEL: &[u8] = b"datamesh share body v1";
const PURPOSE: &[u8] = b"datamesh share wrap v1";
const MARK_CONTEXT: &str = "datamesh 2026 share mark v1";

/// Why a share does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// It has a password and none was given.
    #[error("the share has a password")]
    PasswordMissing,
    /// The password is wrong, or the share was changed: the two cannot be told apart.
    #[error("wrong password, or the share is damaged")]
    Password,
    /// The password is too short to protect anything.
    #[error("a password needs at least {PASSWORD_BYTES_MIN} bytes")]
    PasswordShort,
    /// It is for a person, and not for this one.
    #[error("the share is for somebody else, or it is damaged")]
    Person,
    /// It opens by a link, and there is only a code without a secret.
    #[error("the share opens with its whole link only, what follows the # included")]
    Link,
    /// What is sealed is damaged or was sealed for another share.
    #[error("the share is damaged")]
    Damaged,
    /// The signature in it is not that of the account that it names.
    #[error("the share is not signed by the account that it names")]
    Sharer,
    /// The machine lacks the memory for the password, or the cipher refused.
    #[error("the share cannot be sealed or opened on this machine")]
    Cipher,
}

/// What a link's body key follows from.
fn root(secret: &Secret, share: &PublicKey, stretched: Option<&Secret>) -> Secret {
    let (has, stretched) = match stretched {
        Some(stretched) => (1u8, &stretched[..]),
        None => (0, &[][..]),
    };
    tree::derive(ROOT_SALT, &**secret, &[&share.0, &[has], stretched])
}

/// Stretches a password. Takes about 0.2 s and 64 MiB on purpose, more where the costs say so: call it
/// away from the tasks.
fn stretched(password: &str, stretch: &Stretch) -> Result<Secret, ShareError> {
    let Stretch { memory_kib, passes, lanes, salt } = *stretch;
    let costs = keystore::Costs { memory_kib, passes, lanes };
    costs.derive(password.as_bytes(), &salt).map_err(|_| ShareError::Cipher)
}

fn body_key(secret: &Secret, share: &PublicKey, salt: &[u8; 32]) -> Secret {
    tree::derive(BODY_SALT, &**secret, &[&share.0, salt])
}

fn body_aad(mesh: &MeshId, share: &PublicKey, revision: u64, header: &[u8]) -> Vec<u8> {
    [BODY_LABEL, &mesh.0, &share.0, &revision.to_le_bytes(), header].concat()
}

/// What the secret of a person's share is wrapped with, so that it opens as this alone.
fn wrap_context(mesh: &MeshId, share: &PublicKey, revision: u64) -> Vec<u8> {
    [&mesh.0[..], &share.0, &revision.to_le_bytes()].concat()
}

/// What opens a share, beside its slot.
enum Opens {
    /// The link's secret, to show the link again, and what the body key follows from.
    Link { secret: Secret, root: Secret },
    /// Drawn for each publication.
    Person,
}

/// The secrets of a share: the key that signs its heads, and for a link what opens them.
pub struct ShareKeys {
    signer: SigningKey,
    opens: Opens,
}

impl std::fmt::Debug for ShareKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShareKeys of {:?}", self.share())
    }
}

impl ShareKeys {
    /// Version of the encoding inside the catalog.
    const VERSION: u8 = 1;

    /// A fresh share for a person.
    pub fn draw_for_person(entropy: &dyn Entropy) -> Self {
        Self { signer: SigningKey::draw(entropy), opens: Opens::Person }
    }

    /// A fresh share with a link, and how its password is to be stretched where it has one. Blocks for
    /// some 0.2 s with a password.
    ///
    /// # Errors
    /// [`ShareError::PasswordShort`]; [`ShareError::Cipher`] where the machine lacks the memory.
    pub fn draw_for_link(
        entropy: &dyn Entropy,
        password: Option<&str>,
    ) -> Result<(Self, Option<Stretch>), ShareError> {
        if password.is_some_and(|password| password.len() < PASSWORD_BYTES_MIN) {
            return Err(ShareError::PasswordShort);
        }
        let signer = SigningKey::draw(entropy);
        let secret = Secret::new(seam::random(entropy));
        let keystore::Costs { memory_kib, passes, lanes } = keystore::COSTS;
        let stretch =
            password.map(|_| Stretch { memory_kib, passes, lanes, salt: seam::random(entropy) });
        let stretched = match password.zip(stretch.as_ref()) {
            Some((password, stretch)) => Some(stretched(password, stretch)?),
            None => None,
        };
        let root = root(&secret, &signer.public_key(), stretched.as_ref());
        Ok((Self { signer, opens: Opens::Link { secret, root } }, stretch))
    }

    /// The share's public key.
    pub fn share(&self) -> PublicKey {
        self.signer.public_key()
    }

    /// The secret of its link; nothing for a person's.
    pub fn link_secret(&self) -> Option<Secret> {
        match &self.opens {
            Opens::Link { secret, .. } => Some(secret.clone()),
            Opens::Person => None,
        }
    }

    /// What tells whether a body is the one that was published: all devices of the account come to the
    /// same, and nobody else to any.
    pub fn mark(&self, body: &ShareBody) -> [u8; 16] {
        let plain = body.unsigned_bytes();
        let hash = Hash::derive(MARK_CONTEXT, &plain);
        let key = tree::derive(MARK_SALT, &*self.signer.secret(), &[&hash.0]);
        let mut mark = [0; 16];
        mark.copy_from_slice(&key[..16]);
        mark
    }

    /// Seals a body and signs it as the head of this share's slot.
    ///
    /// # Errors
    /// [`ShareError::Cipher`] where the cipher refuses, the body is too long, or `with` is not what the
    /// share was drawn for.
    pub fn seal(
        &self,
        entropy: &dyn Entropy,
        mesh: &MeshId,
        (revision, expiry): (u64, Timestamp),
        with: &ShareWith,
        body: &ShareBody,
    ) -> Result<Head, ShareError> {
        let (share, salt) = (self.share(), seam::random(entropy));
        let (lock, secret) = match (with, &self.opens) {
            (ShareWith::Link(None), Opens::Link { root, .. }) => (ShareLock::Link, root.clone()),
            (ShareWith::Link(Some(stretch)), Opens::Link { root, .. }) => {
                (ShareLock::Password(*stretch), root.clone())
            }
            (ShareWith::Person { key, .. }, Opens::Person) => {
                let secret = Secret::new(seam::random(entropy));
                let context = wrap_context(mesh, &share, revision);
                let wrapped = wrap::wrap(key, entropy, PURPOSE, &context, &secret);
                (ShareLock::Person(wrapped.map_err(|_| ShareError::Cipher)?), secret)
            }
            _ => return Err(ShareError::Cipher),
        };
        let mut sealed =
            SealedShare { mark: self.mark(body), lock, salt, sealed: Bytes::default() };
        let plain = Zeroizing::new(body.to_bytes());
        let length = u32::try_from(plain.len()).map_err(|_| ShareError::Cipher)?;
        let padded_length = padme(u64::from(length) + 4) as usize;
        // The whole room from the start, so that no half-grown copy is left in memory.
        let mut padded = Zeroizing::new(Vec::with_capacity(padded_length));
        padded.extend_from_slice(&length.to_le_bytes());
        padded.extend_from_slice(&plain);
        padded.resize(padded_length, 0);
        let tag = cipher(&body_key(&secret, &share, &salt))
            .seal_in_place_separate_tag(
                // The key is used once: its salt was drawn just now.
                Nonce::assume_unique_for_key([0; 12]),
                Aad::from(body_aad(mesh, &share, revision, &sealed.header())),
                &mut padded,
            )
            .map_err(|_| ShareError::Cipher)?;
        sealed.sealed = [&padded[..], tag.as_ref()].concat().into();
        if sealed.sealed.len() > SHARE_BODY_BYTES_MAX {
            return Err(ShareError::Cipher);
        }
        Ok(self.signed(mesh, revision, expiry, Some(sealed.to_bytes().into())))
    }

    /// The head that says that the share was revoked.
    pub fn end(&self, mesh: &MeshId, revision: u64) -> Head {
        self.signed(mesh, revision, 0, None)
    }

    fn signed(
        &self,
        mesh: &MeshId,
        revision: u64,
        expiry: Timestamp,
        sealed: Option<Bytes>,
    ) -> Head {
        let (ended, sealed) = (sealed.is_none(), sealed.unwrap_or_default());
        let (account, signature) = (self.share(), Signature([0; 64]));
        let head = Head { account, log: SHARE_LOG, revision, expiry, ended, sealed, signature };
        let signature = self.signer.sign(Context::Head, mesh, &head.signed());
        Head { signature, ..head }
    }

    fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Writer::new();
        out.u8(Self::VERSION).raw(&*self.signer.secret());
        match &self.opens {
            Opens::Link { secret, root } => out.u8(1).raw(&**secret).raw(&**root),
            Opens::Person => out.u8(2),
        };
        Zeroizing::new(out.into_vec())
    }

    fn from_secret_bytes(bytes: &[u8]) -> Result<Self, wire::WireError> {
        let mut from = Reader::new(bytes);
        from.version("share keys", Self::VERSION)?;
        let signer = SigningKey::from_secret(&Secret::new(from.array()?));
        let opens = match from.u8()? {
            1 => {
                Opens::Link { secret: Secret::new(from.array()?), root: Secret::new(from.array()?) }
            }
            2 => Opens::Person,
            _ => return Err(wire::WireError::Invalid { field: "share keys" }),
        };
        from.finish()?;
        Ok(Self { signer, opens })
    }
}

fn open(
    secret: &Secret,
    (mesh, share, revision): (&MeshId, &PublicKey, u64),
    sealed: &SealedShare,
) -> Result<ShareBody, ShareError> {
    let wrong = ShareError::Damaged;
    let length = sealed.sealed.len().checked_sub(TAG_BYTES).ok_or(wrong)?;
    let (body, tag) = sealed.sealed.split_at(length);
    let mut plain = Zeroizing::new(vec![0; length]);
    cipher(&body_key(secret, share, &sealed.salt))
        .open_separate_gather(
            Nonce::assume_unique_for_key([0; 12]),
            Aad::from(body_aad(mesh, share, revision, &sealed.header())),
            body,
            tag,
            &mut plain,
        )
        .map_err(|_| wrong)?;
    let mut from = Reader::new(&plain);
    let body = from.bytes("share", length).map_err(|_| wrong)?;
    wire::decode(body).map_err(|_| wrong)
}

/// Opens a share by the secret of its link. Blocks where it has a password; its costs are bounded.
/// Signature and account of the head that it comes from must have been checked.
///
/// # Errors
/// [`ShareError`] says why it does not open.
pub fn open_by_link(
    secret: &Secret,
    password: Option<&str>,
    (mesh, share, revision): (&MeshId, &PublicKey, u64),
    sealed: &SealedShare,
) -> Result<ShareBody, ShareError> {
    let root = match &sealed.lock {
        ShareLock::Link => root(secret, share, None),
        ShareLock::Password(stretch) => {
            let password = password.ok_or(ShareError::PasswordMissing)?;
            root(secret, share, Some(&stretched(password, stretch)?))
        }
        ShareLock::Person(_) => return Err(ShareError::Person),
    };
    let has_password = matches!(sealed.lock, ShareLock::Password(_));
    open(&root, (mesh, share, revision), sealed).map_err(|error| match error {
        ShareError::Damaged if has_password => ShareError::Password,
        error => error,
    })
}

impl DeviceKeys {
    /// Opens a share for this account, and checks who made it. Signature and account of the head that it
    /// comes from must have been checked.
    ///
    /// # Errors
    /// [`ShareError::Person`] where it is for somebody else, [`ShareError::Sharer`] where it is not signed
    /// by the account that it names.
    pub fn open_share(
        &self,
        (mesh, share, revision): (&MeshId, &PublicKey, u64),
        sealed: &SealedShare,
    ) -> Result<ShareBody, ShareError> {
        let ShareLock::Person(wrapped) = &sealed.lock else { return Err(ShareError::Link) };
        let context = wrap_context(mesh, share, revision);
        let secret = self.contact_unwrapping(mesh).unwrap_key(PURPOSE, &context, wrapped);
        let body = open(&secret.map_err(|_| ShareError::Person)?, (mesh, share, revision), sealed)?;
        let sharer = body.sharer.as_ref().ok_or(ShareError::Sharer)?;
        sharer.verify(mesh, share, &self.contact(mesh))?;
        Ok(body)
    }

    /// What tells the person a file is shared with which account shares it.
    pub fn sharer(&self, mesh: &MeshId, share: &PublicKey, contact: &PublicKey) -> Sharer {
        let statement = Sharer::signed_part(share, contact);
        Sharer {
            certificate: self.log_certificate().clone(),
            signature: self.sign_by_log(Context::Share, mesh, &statement),
        }
    }

    /// Seals the secrets of a share for the catalog, under the newest epoch's key.
    ///
    /// # Errors
    /// [`SealError::Seal`] where the cipher refuses.
    pub fn seal_share_keys(
        &self,
        entropy: &dyn Entropy,
        keys: &ShareKeys,
    ) -> Result<WrappedKey, SealError> {
        self.newest()?.seal_share_keys(entropy, &keys.share(), &keys.to_secret_bytes())
    }

    /// Opens what [`seal_share_keys`](Self::seal_share_keys) made for this share, in whichever epoch.
    ///
    /// # Errors
    /// [`SealError`] where there is no key for it or it is damaged.
    pub fn open_share_keys(
        &self,
        share: &PublicKey,
        sealed: &WrappedKey,
    ) -> Result<ShareKeys, SealError> {
        let none = SealError::Wrap { suite: sealed.suite, epoch: sealed.epoch };
        let keys = self.catalog_keys();
        let key = keys.iter().find(|key| key.epoch() == sealed.epoch).ok_or(none)?;
        let wrong = SealError::Open { what: "secrets of a share" };
        let plain = key.open_share_keys(share, sealed)?;
        let keys = ShareKeys::from_secret_bytes(&plain).map_err(|_| wrong)?;
        if keys.share() == *share { Ok(keys) } else { Err(wrong) }
    }
}
