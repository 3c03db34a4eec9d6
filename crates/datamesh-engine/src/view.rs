//! The membership view: all current adverts that this node knows, and how fresh each is.
//!
//! A view is an opinion. Two nodes may differ for a minute; nothing but efficiency rests on it.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::certificate::AdmissionError;
use datamesh_core::message::DigestEntry;
use datamesh_core::{Advert, Genesis, MeshId, NodeId, Scheme, SignatureError, Timestamp};

use crate::placement::Candidate;

/// Most members that a view holds. Adverts beyond it are refused: each costs about 1 KiB.
pub(crate) const MEMBERS_MAX: usize = 16_384;

/// After this long without a word a member is gone and no longer counted: 30 days.
const GONE_AFTER_MS: u64 = 30 * 24 * 3600 * 1000;

/// Free sixteenths below which a node takes nothing new.
const FREE_CLASS_MIN: u8 = 1;

/// How a member stands, as seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Heard of within `offline_after`.
    Alive,
    /// Not heard of for `offline_after`, or it did not answer when it was last asked.
    Silent,
    /// Leaving: serves, takes nothing new.
    Draining,
    /// Not heard of for 30 days.
    Gone,
}

/// One member.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its newest advert.
    pub advert: Advert,
    /// When it was last heard of here: a newer advert, or an answer.
    pub heard: Timestamp,
    /// It did not answer when it was last asked directly.
    pub unanswered: bool,
}

/// Why an advert is not taken into the view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdvertError {
    /// Its node is not admitted.
    #[error("the node is not admitted")]
    Admission(#[from] AdmissionError),
    /// The node did not sign it.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It has expired.
    #[error("the advert has expired")]
    Expired,
    /// The view is full.
    #[error("the view has {MEMBERS_MAX} members and takes no more")]
    Full,
}

/// The view.
#[derive(Debug)]
pub struct View {
    mesh: MeshId,
    genesis: Genesis,
    offline_after_ms: u64,
    members: BTreeMap<NodeId, Member>,
}

impl View {
    /// An empty view of a mesh. `offline_after_ms` is `membership.offline_after`.
    pub fn new(genesis: Genesis, offline_after_ms: u64) -> Self {
        Self { mesh: genesis.mesh_id(), genesis, offline_after_ms, members: BTreeMap::new() }
    }

    /// The mesh.
    pub fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// The mesh's first record.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Takes an advert in if it is valid and newer than what is known. Says whether it was newer.
    ///
    /// # Errors
    /// [`AdvertError`] for adverts of nodes that are not admitted, forged and expired ones.
    pub fn learn(&mut self, advert: Advert, now: Timestamp) -> Result<bool, AdvertError> {
        self.take(advert, now, now)
    }

    /// Takes an advert in that was kept over a restart. Its sequence is the time at which its node
    /// signed it, so a node that has been silent since does not look alive again.
    ///
    /// # Errors
    /// As [`learn`](Self::learn).
    pub fn recall(&mut self, advert: Advert, now: Timestamp) -> Result<bool, AdvertError> {
        let signed = advert.sequence.min(now);
        self.take(advert, now, signed)
    }

    fn take(
        &mut self,
        advert: Advert,
        now: Timestamp,
        heard: Timestamp,
    ) -> Result<bool, AdvertError> {
        let node = advert.node();
        let known = self.members.get(&node);
        if known.is_some_and(|member| member.advert.sequence >= advert.sequence) {
            return Ok(false);
        }
        if advert.expiry <= now {
            return Err(AdvertError::Expired);
        }
        if known.is_none() && self.members.len() >= MEMBERS_MAX {
            return Err(AdvertError::Full);
        }
        let known = known.map(|member| &member.advert.certificate);
        if known == Some(&advert.certificate) {
            // Its signatures were verified when it was taken in: most adverts bring none but their own.
            advert.certificate.check_times(now)?;
        } else {
            advert.certificate.verify(&self.genesis.authority, &self.mesh, now)?;
        }
        advert.verify(&self.mesh)?;
        self.members.insert(node, Member { advert, heard, unanswered: false });
        Ok(true)
    }

    /// A member answered.
    pub fn answered(&mut self, node: &NodeId, now: Timestamp) {
        if let Some(member) = self.members.get_mut(node) {
            member.heard = member.heard.max(now);
            member.unanswered = false;
        }
    }

    /// A member could not be reached. It counts as silent until it is heard of again.
    pub fn unanswered(&mut self, node: &NodeId) {
        if let Some(member) = self.members.get_mut(node) {
            member.unanswered = true;
        }
    }

    /// How a member stands.
    pub fn standing(&self, member: &Member, now: Timestamp) -> Standing {
        let silence = now.saturating_sub(member.heard);
        if silence > GONE_AFTER_MS {
            Standing::Gone
        } else if member.unanswered || silence > self.offline_after_ms {
            Standing::Silent
        } else if member.advert.draining {
            Standing::Draining
        } else {
            Standing::Alive
        }
    }

