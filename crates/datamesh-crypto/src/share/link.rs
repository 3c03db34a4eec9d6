//! What is handed to whoever may open a share: a link, or, for a person, a code without a secret.
//!
//! `datamesh://share/` and base58 of what finds the share; then, in a link, `#` and base58 of the secret that
//! opens it. What follows the `#` never leaves the machine of whoever opens it.

use std::fmt;
use std::str::FromStr;

use datamesh_core::advert::{ADDRESS_BYTES_MAX, ADDRESSES_MAX};
use datamesh_core::wire::{self, Decode, Encode, Reader, WireError, Writer};
use datamesh_core::{Hash, MeshId, PublicKey, Timestamp};
use zeroize::Zeroizing;

use crate::Secret;

/// Begins every link and code, so that people and programs recognise one. No path of an account begins so.
const PREFIX: &str = "datamesh://share/";

/// What no name of a file begins with.
const SCHEME: &str = "datamesh://";

/// BLAKE3 derive-key contexts of the checksums.
const CHECKSUM_CONTEXT: &str = "datamesh 2026 share link checksum v1";
const SECRET_CHECKSUM_CONTEXT: &str = "datamesh 2026 share link secret checksum v1";

/// Longest text in characters, before the `#` and behind it.
const TEXT_BYTES_MAX: usize = 4096;
const SECRET_TEXT_BYTES_MAX: usize = 64;

/// Text that is not a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It does not begin as one does.
    #[error("a link begins with \"{PREFIX}\"")]
    Prefix,
    /// Characters are missing, changed or added.
    #[error("the link is damaged: copy the whole line again")]
    Damaged,
    /// What follows the `#` is missing.
    #[error(
        "the link has lost its secret, which follows a #: copy the whole line again, in quotes"
    )]
    SecretMissing,
    /// What follows the `#` is damaged or is another link's.
    #[error("the secret of the link, which follows the #, is damaged: copy the whole line again")]
    SecretDamaged,
    /// Its content is not one that this program knows.
    #[error("the link cannot be read")]
    Content(#[source] WireError),
}

/// A link or a code. Its [`Debug`](fmt::Debug) leaves the secret out; its [`text`](Self::text) is the whole.
#[derive(Clone, PartialEq, Eq)]
pub struct ShareLink {
    /// The mesh that it leads into.
    pub mesh: MeshId,
    /// The share.
    pub share: PublicKey,
    /// When the share ends by itself; 0 for never. Only told here: nodes and the share's head decide.
    pub expiry: Timestamp,
    /// Whether it has a password, so that it can be asked for before anything is fetched.
    pub password: bool,
    /// Where nodes of the mesh listen.
    pub addresses: Vec<String>,
    /// The secret; nothing in a code for a person.
    pub secret: Option<Secret>,
}

/// What stands before the `#`.
struct Public {
    link: ShareLink,
    has_secret: bool,
}

impl Encode for ShareLink {
    fn encode(&self, out: &mut Writer) {
        out.u8(Self::VERSION);
        self.mesh.encode(out);
        self.share.encode(out);
        out.u64(self.expiry);
        out.u8(match (self.secret.is_some(), self.password) {
            (true, false) => 1,
            (true, true) => 2,
            (false, _) => 3,
        });
        out.texts(&self.addresses);
    }
}

impl Decode for Public {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("link", ShareLink::VERSION)?;
        let (mesh, share) = (MeshId::decode(from)?, PublicKey::decode(from)?);
        let expiry = from.u64()?;
        let (has_secret, password) = match from.u8()? {
            1 => (true, false),
            2 => (true, true),
            3 => (false, false),
            _ => return Err(WireError::Invalid { field: "lock of a share" }),
        };
        let addresses = from.lines("addresses", ADDRESSES_MAX, ADDRESS_BYTES_MAX)?;
        let link = ShareLink { mesh, share, expiry, password, addresses, secret: None };
        Ok(Self { link, has_secret })
    }
}

impl ShareLink {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;

    /// Whether text is meant to be a link, whole or not.
    pub fn is_meant(text: &str) -> bool {
        text.trim_start().starts_with(SCHEME)
    }

    /// The link's text, with its secret.
    pub fn text(&self) -> Zeroizing<String> {
        let mut bytes = self.to_bytes();
        let checksum = Hash::derive(CHECKSUM_CONTEXT, &bytes);
        bytes.extend_from_slice(&checksum.0[..4]);
        let mut text = Zeroizing::new(format!("{PREFIX}{}", bs58::encode(bytes).into_string()));
        if let Some(secret) = &self.secret {
            let mut bytes = Zeroizing::new(secret.to_vec());
            bytes.extend_from_slice(&self.secret_checksum(secret));
            text.push('#');
            text.push_str(&Zeroizing::new(bs58::encode(&*bytes).into_string()));
        }
        text
    }

    fn secret_checksum(&self, secret: &Secret) -> [u8; 4] {
        let bytes = Zeroizing::new([&self.share.0[..], &secret[..]].concat());
        let hash = Hash::derive(SECRET_CHECKSUM_CONTEXT, &bytes);
        let mut checksum = [0; 4];
        checksum.copy_from_slice(&hash.0[..4]);
        checksum
    }
}

impl fmt::Debug for ShareLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShareLink")
            .field("mesh", &self.mesh)
            .field("share", &self.share)
            .field("expiry", &self.expiry)
            .field("password", &self.password)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl FromStr for ShareLink {
    type Err = LinkError;
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let damaged = LinkError::Damaged;
        let body = text.trim().strip_prefix(PREFIX).ok_or(LinkError::Prefix)?;
        let (body, secret) = match body.split_once('#') {
            Some((body, secret)) => (body, Some(secret)),
            None => (body, None),
        };
        if body.len() > TEXT_BYTES_MAX {
            return Err(damaged);
        }
        let bytes = bs58::decode(body).into_vec().map_err(|_| LinkError::Damaged)?;
        let Some((content, checksum)) = bytes.split_last_chunk::<4>() else { return Err(damaged) };
        if Hash::derive(CHECKSUM_CONTEXT, content).0[..4] != checksum[..] {
            return Err(damaged);
        }
        let Public { mut link, has_secret } = wire::decode(content).map_err(LinkError::Content)?;
        match (has_secret, secret) {
            (false, None) => {}
            (false, Some(_)) => return Err(damaged),
            (true, None | Some("")) => return Err(LinkError::SecretMissing),
            (true, Some(secret)) => {
                let wrong = LinkError::SecretDamaged;
                if secret.len() > SECRET_TEXT_BYTES_MAX {
                    return Err(wrong);
                }
                let bytes = bs58::decode(secret).into_vec().map(Zeroizing::new);
                let bytes: [u8; 36] = match bytes.as_ref().map(|bytes| bytes.as_slice().try_into())
                {
                    Ok(Ok(bytes)) => bytes,
                    _ => return Err(wrong),
                };
                let bytes = Zeroizing::new(bytes);
                let mut secret = Secret::default();
                secret.copy_from_slice(&bytes[..32]);
                if link.secret_checksum(&secret) != bytes[32..] {
                    return Err(wrong);
                }
                link.secret = Some(secret);
            }
        }
        Ok(link)
    }
}
