//! Version keys, and what is sealed under them: inline content and manifests.
//!
//! Each version has a key of its own, which stands in the catalog wrapped under the catalog key of
//! an epoch. Rotation and sharing wrap this key again and move no data. Sealed bytes are
//! `nonce (12, random) ‖ ciphertext ‖ tag (16)`.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use bytes::Bytes;
use datamesh_core::catalog::WrappedKey;
use datamesh_core::{Entropy, PublicKey, VersionId, seam};
use zeroize::Zeroizing;

use crate::Secret;
use crate::frame::{TAG_BYTES, cipher};

const NONCE_BYTES: usize = 12;
const CONTENT_LABEL: &[u8] = b"datamesh content v1";
const NOTE_LABEL: &[u8] = b"datamesh device note v1";
const EARLIER_LABEL: &[u8] = b"datamesh earlier epochs v1";
const WRAP_LABEL: &[u8] = b"datamesh version key v1";
const SHARE_LABEL: &[u8] = b"datamesh share secrets v1";

/// Sealed bytes that do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The bytes are damaged, belong elsewhere or are under another key.
    #[error("the {what} cannot be opened: it is damaged or under another key")]
    Open {
        /// What was to be opened.
        what: &'static str,
    },
    /// The wrap is of a kind or epoch that this device has no key for.
    #[error(
        "the version key is wrapped by suite {suite}, epoch {epoch}, which this device cannot open"
    )]
    Wrap {
        /// The wrap's suite.
        suite: u8,
        /// The catalog key's epoch.
        epoch: u32,
    },
    /// The catalog key of an epoch is not on this device.
    #[error("the {what} is sealed in epoch {epoch}, whose key this device does not have")]
    Epoch {
        /// What was to be opened.
        what: &'static str,
        /// The epoch.
        epoch: u32,
    },
    /// The cipher refused; nothing was sealed.
    #[error("sealing failed")]
    Seal,
}

fn seal(
    key: &LessSafeKey,
    entropy: &dyn Entropy,
    aad: &[u8],
    plain: &[u8],
) -> Result<Bytes, SealError> {
    let nonce: [u8; NONCE_BYTES] = seam::random(entropy);
    let mut sealed = Vec::with_capacity(NONCE_BYTES + plain.len() + TAG_BYTES);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            &mut sealed[NONCE_BYTES..],
        )
        .map_err(|_| SealError::Seal)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed.into())
}

fn open(
    key: &LessSafeKey,
    what: &'static str,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let wrong = SealError::Open { what };
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(wrong)?;
    let length = rest.len().checked_sub(TAG_BYTES).ok_or(wrong)?;
    let (body, tag) = rest.split_at(length);
    let mut plain = Zeroizing::new(vec![0; length]);
    key.open_separate_gather(
        Nonce::assume_unique_for_key(*nonce),
        Aad::from(aad),
        body,
        tag,
        &mut plain,
    )
    .map_err(|_| wrong)?;
    Ok(plain)
}

/// Seals a device's note to itself.
pub(crate) fn seal_note(
    key: &Secret,
    entropy: &dyn Entropy,
    note: &[u8],
) -> Result<Bytes, SealError> {
    seal(&cipher(key), entropy, NOTE_LABEL, note)
}

/// Opens a device's note to itself.
pub(crate) fn open_note(key: &Secret, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    open(&cipher(key), "note", NOTE_LABEL, sealed)
}

fn earlier_aad(epoch: u32) -> Vec<u8> {
    [EARLIER_LABEL, &epoch.to_le_bytes()].concat()
}

/// Seals the keys of earlier epochs under that of a later one.
pub(crate) fn seal_earlier(
    key: &Secret,
    epoch: u32,
    entropy: &dyn Entropy,
    keys: &[u8],
) -> Result<Bytes, SealError> {
    seal(&cipher(key), entropy, &earlier_aad(epoch), keys)
}

/// Opens the keys of earlier epochs.
pub(crate) fn open_earlier(
    key: &Secret,
    epoch: u32,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    open(&cipher(key), "list of earlier epochs", &earlier_aad(epoch), sealed)
}

fn labelled(label: &[u8], version: &VersionId, rest: &[u8]) -> Vec<u8> {
    [label, &version.0, rest].concat()
}

