//! What is to be done for one segment. Pure: facts in, a judgement out.
//!
//! A shard is *present* if a member that answers says that it holds it, *away* if its holder is
//! silent, and *unseen* if nobody who answers has it and no silent member accounts for it: it was
//! never stored (owed by its put), or its holder lost it. Silence may end, so an away shard is waited
//! for; an unseen one does not come back by itself and is waited for only as long as a put may still
//! be on its way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::{Domain, NodeId, Scheme};

/// How a holder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It answers.
    Here,
    /// It answers and is about to leave: its shards are wanted elsewhere.
    Leaving,
    /// It has been silent for that many milliseconds.
    Away(u64),
}

/// A shard and a node that holds it, or held it when it was last heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Which shard.
    pub shard: u8,
    /// The node.
    pub node: NodeId,
    /// What the node fails together with.
    pub domain: Domain,
    /// How it stands.
    pub presence: Presence,
}

/// What is known of one segment.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Its scheme.
    pub scheme: Scheme,
    /// Who holds its shards.
    pub holdings: &'a [Holding],
    /// For shards that nobody accounts for: milliseconds since that was first seen.
    pub unseen: &'a BTreeMap<u8, u64>,
    /// Failure domains with a member that takes shards.
    pub domains: &'a BTreeSet<Domain>,
}

/// When a loss is acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A holder that has been silent for less is not yet missed, in milliseconds.
    pub offline_ms: u64,
    /// One shard that is away is waited for so long, in milliseconds.
    pub grace_ms: u64,
    /// A shard that nobody accounts for is waited for so long, in milliseconds: it may be on its
    /// way from a writer.
    pub settle_ms: u64,
    /// Many members fell silent together: only segments without margin are repaired.
    pub storm: bool,
}

impl Rules {
    /// Everything that is missing is missed at once: somebody asked for a repair now.
    pub const NOW: Self = Self { offline_ms: 0, grace_ms: 0, settle_ms: 0, storm: false };
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Rest,
    /// Nothing yet: look again after that many milliseconds.
    Later(u64),
    /// Rebuild shards and place them.
    Rebuild,
    /// Copy shards whose bytes are there: their holders share a domain, or leave.
    Copy,
    /// Nothing can be placed before there are more failure domains.
    Wait,
    /// Fewer than k shards are there.
    Lost,
}

/// What is found of a segment and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Distinct present shards above k; negative where the segment cannot be read now.
    pub margin: i32,
    /// Shards that are not present.
    pub missing: Vec<u8>,
    /// Present shards that have no failure domain of their own.
    pub overlap: usize,
    /// How long the oldest loss has lasted, in milliseconds.
    pub age_ms: u64,
    /// What is to be done.
    pub action: Action,
    /// Shards to rebuild now, as many as there are domains for.
    pub rebuild: Vec<u8>,
    /// Shards to copy now, as many as there are domains for.
    pub copy: Vec<u8>,
    /// Shards that want a place and have no failure domain to go to.
    pub waiting: Vec<u8>,
    /// Present holders that have a failure domain to themselves, one for each shard: new shards
    /// stay out of their domains.
    pub settled: Vec<(u8, NodeId)>,
    /// Shards may share domains: they do already.
    pub relaxed: bool,
    /// No shard may be lost any more: this comes before everything and outside of the budget.
    pub urgent: bool,
}

/// Order of work: the first in this order is done first.
pub type Priority = (i32, Reverse<u8>, Reverse<usize>, Reverse<u64>);

impl Judgement {
    /// Where in the order of work the segment stands, whose owner pinned it with `pin`; 0 where it is not
    /// pinned. The margin comes before what the owner wishes: nobody's file is lost for another's.
    pub fn priority(&self, pin: u8) -> Priority {
        (self.margin, Reverse(pin), Reverse(self.overlap), Reverse(self.age_ms))
    }
}

/// Gives as many shards as possible a failure domain of their own: shard → holder.
pub(super) fn spread<'a>(scheme: Scheme, here: &[&'a Holding]) -> BTreeMap<u8, &'a Holding> {
    let mut owner: BTreeMap<&Domain, &'a Holding> = BTreeMap::new();
    for shard in 0..scheme.n() as u8 {
        settle(shard, here, &mut owner, &mut BTreeSet::new());
    }
    owner.into_values().map(|holding| (holding.shard, holding)).collect()
}

/// Finds a domain for `shard`, where need be by moving others (Kuhn's augmenting paths, at most as
/// deep as there are shards).
fn settle<'a>(
    shard: u8,
    here: &[&'a Holding],
    owner: &mut BTreeMap<&'a Domain, &'a Holding>,
    seen: &mut BTreeSet<&'a Domain>,
) -> bool {
    for holding in here.iter().filter(|holding| holding.shard == shard) {
        if !seen.insert(&holding.domain) {
            continue;
        }
        let other = owner.get(&holding.domain).map(|other| other.shard);
        if other.is_none_or(|other| settle(other, here, owner, seen)) {
            owner.insert(&holding.domain, holding);
            return true;
        }
    }
    false
}

/// Whether a copy of a shard is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spare {
    /// The others have all shards, in as many failure domains as with it.
    Yes,
    /// The others have its shard, and not all shards: while that is so, it stays.
    Later,
    /// Nobody who stays has its shard, or a failure domain would be lost with it.
    No,
}