    /// All members in the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One member.
    pub fn member(&self, node: &NodeId) -> Option<&Member> {
        self.members.get(node)
    }

    /// Distinct failure domains of the members that are not gone: what the scheme follows.
    pub fn domains(&self, now: Timestamp) -> usize {
        self.members
            .values()
            .filter(|member| self.standing(member, now) != Standing::Gone)
            .map(|member| &member.advert.certificate.claim.domain)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Distinct failure domains of the members that would take a shard now.
    pub fn domains_alive(&self, now: Timestamp) -> usize {
        self.members
            .values()
            .filter(|member| self.standing(member, now) == Standing::Alive)
            .map(|member| &member.advert.certificate.claim.domain)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// The scheme for files in this mesh as it is; none below six domains.
    pub fn scheme(&self, now: Timestamp) -> Option<Scheme> {
        Scheme::for_domains(self.domains(now))
    }

    /// The members as placement sees them; those that are gone are left out.
    pub fn candidates(&self, now: Timestamp) -> Vec<Candidate> {
        let known = self.members.values().map(|member| (member, self.standing(member, now)));
        known
            .filter(|(_, standing)| *standing != Standing::Gone)
            .map(|(member, standing)| {
                let claim = &member.advert.certificate.claim;
                Candidate {
                    node: claim.node,
                    domain: claim.domain.clone(),
                    operator: claim.operator.clone(),
                    subnet: member.advert.addresses.iter().find_map(|text| subnet(text)),
                    weight: capacity_class(member.advert.counted_capacity()),
                    eligible: standing == Standing::Alive
                        && member.advert.free_class >= FREE_CLASS_MIN,
                }
            })
            .collect()
    }

    /// One page of what is known, in the order of ids after `after`.
    pub fn digest(&self, after: &NodeId, limit: usize) -> Vec<DigestEntry> {
        self.members
            .range((std::ops::Bound::Excluded(*after), std::ops::Bound::Unbounded))
            .take(limit)
            .map(|(node, member)| DigestEntry { node: *node, sequence: member.advert.sequence })
            .collect()
    }

    /// Adverts newer than `known` within the page after `after`, and nodes whose adverts are newer
    /// there. `complete` means that the page has no upper end. At most `limit` adverts; says
    /// whether there would be more.
    pub fn compare(
        &self,
        after: &NodeId,
        known: &[DigestEntry],
        complete: bool,
        limit: usize,
    ) -> (Vec<Advert>, Vec<NodeId>, bool) {
        let theirs: BTreeMap<NodeId, u64> =
            known.iter().map(|entry| (entry.node, entry.sequence)).collect();
        let upper = match theirs.last_key_value() {
            Some((last, _)) if !complete => std::ops::Bound::Included(*last),
            _ => std::ops::Bound::Unbounded,
        };
        let lower = std::ops::Bound::Excluded(*after);
        let page_valid = match upper {
            std::ops::Bound::Included(last) => last > *after,
            _ => true,
        };
        let mut newer = Vec::new();
        if page_valid {
            for (node, member) in self.members.range((lower, upper)) {
                if theirs.get(node).is_none_or(|sequence| *sequence < member.advert.sequence) {
                    newer.push(&member.advert);
                }
            }
        }
        let more = newer.len() > limit;
        let fresh = newer.into_iter().take(limit).cloned().collect();
        let wanted = theirs
            .iter()
            .filter(|(node, sequence)| {
                self.members.get(*node).is_none_or(|member| member.advert.sequence < **sequence)
            })
            .map(|(node, _)| *node)
            .collect();
        (fresh, wanted, more)
    }
}

/// Capacity in MiB, rounded down to its two highest bits, so that small changes move no shards.
fn capacity_class(bytes: u64) -> u64 {
    let mebibytes = (bytes >> 20).max(1);
    let low = mebibytes.ilog2().saturating_sub(1);
    mebibytes >> low << low
}

/// The /24 or /48 of a public address; nothing for loopback, private and link-local ones.
fn subnet(multiaddr: &str) -> Option<String> {
    let mut parts = multiaddr.split('/').skip(1);
    match (parts.next()?, parts.next()?) {
        ("ip4", text) => {
            let address: std::net::Ipv4Addr = text.parse().ok()?;
            let public = !(address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_unspecified());
            let [a, b, c, _] = address.octets();
            public.then(|| format!("{a}.{b}.{c}.0/24"))
        }
        ("ip6", text) => {
            let address: std::net::Ipv6Addr = text.parse().ok()?;
            let public = !(address.is_loopback()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || address.is_unspecified());
            let [a, b, c, ..] = address.segments();
            public.then(|| format!("{a:x}:{b:x}:{c:x}::/48"))
        }
        _ => None,
    }
}
