//! Frames: the AEAD records inside a slice.
//!
//! A slice's plaintext is cut into frames of one size (the last may be shorter), each sealed with
//! AES-256-GCM under the slice's own key. Nonce: the frame's number as a 96-bit little-endian
//! integer. Authenticated data: format version, suite, frame number, last flag, and nothing about
//! segment or file, so that a repack copies ciphertext unchanged (`docs/specs/segment.md`).
//!
//! The key of a slice is drawn fresh and used for one pass over one plaintext; that is what makes
//! counting nonces safe. There is no way here to seal twice with one [`Sealer`]: it counts itself.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::{Entropy, seam};

use crate::Secret;

/// Version of the frame format.
const FORMAT_VERSION: u8 = 1;

/// Bytes that sealing adds to a frame.
pub const TAG_BYTES: usize = 16;

/// Largest frame in bytes, tag included.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Smallest frame in bytes, tag included: a frame of an unpacked segment is a cell.
pub const FRAME_BYTES_MIN: usize = 1024;

/// A frame that is not what was sealed: damaged, exchanged, or under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame {number} cannot be opened: it is damaged or the key is not its own")]
pub struct FrameError {
    /// The frame's number in its slice.
    pub number: u32,
}

/// Bytes of ciphertext for `plain` bytes in frames of `frame` bytes.
pub fn sealed_length(plain: usize, frame: usize) -> usize {
    plain + TAG_BYTES * frame_count(plain, frame)
}

/// Frames that `plain` bytes take; an empty slice has one empty frame.
pub fn frame_count(plain: usize, frame: usize) -> usize {
    plain.div_ceil(frame - TAG_BYTES).max(1)
}

fn aead_key(secret: &Secret) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, &**secret);
    // AES-256-GCM takes any 32 bytes; a key of another length cannot get here.
    match key {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => unreachable!("AES-256 keys have 32 bytes"),
    }
}

pub(crate) fn cipher(secret: &Secret) -> LessSafeKey {
    aead_key(secret)
}

fn nonce(number: u32) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn aad(number: u32, last: bool) -> Aad<[u8; 7]> {
    let n = number.to_le_bytes();
    Aad::from([FORMAT_VERSION, SUITE_AES256GCM_BLAKE3_RS, n[0], n[1], n[2], n[3], u8::from(last)])
}

/// Seals one slice, frame after frame.
pub struct Sealer {
    key: LessSafeKey,
    next: u32,
}

impl Sealer {
    /// A sealer with a fresh key, and that key for the manifest.
    pub fn draw(entropy: &dyn Entropy) -> (Self, Secret) {
        let secret = Secret::new(seam::random(entropy));
        (Self { key: aead_key(&secret), next: 0 }, secret)
    }

    /// Seals `plain` as the next frame into `frame`, which is [`TAG_BYTES`] longer.
    ///
    /// # Errors
    /// [`FrameError`] where the lengths do not fit or the slice has too many frames.
    pub fn seal(&mut self, last: bool, plain: &[u8], frame: &mut [u8]) -> Result<(), FrameError> {
        let number = self.next;
        let wrong = FrameError { number };
        self.next = number.checked_add(1).ok_or(wrong)?;
        let length = frame.len().checked_sub(TAG_BYTES).ok_or(wrong)?;
        let (sealed, tag) = frame.split_at_mut(length);
        let (nonce, aad) = (nonce(number), aad(number, last));
        self.key.seal_out_of_place_scatter(nonce, aad, plain, sealed, &[], tag).map_err(|_| wrong)
    }
}

/// Opens frames of one slice in any order.
pub struct Opener {
    key: LessSafeKey,
}

impl Opener {
    /// An opener with the slice's key.
    pub fn new(secret: &Secret) -> Self {
        Self { key: aead_key(secret) }
    }

    /// Opens one frame into `out`, which takes its plaintext exactly. Where opening fails, `out`
    /// holds nothing of the plaintext.
    ///
    /// # Errors
    /// [`FrameError`] for anything that is not this frame of this slice.
    pub fn open(
        &self,
        number: u32,
        last: bool,
        frame: &[u8],
        out: &mut [u8],
    ) -> Result<(), FrameError> {
        let wrong = FrameError { number };
        let length = frame.len().checked_sub(TAG_BYTES).ok_or(wrong)?;
        let (sealed, tag) = frame.split_at(length);
        let opened =
            self.key.open_separate_gather(nonce(number), aad(number, last), sealed, tag, out);
        if opened.is_err() {
            out.fill(0);
            return Err(wrong);
        }
        Ok(())
    }
}
