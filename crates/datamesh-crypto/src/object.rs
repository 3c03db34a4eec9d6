//! Sealed objects of the catalog: heads, pages of operations, indexes of pages.
//!
//! `version (1) ‖ epoch (4) ‖ salt (32, random) ‖ ciphertext ‖ tag (16)`. The key is HKDF of the
//! epoch's catalog key and the salt, so every object has a key of its own and the nonce is zero. What
//! is sealed is the content behind its length, filled with zeros to a Padmé length.

use std::borrow::Borrow;

use aws_lc_rs::aead::{Aad, Nonce};
use datamesh_core::padding::padme;
use datamesh_core::wire::{Reader, Writer};
use datamesh_core::{Entropy, LogId, seam};
use zeroize::Zeroizing;

use crate::Secret;
use crate::content::{CatalogKey, SealError};
use crate::frame::{TAG_BYTES, cipher};
use crate::tree;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 4 + 32;
const OBJECT_SALT: &[u8] = b"datamesh catalog object v1";

/// What an object is. The number is part of the authenticated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ObjectKind {
    /// The body of a head; its number is the head's revision.
    Head = 1,
    /// A page; its number is the sequence of its first operation.
    Page = 2,
    /// An index of pages; its number is the sequence of the last operation that it leads to.
    Index = 3,
    /// The epochs record; its number is the epoch.
    Epochs = 4,
}

impl ObjectKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Head => "head of a log",
            Self::Page => "page of a log",
            Self::Index => "index of a log",
            Self::Epochs => "epochs record",
        }
    }
}

fn key_of(catalog: &Secret, salt: &[u8; 32]) -> Secret {
    tree::derive(OBJECT_SALT, &**catalog, &[salt])
}

fn header(epoch: u32, salt: &[u8; 32]) -> Vec<u8> {
    let mut out = Writer::new();
    out.u8(VERSION).u32(epoch).raw(salt);
    out.into_vec()
}

fn aad(header: &[u8], kind: ObjectKind, log: &LogId, number: u64) -> Vec<u8> {
    [header, &[kind as u8], &log.0, &number.to_le_bytes()].concat()
}

/// Bytes of an object with `length` bytes of content.
pub fn sealed_length(length: usize) -> usize {
    HEADER_BYTES + padme(length as u64 + 4) as usize + TAG_BYTES
}

pub(crate) fn seal(
    key: &CatalogKey,
    entropy: &dyn Entropy,
    (kind, log, number): (ObjectKind, &LogId, u64),
    content: &[u8],
) -> Result<Vec<u8>, SealError> {
    let salt: [u8; 32] = seam::random(entropy);
    let mut out = header(key.epoch(), &salt);
    let aad = aad(&out, kind, log, number);
    let length = u32::try_from(content.len()).map_err(|_| SealError::Seal)?;
    out.reserve(sealed_length(content.len()));
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(content);
    out.resize(HEADER_BYTES + padme(content.len() as u64 + 4) as usize, 0);
    let tag = cipher(&key_of(key.secret(), &salt))
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key([0; 12]),
            Aad::from(&aad),
            &mut out[HEADER_BYTES..],
        )
        .map_err(|_| SealError::Seal)?;
    out.extend_from_slice(tag.as_ref());
    Ok(out)
}

pub(crate) fn open(
    keys: &[impl Borrow<CatalogKey>],
    (kind, log, number): (ObjectKind, &LogId, u64),
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let wrong = SealError::Open { what: kind.name() };
    let mut from = Reader::new(sealed);
    if from.u8().map_err(|_| wrong)? != VERSION {
        return Err(wrong);
    }
    let (epoch, salt) = (from.u32().map_err(|_| wrong)?, from.array::<32>().map_err(|_| wrong)?);
    let key = keys
        .iter()
        .map(Borrow::borrow)
        .find(|key: &&CatalogKey| key.epoch() == epoch)
        .ok_or(SealError::Epoch { what: kind.name(), epoch })?;
    let body = &sealed[HEADER_BYTES..];
    let length = body.len().checked_sub(TAG_BYTES).ok_or(wrong)?;
    let (body, tag) = body.split_at(length);
    let mut plain = Zeroizing::new(vec![0; length]);
    cipher(&key_of(key.secret(), &salt))
        .open_separate_gather(
            Nonce::assume_unique_for_key([0; 12]),
            Aad::from(aad(&sealed[..HEADER_BYTES], kind, log, number)),
            body,
            tag,
            &mut plain,
        )
        .map_err(|_| wrong)?;
    let mut from = Reader::new(&plain);
    let content = from.bytes("object", length).map_err(|_| wrong)?;
    Ok(Zeroizing::new(content.to_vec()))
}
