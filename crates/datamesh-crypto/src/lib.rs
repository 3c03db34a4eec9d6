//! Everything that holds a secret.
//!
//! The account's 24 words and the key tree that grows from them ([`words`], [`tree`]), the
//! password-protected file that keeps a device's part of it ([`keystore`]), the sealing and opening
//! of file contents ([`compress`], [`frame`], [`content`], [`manifest`], [`object`]), the epochs of the
//! catalog ([`epochs`]), shares ([`share`]), streams under a password ([`age`]), and signing ([`signing`], [`authority`], [`account`]). Secrets wipe themselves
//! when they are dropped and are never printed.

pub mod account;
pub mod age;
pub mod authority;
mod blind;
pub mod compress;
pub mod content;
pub mod epochs;
pub mod frame;
pub mod keystore;
pub mod manifest;
pub mod object;
pub mod share;
pub mod signing;
pub mod tree;
pub mod words;
mod wrap;

pub use account::DeviceKeys;
pub use authority::IssuingKey;
pub use content::VersionKey;
pub use epochs::{NextEpoch, NextRecord, Standing};
pub use keystore::KeystoreError;
pub use manifest::{Manifest, Slice};
pub use object::ObjectKind;
pub use share::{Recipient, ShareBody, ShareError, ShareKeys, ShareLink};
pub use signing::SigningKey;
pub use words::Words;

/// 32 secret bytes that wipe themselves.
pub type Secret = zeroize::Zeroizing<[u8; 32]>;
