//! Streams under a password, in the format of age version 1 (`age-encryption.org/v1`).
//!
//! The format is a public one, so that what was sealed here opens with `age -d` on any machine, and
//! the other way round. Of its kinds of recipients only the password is here (`scrypt`). Layout and
//! derivations: `docs/specs/sealed-archive.md`.
//!
//! The payload is cut into chunks of 64 KiB, each sealed with ChaCha20-Poly1305 under its number and
//! a flag for the last, so that reordering, cutting short and adding are all noticed. The header is
//! authenticated too, and its cost is bounded before anything is allocated.
//!
//! Opening and beginning take about a second and 256 MiB on purpose; call them away from the tasks.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use datamesh_core::{Entropy, seam};
use zeroize::Zeroizing;

use crate::Secret;
use crate::tree::derive;

const INTRODUCTION: &str = "age-encryption.org/v1\n";
const STANZA: &str = "-> ";
const SCRYPT: &str = "scrypt";
const FOOTER: &str = "---";
const SALT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";

/// Bytes of plaintext in every chunk but the last.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes that sealing adds to a chunk.
pub const CHUNK_TAG_BYTES: usize = 16;

/// Bytes within which a header and the payload's nonce end. With a password they take about 200.
pub const HEADER_BYTES_MAX: usize = 1024;

/// What stretching a password costs, as the logarithm of scrypt's N: 2^18 takes 256 MiB, as age does.
pub const WORK: u8 = 18;

/// Most that a header may ask for: 2^20 takes 1 GiB, as much as a keystore may.
pub const WORK_MAX: u8 = 20;

/// Bytes of a file key.
const FILE_KEY_BYTES: usize = 16;

/// Bytes of the payload's nonce.
const NONCE_BYTES: usize = 16;

/// Why a stream does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgeError {
    /// It does not begin as such streams do.
    #[error("it is not sealed in the format of age, version 1")]
    Format,
    /// It is for a key and not for a password.
    #[error("it is sealed for the owner of a key, not under a password")]
    Recipient,
    /// The header ends too early or holds what no header has.
    #[error("the header of the sealed stream is damaged: {0}")]
    Header(&'static str),
    /// Its cost is out of bounds.
    #[error("opening it would take scrypt with 2^{asked}, more than 2^{WORK_MAX}")]
    Work {
        /// The logarithm that the header names.
        asked: u8,
    },
    /// The password is wrong, or its stanza was changed: the two cannot be told apart.
    #[error("wrong password")]
    Password,
    /// A chunk was changed, exchanged or is not the last where the stream ends.
    #[error("chunk {number} of the sealed stream is damaged, out of its place or cut short")]
    Chunk {
        /// Its number.
        number: u64,
    },
    /// The key derivation or the cipher refused.
    #[error("the stream cannot be sealed: {0}")]
    Cipher(String),
}

/// Whether a stream begins as age's do.
pub fn is_age(beginning: &[u8]) -> bool {
    beginning.starts_with(INTRODUCTION.as_bytes())
}

/// Seals and opens the chunks of one stream.
pub struct ChunkKey(LessSafeKey);

impl ChunkKey {
    fn new(file_key: &[u8], nonce: &[u8]) -> Self {
        Self(cipher(&derive(nonce, file_key, &[b"payload"])))
    }

    /// Seals a chunk in place and adds its tag. Every number is used for one chunk alone.
    ///
    /// # Errors
    /// [`AgeError::Cipher`] where the cipher refuses.
    pub fn seal(&self, number: u64, last: bool, chunk: &mut Vec<u8>) -> Result<(), AgeError> {
        let sealed = self.0.seal_in_place_append_tag(nonce(number, last), Aad::empty(), chunk);
        sealed.map_err(|_| AgeError::Cipher("the cipher refused".to_owned()))
    }

    /// Opens a chunk in place and takes its tag away. Where it does not open, nothing is left of it.
    ///
    /// # Errors
    /// [`AgeError::Chunk`] for anything that is not this chunk of this stream.
    pub fn open(&self, number: u64, last: bool, chunk: &mut Vec<u8>) -> Result<(), AgeError> {
        let opened = self.0.open_in_place(nonce(number, last), Aad::empty(), chunk);
        let length = opened.ok().map(|plain| plain.len());
        // Only an empty stream ends in an empty chunk.
        let length = length.filter(|length| *length > 0 || (last && number == 0));
        chunk.truncate(length.unwrap_or(0));
        length.map(drop).ok_or(AgeError::Chunk { number })
    }
}

fn cipher(key: &Secret) -> LessSafeKey {
    match UnboundKey::new(&CHACHA20_POLY1305, &**key) {
        Ok(key) => LessSafeKey::new(key),
        Err(_) => unreachable!("ChaCha20 keys have 32 bytes"),
    }
}

/// Eleven bytes of the chunk's number, the highest first, and whether it is the last.
fn nonce(number: u64, last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&number.to_be_bytes());
    bytes[11] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}

