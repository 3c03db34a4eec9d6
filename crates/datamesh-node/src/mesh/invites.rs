//! The invites that this home has issued, and what was redeemed of them.
//!
//! The ledger is a small file that is written whole before an answer leaves: an invite's uses
//! cannot be had back by a crash.

use std::sync::{Arc, Mutex, PoisonError};

use datamesh_api::{ErrorKind, OperationError};
use datamesh_core::certificate::NodeClaim;
use datamesh_core::invite::InvitePowers;
use datamesh_core::message::{Redeem, Refusal};
use datamesh_core::wire::{self, Decode, Encode, Reader, WireError, Writer};
use datamesh_core::{
    Clock, Genesis, Hash, InviteTicket, MeshId, NodeId, PublicKey, Timestamp, seam,
};
use datamesh_crypto::IssuingKey;
use datamesh_engine::{Admissions, RedeemError, Redeemed};

use crate::home::Home;
use crate::system::{SystemClock, SystemEntropy};

const INVITES: &str = "mesh/invites";

/// Most invites that are kept; expired ones make room.
const INVITES_MAX: usize = 1024;

/// Most homes that one invite admits.
pub(crate) const USES_MAX: u32 = 10_000;

datamesh_core::record! {
    /// A home that used an invite.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Use {
        /// Drawn by that home; the same for its node and its account.
        redeemer: Redeemer,
        /// The node that was certified; zero for none.
        node: NodeId,
        /// The grant key that was granted; zero for none.
        account: PublicKey,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Redeemer([u8; 16]);

impl Encode for Redeemer {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.0);
    }
}

impl Decode for Redeemer {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self(from.array()?))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Invite {
    secret_hash: Hash,
    uses_max: u32,
    expiry: Timestamp,
    powers: InvitePowers,
    bytes_per_node: u64,
    uses: Vec<Use>,
}

impl Encode for Invite {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.secret_hash.0).u32(self.uses_max).u64(self.expiry);
        out.flag(self.powers.node).flag(self.powers.account).u64(self.bytes_per_node);
        out.list(&self.uses);
    }
}

impl Decode for Invite {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            secret_hash: Hash::decode(from)?,
            uses_max: from.u32()?,
            expiry: from.u64()?,
            powers: InvitePowers {
                node: from.flag("node power")?,
                account: from.flag("account power")?,
            },
            bytes_per_node: from.u64()?,
            uses: from.list("uses", USES_MAX as usize)?,
        })
    }
}

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ledger {
    serial: u64,
    invites: Vec<Invite>,
}

impl Encode for Ledger {
    fn encode(&self, out: &mut Writer) {
        out.u8(1).u64(self.serial).list(&self.invites);
    }
}

impl Decode for Ledger {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("invites", 1)?;
        Ok(Self { serial: from.u64()?, invites: from.list("invites", INVITES_MAX)? })
    }
}

/// What an invite is to grant.
#[derive(Debug, Clone)]
pub(crate) struct InviteTerms {
    pub(crate) uses: u32,
    pub(crate) expires_ms: u64,
    pub(crate) powers: InvitePowers,
    pub(crate) bytes_per_node: u64,
}

/// Issues and redeems the invites of this home.
pub(crate) struct InviteLedger {
    home: Home,
    mesh: MeshId,
    issuing: IssuingKey,
    ledger: Mutex<Ledger>,
}

impl InviteLedger {
    /// The ledger of a home that can issue; nothing for other homes.
    pub(crate) fn open(
        home: &Home,
        genesis: &Genesis,
    ) -> Result<Option<Arc<Self>>, OperationError> {
        let Some(issuing) = super::issuing_key(home, genesis)? else { return Ok(None) };
        let mesh = genesis.mesh_id();
        // Serials 1 went to the founder itself.
        let ledger = match home.read(INVITES)? {
            None => Ledger { serial: 1, invites: Vec::new() },
            Some(bytes) => wire::decode(&bytes).map_err(|error| {
                let message = format!("{} is damaged: {error}", home.file(INVITES).display());
                OperationError::new(ErrorKind::Failed, message)
                    .hint("put a copy back, or remove it: its invites can then be used no more")
            })?,
        };
        Ok(Some(Arc::new(Self { home: home.clone(), mesh, issuing, ledger: Mutex::new(ledger) })))
    }

