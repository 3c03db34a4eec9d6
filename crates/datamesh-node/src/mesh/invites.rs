//! The invites that this home has issued, and what was redeemed of them.
//!
//! The ledger is a small file that is written whole before an answer leaves: an invite's uses
//! cannot be had back by a crash. It remembers whom it granted, because a holder counts what is kept
//! under each grant: a second grant for the same key would be a second quota.

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

/// A home that used an invite.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Use {
    /// Drawn by that home; the same for its node and its account.
    redeemer: Redeemer,
    /// The node that was certified; zero for none.
    node: NodeId,
    /// The grant key that was granted; zero for none.
    account: PublicKey,
    /// The grant's serial; 0 for none.
    grant_serial: u64,
}

impl Encode for Use {
    fn encode(&self, out: &mut Writer) {
        self.redeemer.encode(out);
        self.node.encode(out);
        self.account.encode(out);
        out.u64(self.grant_serial);
    }
}

impl Decode for Use {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            redeemer: Redeemer::decode(from)?,
            node: NodeId::decode(from)?,
            account: PublicKey::decode(from)?,
            grant_serial: from.u64()?,
        })
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

/// Whether bytes are a ledger with one encoding or none, for the [fuzzer](crate::parsers).
pub(crate) fn is_one_ledger(bytes: &[u8]) -> bool {
    wire::decode::<Ledger>(bytes).is_ok_and(|ledger| ledger.to_bytes() == bytes)
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
            return Err(OperationError::usage(message));
        }
        if !terms.powers.node && !terms.powers.account {
            let message = "an invite must admit nodes, accounts or both";
            return Err(OperationError::usage(message));
        }
        if terms.expires_ms == 0 {
            return Err(OperationError::usage("the invite would have expired already"));
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

impl InviteLedger {
    /// Makes `next` what is true, on the disk first.
    fn keep(&self, ledger: &mut Ledger, next: Ledger) -> Result<(), RedeemError> {
        if let Err(error) = self.home.write(INVITES, &next.to_bytes()) {
            tracing::error!(%error, "the invites cannot be written");
            return refuse(Refusal::Internal, "");
        }
        *ledger = next;
        Ok(())
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
        // A certificate has a serial of its own, so that it counts over earlier ones of its node; so
        // has the first grant of a key.
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
        if redeem.account == Some(no_key) {
            return refuse(Refusal::NotPermitted, "this is not a grant key");
        }
        let mut redeemed: Redeemed = (None, None);
        // Whoever has the grant already gets it again, whatever number it draws.
        let granted = redeem.account.and_then(|key| {
            let used = invite.uses.iter().find(|used| used.account == key)?;
            Some(self.issuing.grant(key, invite.bytes_per_node, used.grant_serial, 0))
        });
        let redeemer = Redeemer(redeem.redeemer);
        let place = invite.uses.iter().position(|used| used.redeemer == redeemer);
        let place = match place {
            Some(place) => place,
            None if granted.is_some() && redeem.node.is_none() => {
                redeemed.1 = granted;
                return self.keep(&mut ledger, next).map(|()| redeemed);
            }
            None if invite.uses.len() >= invite.uses_max as usize => {
                return refuse(Refusal::InviteUsedUp, "");
            }
            None => {
                invite.uses.push(Use { redeemer, node: none, account: no_key, grant_serial: 0 });
                invite.uses.len() - 1
            }
        };
        let used = &mut invite.uses[place];
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
        redeemed.1 = match (redeem.account, granted) {
            (Some(_), Some(grant)) => Some(grant),
            (Some(key), None) => {
                if used.account != no_key {
                    return refuse(
                        Refusal::InviteUsedUp,
                        "this use was granted to another account",
                    );
                }
                (used.account, used.grant_serial) = (key, serial);
                Some(self.issuing.grant(key, invite.bytes_per_node, serial, 0))
            }
            (None, _) => None,
        };
        self.keep(&mut ledger, next).map(|()| redeemed)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use datamesh_core::Signer;
    use datamesh_core::message::NodeRequest;
    use datamesh_crypto::{DeviceKeys, SigningKey, Words};

    struct Issuer {
        _folder: tempfile::TempDir,
        home: Home,
        genesis: Genesis,
    }

    impl Issuer {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::at(folder.path().to_owned());
            let keys = DeviceKeys::set_up(&Words::draw(&SystemEntropy), &SystemEntropy, 1);
            let domain = "here".parse().unwrap();
            let request = NodeRequest { operator: "someone".into(), domain, capacity: 1 << 30 };
            super::super::found(&home, &keys, request, 0).unwrap();
            let genesis = super::super::genesis(&home).unwrap().unwrap();
            Self { _folder: folder, home, genesis }
        }

        /// As after a start.
        fn ledger(&self) -> Arc<InviteLedger> {
            InviteLedger::open(&self.home, &self.genesis).unwrap().unwrap()
        }

        fn secret(&self, uses: u32) -> [u8; 32] {
            let powers = InvitePowers { node: true, account: true };
            let terms = InviteTerms { uses, expires_ms: 60_000, powers, bytes_per_node: 1000 };
            let ticket = self.ledger().issue(NodeId([1; 32]), Vec::new(), &terms).unwrap();
            ticket.secret
        }
    }

    fn key() -> PublicKey {
        SigningKey::draw(&SystemEntropy).public_key()
    }

    fn account(secret: [u8; 32], redeemer: u8, key: PublicKey) -> Redeem {
        Redeem { secret, redeemer: [redeemer; 16], node: None, account: Some(key) }
    }

    fn with_node(redeem: Redeem) -> Redeem {
        let domain = "there".parse().unwrap();
        let request = NodeRequest { operator: "other".into(), domain, capacity: 1 << 20 };
        Redeem { node: Some(request), ..redeem }
    }

    #[test]
    fn a_grant_key_has_one_grant_of_an_invite() {
        let issuer = Issuer::new();
        let (secret, first, second) = (issuer.secret(2), key(), key());
        let peer = NodeId([2; 32]);
        let redeem = |redeem: Redeem| issuer.ledger().redeem(peer, &redeem);
        let granted = redeem(account(secret, 1, first)).unwrap();
        let grant = granted.1.clone().unwrap();
        // The same home again, and the same key under other numbers: the same grant, bit by bit.
        for redeemer in [1, 2, 3, 4, 5] {
            let again = redeem(account(secret, redeemer, first)).unwrap().1.unwrap();
            assert_eq!(again.to_bytes(), grant.to_bytes());
        }
        // None of them was another use.
        let other = redeem(account(secret, 6, second)).unwrap().1.unwrap();
        assert_ne!(other.serial, grant.serial);
        let refused = redeem(account(secret, 7, key())).unwrap_err();
        assert_eq!(refused.refusal, Refusal::InviteUsedUp);
        // A use that went to one account does not go to another.
        let refused = redeem(account(secret, 1, key())).unwrap_err();
        assert_eq!(refused.refusal, Refusal::InviteUsedUp);
        // The node of a home that was granted is the same use; one of another home is not.
        let (certificate, again) = redeem(with_node(account(secret, 1, first))).unwrap();
        assert_eq!(certificate.unwrap().claim.node, peer);
        assert_eq!(again.unwrap().to_bytes(), grant.to_bytes());
        let refused = redeem(with_node(account(secret, 8, first))).unwrap_err();
        assert_eq!(refused.refusal, Refusal::InviteUsedUp);
    }

    #[test]
    fn no_key_is_granted_nothing() {
        let issuer = Issuer::new();
        let redeem = account(issuer.secret(1), 1, PublicKey([0; 32]));
        let refused = issuer.ledger().redeem(NodeId([2; 32]), &redeem).unwrap_err();
        assert_eq!(refused.refusal, Refusal::NotPermitted);
    }
}
