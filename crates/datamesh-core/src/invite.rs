//! The bearer ticket that brings a home into a mesh.
//!
//! Whoever holds the line may use it: it is a secret until it has expired or is used up. Only the
//! node that made it can redeem it, because only that node counts its uses.

use std::fmt;
use std::str::FromStr;

use crate::advert::{ADDRESS_BYTES_MAX, ADDRESSES_MAX};
use crate::id::{Hash, MeshId, NodeId};
use crate::seam::Timestamp;
use crate::wire::{self, Decode, Encode, Reader, WireError, Writer};

/// Begins every ticket, so that people and programs recognise one.
const PREFIX: &str = "datamesh-invite-";

/// BLAKE3 derive-key context of the checksum.
const CHECKSUM_CONTEXT: &str = "datamesh 2026 invite checksum v1";

/// Longest ticket in characters.
const TEXT_BYTES_MAX: usize = 4096;

/// What an invite lets its bearer ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvitePowers {
    /// A certificate for a node.
    pub node: bool,
    /// A grant for an account.
    pub account: bool,
}

/// The ticket's content. Its [`Debug`](fmt::Debug) leaves the secret out; its
/// [`Display`](fmt::Display) is the ticket.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteTicket {
    /// The mesh it leads into.
    pub mesh: MeshId,
    /// The node that redeems it.
    pub issuer: NodeId,
    /// Where that node listens.
    pub addresses: Vec<String>,
    /// What proves the bearer's right.
    pub secret: [u8; 32],
    /// How many homes may use it.
    pub uses: u32,
    /// End of validity; 0 for none.
    pub expiry: Timestamp,
    /// What it grants.
    pub powers: InvitePowers,
}

/// Text that is not an invite ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// It does not begin as a ticket does.
    #[error("an invite ticket begins with \"{PREFIX}\"")]
    Prefix,
    /// Characters are missing, changed or added.
    #[error("the invite ticket is damaged: copy the whole line again")]
    Damaged,
    /// Its content is not one that this program knows.
    #[error("the invite ticket cannot be read")]
    Content(#[source] WireError),
}

impl InviteTicket {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;

    /// What the issuer keeps instead of the secret.
    pub fn secret_hash(secret: &[u8; 32]) -> Hash {
        Hash::derive("datamesh 2026 invite secret v1", secret)
    }
}

impl fmt::Debug for InviteTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InviteTicket")
            .field("mesh", &self.mesh)
            .field("issuer", &self.issuer)
            .field("addresses", &self.addresses)
            .field("uses", &self.uses)
            .field("expiry", &self.expiry)
            .field("powers", &self.powers)
            .finish_non_exhaustive()
    }
}

impl Encode for InviteTicket {
    fn encode(&self, out: &mut Writer) {
        out.u8(Self::VERSION);
        self.mesh.encode(out);
        self.issuer.encode(out);
        out.texts(&self.addresses);
        out.raw(&self.secret).u32(self.uses).u64(self.expiry);
        out.flag(self.powers.node).flag(self.powers.account);
    }
}

impl Decode for InviteTicket {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("invite ticket", Self::VERSION)?;
        let (mesh, issuer) = (MeshId::decode(from)?, NodeId::decode(from)?);
        let addresses = from.lines("addresses", ADDRESSES_MAX, ADDRESS_BYTES_MAX)?;
        Ok(Self {
            mesh,
            issuer,
            addresses,
            secret: from.array()?,
            uses: from.u32()?,
            expiry: from.u64()?,
            powers: InvitePowers {
                node: from.flag("node power")?,
                account: from.flag("account power")?,
            },
        })
    }
}

impl fmt::Display for InviteTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.to_bytes();
        let checksum = Hash::derive(CHECKSUM_CONTEXT, &bytes);
        bytes.extend_from_slice(&checksum.0[..4]);
        write!(f, "{PREFIX}{}", bs58::encode(bytes).into_string())
    }
}

impl FromStr for InviteTicket {
    type Err = InviteError;
    fn from_str(text: &str) -> Result<Self, InviteError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(InviteError::Prefix)?;
        if body.len() > TEXT_BYTES_MAX {
            return Err(InviteError::Damaged);
        }
        let bytes = bs58::decode(body).into_vec().map_err(|_| InviteError::Damaged)?;
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(InviteError::Damaged)?;
        if Hash::derive(CHECKSUM_CONTEXT, content).0[..4] != checksum[..] {
            return Err(InviteError::Damaged);
        }
        wire::decode(content).map_err(InviteError::Content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> InviteTicket {
        InviteTicket {
            mesh: MeshId([1; 32]),
            issuer: NodeId([2; 32]),
            addresses: vec!["/ip4/127.0.0.1/tcp/4001".into()],
            secret: [3; 32],
            uses: 5,
            expiry: 0,
            powers: InvitePowers { node: true, account: true },
        }
    }

    #[test]
    fn a_ticket_survives_its_text() {
        let text = ticket().to_string();
        assert_eq!(format!(" {text}\n").parse(), Ok(ticket()));
    }

    #[test]
    fn the_secret_does_not_reach_a_log() {
        assert!(!format!("{:?}", ticket()).contains("3, 3"));
    }

    #[test]
    fn a_changed_character_is_noticed() {
        let text = ticket().to_string();
        for at in PREFIX.len()..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'2' { b'3' } else { b'2' };
            let changed = String::from_utf8(bytes).unwrap_or_default();
            assert_eq!(changed.parse::<InviteTicket>(), Err(InviteError::Damaged), "at {at}");
        }
        assert_eq!("hello".parse::<InviteTicket>(), Err(InviteError::Prefix));
    }
}