    /// Makes an invite that this node redeems at `addresses`.
    pub(crate) fn issue(
        &self,
        issuer: NodeId,
        addresses: Vec<String>,
        terms: &InviteTerms,
    ) -> Result<InviteTicket, OperationError> {
        if terms.uses == 0 || terms.uses > USES_MAX {
            let message = format!("an invite has between 1 and {USES_MAX} uses");
            return Err(OperationError::new(ErrorKind::Usage, message));
        }
        if !terms.powers.node && !terms.powers.account {
            let message = "an invite must admit nodes, accounts or both";
            return Err(OperationError::new(ErrorKind::Usage, message));
        }
        let now = SystemClock.now();
        let secret: [u8; 32] = seam::random(&SystemEntropy);
        let expiry = now.saturating_add(terms.expires_ms);
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = ledger.clone();
        next.invites.retain(|invite| invite.expiry > now);
        if next.invites.len() >= INVITES_MAX {
            let message =
                format!("{INVITES_MAX} invites are open; more can be made when one expires");
            return Err(OperationError::new(ErrorKind::Failed, message));
        }
        next.invites.push(Invite {
            secret_hash: InviteTicket::secret_hash(&secret),
            uses_max: terms.uses,
            expiry,
            powers: terms.powers,
            bytes_per_node: terms.bytes_per_node,
            uses: Vec::new(),
        });
        self.home.write(INVITES, &next.to_bytes())?;
        *ledger = next;
        Ok(InviteTicket {
            mesh: self.mesh,
            issuer,
            addresses,
            secret,
            uses: terms.uses,
            expiry,
            powers: terms.powers,
        })
    }
}

fn refuse<T>(refusal: Refusal, detail: &str) -> Result<T, RedeemError> {
    Err(RedeemError { refusal, detail: detail.to_owned() })
}

impl Admissions for InviteLedger {
    fn redeem(&self, peer: NodeId, redeem: &Redeem) -> Result<Redeemed, RedeemError> {
        let hash = InviteTicket::secret_hash(&redeem.secret);
        let none = NodeId([0; 32]);
        let no_key = PublicKey([0; 32]);
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = ledger.clone();
        // Serials are used once each, so that a later certificate of a node counts over earlier
        // ones.
        next.serial += 1;
        let serial = next.serial;
        let Some(invite) = next.invites.iter_mut().find(|invite| invite.secret_hash == hash) else {
            return refuse(Refusal::InviteUnknown, "");
        };
        if invite.expiry <= SystemClock.now() {
            return refuse(Refusal::InviteExpired, "");
        }
        if redeem.node.is_some() && !invite.powers.node
            || redeem.account.is_some() && !invite.powers.account
        {
            return refuse(Refusal::NotPermitted, "the invite does not grant this");
        }
        let redeemer = Redeemer(redeem.redeemer);
        let place = invite.uses.iter().position(|used| used.redeemer == redeemer);
        let place = match place {
            Some(place) => place,
            None if invite.uses.len() >= invite.uses_max as usize => {
                return refuse(Refusal::InviteUsedUp, "");
            }
            None => {
                invite.uses.push(Use { redeemer, node: none, account: no_key });
                invite.uses.len() - 1
            }
        };
        let used = &mut invite.uses[place];
        let mut redeemed: Redeemed = (None, None);
        if let Some(request) = &redeem.node {
            // One home has one node: the same redeemer with another key is another home.
            if used.node != none && used.node != peer {
                return refuse(Refusal::InviteUsedUp, "this use admitted another node");
            }
            used.node = peer;
            redeemed.0 = Some(self.issuing.certify(NodeClaim {
                node: peer,
                operator: request.operator.clone(),
                domain: request.domain.clone(),
                capacity_cap: request.capacity,
                serial,
                expiry: 0,
            }));
        }
        if let Some(key) = redeem.account {
            if used.account != no_key && used.account != key {
                return refuse(Refusal::InviteUsedUp, "this use was granted to another account");
            }
            used.account = key;
            redeemed.1 = Some(self.issuing.grant(key, invite.bytes_per_node, serial, 0));
        }
        if let Err(error) = self.home.write(INVITES, &next.to_bytes()) {
            tracing::error!(%error, "the invites cannot be written");
            return refuse(Refusal::Internal, "");
        }
        *ledger = next;
        Ok(redeemed)
    }
}
