//! Names of things: fixed-size ids that are hashes or public keys, never chosen by a person.

use std::fmt;
use std::str::FromStr;

use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// Text that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: {reason}")]
pub struct IdError {
    /// What was expected.
    pub kind: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident $bytes:literal $kind:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// Size in bytes.
            pub const SIZE: usize = $bytes;

            /// The id's bytes.
            pub fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Writer) {
                out.raw(&self.0);
            }
        }

        impl Decode for $name {
            fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
                Ok(Self(from.array()?))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
    };
}

macro_rules! hex_text {
    ($name:ident $kind:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; Self::SIZE];
                if text.len() != 2 * Self::SIZE {
                    return Err(IdError { kind: $kind, reason: "wrong length" });
                }
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
                    let digit = |c: u8| (c as char).to_digit(16);
                    match (digit(pair[0]), digit(pair[1])) {
                        (Some(high), Some(low)) => *byte = (high * 16 + low) as u8,
                        _ => {
                            return Err(IdError { kind: $kind, reason: "not a hexadecimal digit" });
                        }
                    }
                }
                Ok(Self(bytes))
            }
        }
    };
}

id!(
    /// A node: its Ed25519 public key. Written as the libp2p peer id of the same key.
    NodeId 32 "node id"
);
id!(
    /// A segment: the hash of its descriptor.
    SegmentId 32 "segment id"
);
id!(
    /// A mesh: the hash of its genesis record.
    MeshId 32 "mesh id"
);
id!(
    /// An account: its Ed25519 identity key.
    AccountId 32 "account id"
);
id!(
    /// A grant: the hash of its bytes.
    GrantId 32 "grant id"
);
id!(
    /// A device of an account, drawn at random when the device is set up.
    DeviceId 16 "device id"
);
id!(
    /// A log of operations, drawn at random. A device writes one at a time, and takes another where
    /// it cannot be sure to know its end.
    LogId 16 "log id"
);
id!(
    /// A file of an account, stable across renames; drawn at random.
    FileId 16 "file id"
);
id!(
    /// One immutable content of a file; drawn at random.
    VersionId 16 "version id"
);
id!(
    /// What tells equal content within one account: a hash of it under the account's key, so that it
    /// says nothing to anybody else. Zeros where content has none.
    ContentTag 16 "content tag"
);
id!(
    /// A BLAKE3 hash.
    Hash 32 "hash"
);
hex_text!(SegmentId "segment id");
hex_text!(MeshId "mesh id");
hex_text!(AccountId "account id");
hex_text!(GrantId "grant id");
hex_text!(DeviceId "device id");
hex_text!(LogId "log id");
hex_text!(FileId "file id");
hex_text!(VersionId "version id");
hex_text!(ContentTag "content tag");
hex_text!(Hash "hash");

impl Hash {
    /// BLAKE3 of `bytes` under a derive-key `context`, so that hashes of different records never
    /// meet.
    pub fn derive(context: &str, bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(bytes);
        Self(*hasher.finalize().as_bytes())
    }

    /// Plain BLAKE3 of `bytes`: content hashes that other programs can check.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// What libp2p puts before an Ed25519 key in a peer id: identity multihash of 36 bytes, then the
/// key's protobuf header (type Ed25519, 32 bytes).
/// <https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md>
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl NodeId {
    /// What all ids begin with when they are written, so that it tells none from another.
    pub const TEXT_PREFIX: &str = "12D3KooW";

    /// The bytes of the same key's libp2p peer id.
    pub fn peer_id_bytes(&self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// The node behind the bytes of a libp2p peer id; only Ed25519 identities are nodes.
    ///
    /// # Errors
    /// [`IdError`] for other key types and lengths.
    pub fn from_peer_id_bytes(bytes: &[u8]) -> Result<Self, IdError> {
        let wrong = IdError { kind: "node id", reason: "not an Ed25519 peer id" };
        let key = bytes.strip_prefix(&PEER_ID_PREFIX).ok_or_else(|| wrong.clone())?;
        Ok(Self(key.try_into().map_err(|_| wrong)?))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.peer_id_bytes()).into_string())
    }
}

impl FromStr for NodeId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 64];
        let length = match bs58::decode(text).onto(&mut bytes) {
            Ok(length) => length,
            Err(_) => return Err(IdError { kind: "node id", reason: "not base58" }),
        };
        Self::from_peer_id_bytes(&bytes[..length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_reads_back_from_its_peer_id_text() {
        let id = NodeId([7; 32]);
        let text = id.to_string();
        assert!(text.starts_with(NodeId::TEXT_PREFIX), "{text}");
        assert_eq!(text.parse(), Ok(id));
    }

    #[test]
    fn wrong_text_is_refused() {
        assert!("12D3KooW".parse::<NodeId>().is_err());
        assert!("zz".parse::<SegmentId>().is_err());
        assert!("g".repeat(64).parse::<SegmentId>().is_err());
        assert!("+1".repeat(32).parse::<SegmentId>().is_err());
    }
}