/// The key of one version of a file.
pub struct VersionKey {
    secret: Secret,
}

impl VersionKey {
    /// A fresh key.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self { secret: Secret::new(seam::random(entropy)) }
    }

    /// A key that was handed on.
    pub(crate) fn from_secret(secret: Secret) -> Self {
        Self { secret }
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Seals content of the form `tag` (see `Content::tag` in core) for `version`.
    ///
    /// # Errors
    /// [`SealError::Seal`] where the cipher refuses.
    pub fn seal(
        &self,
        entropy: &dyn Entropy,
        version: &VersionId,
        tag: u8,
        plain: &[u8],
    ) -> Result<Bytes, SealError> {
        seal(&cipher(&self.secret), entropy, &labelled(CONTENT_LABEL, version, &[tag]), plain)
    }

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// [`SealError::Open`] for anything else.
    pub fn open(
        &self,
        version: &VersionId,
        tag: u8,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        open(&cipher(&self.secret), "content", &labelled(CONTENT_LABEL, version, &[tag]), sealed)
    }
}

/// The catalog key of one epoch: wraps version keys.
pub struct CatalogKey {
    epoch: u32,
    secret: Secret,
}

impl CatalogKey {
    /// The key of an epoch, from the key tree.
    pub fn new(epoch: u32, secret: Secret) -> Self {
        Self { epoch, secret }
    }

    /// The epoch's number.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    fn aad(&self, version: &VersionId) -> Vec<u8> {
        let mut rest = vec![WrappedKey::SYMMETRIC];
        rest.extend_from_slice(&self.epoch.to_le_bytes());
        labelled(WRAP_LABEL, version, &rest)
    }

    /// Wraps a version key.
    ///
    /// # Errors
    /// [`SealError::Seal`] where the cipher refuses.
    pub fn wrap(
        &self,
        entropy: &dyn Entropy,
        version: &VersionId,
        key: &VersionKey,
    ) -> Result<WrappedKey, SealError> {
        let bytes = seal(&cipher(&self.secret), entropy, &self.aad(version), &*key.secret)?;
        Ok(WrappedKey { suite: WrappedKey::SYMMETRIC, epoch: self.epoch, bytes })
    }

    /// Unwraps a version key of this epoch.
    ///
    /// # Errors
    /// [`SealError::Wrap`] for other suites and epochs, [`SealError::Open`] for damage.
    pub fn unwrap_key(
        &self,
        version: &VersionId,
        wrapped: &WrappedKey,
    ) -> Result<VersionKey, SealError> {
        if wrapped.suite != WrappedKey::SYMMETRIC || wrapped.epoch != self.epoch {
            return Err(SealError::Wrap { suite: wrapped.suite, epoch: wrapped.epoch });
        }
        let what = "version key";
        let plain = open(&cipher(&self.secret), what, &self.aad(version), &wrapped.bytes)?;
        let bytes: [u8; 32] = plain.as_slice().try_into().map_err(|_| SealError::Open { what })?;
        Ok(VersionKey { secret: Secret::new(bytes) })
    }

    fn share_aad(&self, share: &PublicKey) -> Vec<u8> {
        let suite = WrappedKey::SYMMETRIC;
        [SHARE_LABEL, &share.0, &[suite], &self.epoch.to_le_bytes()].concat()
    }

    /// Seals the secrets of a share.
    pub(crate) fn seal_share_keys(
        &self,
        entropy: &dyn Entropy,
        share: &PublicKey,
        secrets: &[u8],
    ) -> Result<WrappedKey, SealError> {
        let bytes = seal(&cipher(&self.secret), entropy, &self.share_aad(share), secrets)?;
        Ok(WrappedKey { suite: WrappedKey::SYMMETRIC, epoch: self.epoch, bytes })
    }

    /// Opens the secrets of a share that were sealed in this epoch.
    pub(crate) fn open_share_keys(
        &self,
        share: &PublicKey,
        sealed: &WrappedKey,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if sealed.suite != WrappedKey::SYMMETRIC || sealed.epoch != self.epoch {
            return Err(SealError::Wrap { suite: sealed.suite, epoch: sealed.epoch });
        }
        open(&cipher(&self.secret), "secrets of a share", &self.share_aad(share), &sealed.bytes)
    }
}