/// Judges one node's copy of a shard, beside what others hold.
pub fn spare(scheme: Scheme, others: &[Holding], own: &Holding) -> Spare {
    let n = scheme.n() as u8;
    let mut here: Vec<&Holding> = others
        .iter()
        .filter(|holding| holding.shard < n && holding.presence == Presence::Here)
        .collect();
    if !here.iter().any(|holding| holding.shard == own.shard && holding.node != own.node) {
        return Spare::No;
    }
    here.sort_by_key(|holding| (holding.shard, holding.node));
    let without = spread(scheme, &here).len();
    let shards: BTreeSet<u8> = here.iter().map(|holding| holding.shard).collect();
    here.push(own);
    if spread(scheme, &here).len() > without {
        Spare::No
    } else if shards.len() < usize::from(n) {
        Spare::Later
    } else {
        Spare::Yes
    }
}

/// Judges one segment.
pub fn judge(facts: &Facts<'_>, rules: &Rules) -> Judgement {
    let (scheme, n) = (facts.scheme, facts.scheme.n() as u8);
    let known = || facts.holdings.iter().filter(|holding| holding.shard < n);
    let answering: BTreeSet<u8> = known()
        .filter(|holding| !matches!(holding.presence, Presence::Away(_)))
        .map(|holding| holding.shard)
        .collect();
    let mut here: Vec<&Holding> =
        known().filter(|holding| holding.presence == Presence::Here).collect();
    here.sort_by_key(|holding| (holding.shard, holding.node));
    let own = spread(scheme, &here);
    let staying: BTreeSet<u8> = here.iter().map(|holding| holding.shard).collect();
    let overlap = staying.len() - own.len();

    let missing: Vec<u8> = (0..n).filter(|shard| !answering.contains(shard)).collect();
    // Milliseconds that each missing shard has been missing, and until it is missed.
    let mut ripe = Vec::new();
    let mut ripens: Option<u64> = None;
    let mut age_ms = 0;
    let mut all_away = true;
    for shard in &missing {
        let away = known()
            .filter(|holding| holding.shard == *shard)
            .filter_map(|holding| match holding.presence {
                Presence::Away(ms) => Some(ms),
                _ => None,
            })
            .min();
        let (lost_ms, wait) = match away {
            Some(ms) => (ms, rules.offline_ms),
            None => (facts.unseen.get(shard).copied().unwrap_or(0), rules.settle_ms),
        };
        age_ms = age_ms.max(lost_ms);
        if lost_ms < wait {
            ripens = Some(ripens.unwrap_or(u64::MAX).min(wait - lost_ms));
        } else {
            all_away &= away.is_some();
            ripe.push(*shard);
        }
    }

    let margin = answering.len() as i32 - scheme.k() as i32;
    // What is not missed yet may be there after all.
    let firm_margin = i32::from(n) - ripe.len() as i32 - scheme.k() as i32;
    let urgent = !ripe.is_empty() && firm_margin <= 0;
    let mut judgement = Judgement {
        margin,
        missing,
        overlap,
        age_ms,
        action: Action::Rest,
        rebuild: Vec::new(),
        copy: Vec::new(),
        waiting: Vec::new(),
        settled: own.iter().map(|(shard, holding)| (*shard, holding.node)).collect(),
        relaxed: overlap > 0,
        urgent,
    };
    if margin < 0 {
        judgement.action = ripens.map_or(Action::Lost, Action::Later);
        return judgement;
    }
    let mut due = ripe;
    if !due.is_empty() && !urgent {
        if rules.storm {
            ripens = Some(ripens.unwrap_or(u64::MAX).min(rules.offline_ms.max(1)));
            due.clear();
        } else if due.len() == 1 && all_away && age_ms < rules.grace_ms {
            ripens = Some(ripens.unwrap_or(u64::MAX).min(rules.grace_ms - age_ms));
            due.clear();
        }
    }
    // Shards that only leaving nodes hold, then those that share a domain.
    let leaving: Vec<u8> =
        answering.iter().filter(|shard| !staying.contains(shard)).copied().collect();
    let crowded: Vec<u8> =
        staying.iter().filter(|shard| !own.contains_key(shard)).copied().collect();
    let taken: BTreeSet<&Domain> = own.values().map(|holding| &holding.domain).collect();
    let free = facts.domains.iter().filter(|domain| !taken.contains(domain)).count();
    let any = !facts.domains.is_empty();
    let mut places = if judgement.relaxed && any { usize::MAX } else { free };
    let mut give = |shards: Vec<u8>, places: &mut usize| {
        let given = shards.len().min(*places);
        *places -= given;
        let (now, waiting) = shards.split_at(given);
        judgement.waiting.extend_from_slice(waiting);
        now.to_vec()
    };
    let rebuild = give(due, &mut places);
    let mut copy = give(leaving, &mut places);
    // Shards that share a domain gain only by a domain of their own; without one they stay as
    // they were allowed to be.
    let spare = free.saturating_sub(rebuild.len() + copy.len());
    copy.extend(crowded.into_iter().take(spare));
    judgement.action = match (rebuild.is_empty(), copy.is_empty(), ripens) {
        (false, ..) => Action::Rebuild,
        (true, false, _) => Action::Copy,
        (true, true, Some(ms)) => Action::Later(ms),
        (true, true, None) if !judgement.waiting.is_empty() => Action::Wait,
        (true, true, None) => Action::Rest,
    };
    judgement.rebuild = rebuild;
    judgement.copy = copy;
    judgement
}
