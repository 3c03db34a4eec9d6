//! The keystore: a device's keys under a password.
//!
//! Layout (`docs/specs/keystore.md`): `"DMKS"`, version, KDF, its three costs, salt, nonce, then the
//! sealed keys. The header is authenticated, so costs cannot be lowered unnoticed, and bounded
//! before anything is allocated, so a damaged file cannot ask for the machine's memory.
//!
//! Opening takes about 0.2 s and 64 MiB on purpose; call it away from the tasks.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{Aad, Nonce};
use datamesh_core::wire::{Reader, WireError, Writer};
use datamesh_core::{Entropy, seam};
use zeroize::Zeroizing;

use crate::Secret;
use crate::account::DeviceKeys;
use crate::frame::{TAG_BYTES, cipher};

const MAGIC: [u8; 4] = *b"DMKS";
const VERSION: u8 = 1;
const KDF_ARGON2ID: u8 = 1;

/// Largest keystore in bytes.
pub const KEYSTORE_BYTES_MAX: usize = 64 * 1024;

/// Shortest password in bytes.
pub const PASSWORD_BYTES_MIN: usize = 8;

/// Costs of a fresh keystore: 64 MiB, three passes, one lane (RFC 9106's second choice, with one
/// lane because the library uses one core).
pub const COSTS: Costs = Costs { memory_kib: 64 * 1024, passes: 3, lanes: 1 };

/// Why a keystore does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeystoreError {
    /// The password is wrong, or the file was changed: the two cannot be told apart.
    #[error("wrong password, or the keystore is damaged")]
    Password,
    /// The file is not a keystore.
    #[error("the file is not a DataMesh keystore")]
    Format,
    /// The file ends too early or holds values that no keystore has.
    #[error("the keystore is damaged: {0}")]
    Damaged(WireError),
    /// The password is too short.
    #[error("a password needs at least {PASSWORD_BYTES_MIN} bytes")]
    PasswordShort,
    /// The key derivation or the cipher refused.
    #[error("the keystore cannot be made: {0}")]
    Cipher(String),
}

/// What stretching a password costs (Argon2id, RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// The costs that a keystore file names. Nothing is opened.
///
/// # Errors
/// [`KeystoreError::Format`] for another kind of file, [`KeystoreError::Damaged`] for costs out of
/// bounds.
pub fn costs(file: &[u8]) -> Result<Costs, KeystoreError> {
    let mut from = Reader::new(file);
    if file.len() > KEYSTORE_BYTES_MAX || from.array::<4>() != Ok(MAGIC) {
        return Err(KeystoreError::Format);
    }
    Ok(read_header(&mut from).map_err(KeystoreError::Damaged)?.0)
}

impl Costs {
    /// Most memory that a keystore may ask for: 1 GiB.
    const MEMORY_KIB_MAX: u32 = 1024 * 1024;
    const PASSES_MAX: u32 = 16;
    const LANES_MAX: u32 = 4;

    pub(crate) fn derive(self, password: &[u8], salt: &[u8; 16]) -> Result<Secret, KeystoreError> {
        let cipher = |error: argon2::Error| KeystoreError::Cipher(error.to_string());
        let params =
            Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(cipher)?;
        let mut key = Secret::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, salt, &mut *key)
            .map_err(cipher)?;
        Ok(key)
    }
}

fn header(costs: Costs, salt: &[u8; 16], nonce: &[u8; 12]) -> Vec<u8> {
    let mut out = Writer::new();
    out.raw(&MAGIC).u8(VERSION).u8(KDF_ARGON2ID);
    out.u32(costs.memory_kib).u32(costs.passes).u32(costs.lanes).raw(salt).raw(nonce);
    out.into_vec()
}

/// Seals a device's keys under a password.
///
/// # Errors
/// [`KeystoreError::PasswordShort`]; [`KeystoreError::Cipher`] where the machine lacks the memory.
pub fn seal(
    keys: &DeviceKeys,
    password: &str,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, KeystoreError> {
    if password.len() < PASSWORD_BYTES_MIN {
        return Err(KeystoreError::PasswordShort);
    }
    let (salt, nonce) = (seam::random(entropy), seam::random(entropy));
    let header = header(COSTS, &salt, &nonce);
    let key = COSTS.derive(password.as_bytes(), &salt)?;
    let mut sealed = keys.to_secret_bytes();
    let tag = cipher(&key)
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&header),
            &mut sealed,
        )
        .map_err(|_| KeystoreError::Cipher("the cipher refused".into()))?;
    let mut file = header;
    file.extend_from_slice(&sealed);
    file.extend_from_slice(tag.as_ref());
    Ok(file)
}

/// Opens a keystore.
///
/// # Errors
/// [`KeystoreError`] says whether the file is no keystore, is damaged, or does not open.
pub fn open(file: &[u8], password: &str) -> Result<DeviceKeys, KeystoreError> {
    let mut from = Reader::new(file);
    if file.len() > KEYSTORE_BYTES_MAX || from.array::<4>() != Ok(MAGIC) {
        return Err(KeystoreError::Format);
    }
    let (costs, salt, nonce) = read_header(&mut from).map_err(KeystoreError::Damaged)?;
    let header = header(costs, &salt, &nonce);
    let body = &file[header.len()..];
    let Some(length) = body.len().checked_sub(TAG_BYTES) else {
        return Err(KeystoreError::Damaged(WireError::Short { have: body.len(), need: TAG_BYTES }));
    };
    let (sealed, tag) = body.split_at(length);
    let key = costs.derive(password.as_bytes(), &salt)?;
    let mut plain = Zeroizing::new(vec![0; length]);
    cipher(&key)
        .open_separate_gather(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&header),
            sealed,
            tag,
            &mut plain,
        )
        .map_err(|_| KeystoreError::Password)?;
    DeviceKeys::from_secret_bytes(&plain).map_err(KeystoreError::Damaged)
}

/// Checks what can be checked of a keystore without its password: that it is one, and that its costs
/// are within bounds.
///
/// # Errors
/// [`KeystoreError::Format`] and [`KeystoreError::Damaged`].
pub fn check(file: &[u8]) -> Result<(), KeystoreError> {
    costs(file).map(drop)
}

fn read_header(from: &mut Reader<'_>) -> Result<(Costs, [u8; 16], [u8; 12]), WireError> {
    from.version("keystore", VERSION)?;
    if from.u8()? != KDF_ARGON2ID {
        return Err(WireError::Invalid { field: "key derivation" });
    }
    let costs = Costs { memory_kib: from.u32()?, passes: from.u32()?, lanes: from.u32()? };
    let bounded = (8..=Costs::MEMORY_KIB_MAX).contains(&costs.memory_kib)
        && (1..=Costs::PASSES_MAX).contains(&costs.passes)
        && (1..=Costs::LANES_MAX).contains(&costs.lanes);
    if !bounded {
        return Err(WireError::Invalid { field: "key derivation costs" });
    }
    Ok((costs, from.array()?, from.array()?))
}