/// Begins a stream under a password: what comes before the chunks, and their key.
///
/// # Errors
/// [`AgeError::Work`] for a cost out of bounds, [`AgeError::Cipher`] where the machine lacks the memory.
pub fn begin(
    password: &str,
    work: u8,
    entropy: &dyn Entropy,
) -> Result<(Vec<u8>, ChunkKey), AgeError> {
    let file_key = Zeroizing::new(seam::random::<FILE_KEY_BYTES>(entropy));
    let salt: [u8; 16] = seam::random(entropy);
    let mut wrapped = file_key.to_vec();
    cipher(&stretch(password, &salt, work)?)
        .seal_in_place_append_tag(zero_nonce(), Aad::empty(), &mut wrapped)
        .map_err(|_| AgeError::Cipher("the cipher refused".to_owned()))?;
    let (salt, wrapped) = (BASE64.encode(salt), BASE64.encode(wrapped));
    let mut header = format!("{INTRODUCTION}{STANZA}{SCRYPT} {salt} {work}\n{wrapped}\n{FOOTER}");
    let tag = hmac::sign(&mac_key(&*file_key), header.as_bytes());
    header.push_str(&format!(" {}\n", BASE64.encode(tag.as_ref())));
    let nonce: [u8; NONCE_BYTES] = seam::random(entropy);
    let key = ChunkKey::new(&*file_key, &nonce);
    let mut beginning = header.into_bytes();
    beginning.extend_from_slice(&nonce);
    Ok((beginning, key))
}

/// Opens a stream of which these are the first bytes, [`HEADER_BYTES_MAX`] of them where there are as
/// many. Answers how many come before the chunks, and their key.
///
/// # Errors
/// [`AgeError`] says whether it is no such stream, is damaged, or does not open.
pub fn open(beginning: &[u8], password: &str) -> Result<(usize, ChunkKey), AgeError> {
    let header = Header::read(beginning)?;
    let key = stretch(password, &header.salt, header.work)?;
    let mut wrapped = Zeroizing::new(header.wrapped.to_vec());
    let opened = cipher(&key).open_in_place(zero_nonce(), Aad::empty(), &mut wrapped);
    let file_key = opened.map_err(|_| AgeError::Password)?;
    hmac::verify(&mac_key(file_key), header.authenticated, &header.tag)
        .map_err(|_| AgeError::Header("it was changed"))?;
    let end = header.length + NONCE_BYTES;
    let nonce = beginning.get(header.length..end);
    let nonce = nonce.ok_or(AgeError::Header("it ends too early"))?;
    Ok((end, ChunkKey::new(file_key, nonce)))
}

/// Checks what can be checked without the password.
///
/// # Errors
/// As [`open`], but for the password.
pub fn check(beginning: &[u8]) -> Result<(), AgeError> {
    Header::read(beginning).map(drop)
}

fn zero_nonce() -> Nonce {
    // The key that it goes with is derived from a fresh salt and seals once.
    Nonce::assume_unique_for_key([0; 12])
}

fn mac_key(file_key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &*derive(&[], file_key, &[b"header"]))
}

fn stretch(password: &str, salt: &[u8; 16], work: u8) -> Result<Secret, AgeError> {
    if !(1..=WORK_MAX).contains(&work) {
        return Err(AgeError::Work { asked: work });
    }
    let params = scrypt::Params::new(work, 8, 1);
    let params = params.map_err(|error| AgeError::Cipher(error.to_string()))?;
    let salt = [SALT_LABEL, salt].concat();
    let mut key = Secret::default();
    scrypt::scrypt(password.as_bytes(), &salt, &params, &mut *key)
        .map_err(|error| AgeError::Cipher(error.to_string()))?;
    Ok(key)
}

/// What a header with one password says.
struct Header<'a> {
    salt: [u8; 16],
    work: u8,
    wrapped: [u8; FILE_KEY_BYTES + CHUNK_TAG_BYTES],
    /// What the tag is over.
    authenticated: &'a [u8],
    tag: [u8; 32],
    length: usize,
}

impl<'a> Header<'a> {
    fn read(beginning: &'a [u8]) -> Result<Self, AgeError> {
        if !is_age(beginning) {
            return Err(AgeError::Format);
        }
        let mut at = INTRODUCTION.len();
        let mut line = || -> Result<&'a str, AgeError> {
            let rest = beginning.get(at..).unwrap_or_default();
            let rest = &rest[..rest.len().min(HEADER_BYTES_MAX.saturating_sub(at))];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let end = end.ok_or(AgeError::Header("it ends too early"))?;
            at += end + 1;
            std::str::from_utf8(&rest[..end]).map_err(|_| AgeError::Header("it is not text"))
        };
        let stanza = line()?.strip_prefix(STANZA).ok_or(AgeError::Header("no stanza"))?;
        let mut words = stanza.split(' ');
        if words.next() != Some(SCRYPT) {
            return Err(AgeError::Recipient);
        }
        let (Some(salt), Some(work), None) = (words.next(), words.next(), words.next()) else {
            return Err(AgeError::Header("the stanza has other words"));
        };
        let salt = fixed(salt, "the salt")?;
        let work = decimal(work)?;
        let wrapped = fixed(line()?, "the wrapped key")?;
        let last = line()?;
        // A password stands alone, so that nobody else can be able to write for it.
        let tag = last.strip_prefix(FOOTER).ok_or(AgeError::Header("a second stanza"))?;
        let tag = tag.strip_prefix(' ').ok_or(AgeError::Header("no tag"))?;
        let tag = fixed(tag, "the tag")?;
        let footer = at - last.len() - 1 + FOOTER.len();
        let authenticated = beginning.get(..footer).unwrap_or_default();
        Ok(Self { salt, work, wrapped, authenticated, tag, length: at })
    }
}

/// Bytes of a fixed length in base64, of which there is one form.
fn fixed<const N: usize>(text: &str, what: &'static str) -> Result<[u8; N], AgeError> {
    let bytes = BASE64.decode(text).map_err(|_| AgeError::Header(what))?;
    bytes.try_into().map_err(|_| AgeError::Header(what))
}

/// A number without a sign or zeros before it.
fn decimal(text: &str) -> Result<u8, AgeError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let number = text.parse().ok().filter(|_| plain).ok_or(AgeError::Header("the cost"))?;
    if number > WORK_MAX { Err(AgeError::Work { asked: number }) } else { Ok(number) }
}
