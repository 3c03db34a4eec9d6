//! What is judged of a segment, for whatever is found of it.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::{Domain, NodeId, Scheme};
use datamesh_engine::repair::checker::{Action, Facts, Holding, Judgement, Presence, Rules, judge};
use proptest::prelude::*;

const OFFLINE: u64 = 300;
const GRACE: u64 = 14_400;
const SETTLE: u64 = 30;

const RULES: Rules =
    Rules { offline_ms: OFFLINE, grace_ms: GRACE, settle_ms: SETTLE, storm: false };

fn domain(number: usize) -> Domain {
    #[expect(clippy::unwrap_used, reason = "the tests name valid domains only")]
    format!("host-{number}").parse().unwrap()
}

fn holding(shard: u8, node: usize, domains: usize, presence: Presence) -> Holding {
    let mut id = [0; 32];
    id[0] = node as u8 + 1;
    Holding { shard, node: NodeId(id), domain: domain(node % domains), presence }
}

/// What is found of a segment.
#[derive(Debug, Clone)]
struct Found {
    scheme: Scheme,
    holdings: Vec<Holding>,
    unseen: BTreeMap<u8, u64>,
    domains: BTreeSet<Domain>,
}

impl Found {
    fn judge(&self, rules: &Rules) -> Judgement {
        let facts = Facts {
            scheme: self.scheme,
            holdings: &self.holdings,
            unseen: &self.unseen,
            domains: &self.domains,
        };
        judge(&facts, rules)
    }

    /// Shards 0 to n − 1 at nodes of the same numbers, with these that are away.
    fn usual(away: &[(u8, u64)], domains: usize) -> Self {
        let presence = |shard| match away.iter().find(|(other, _)| *other == shard) {
            Some((_, ms)) => Presence::Away(*ms),
            None => Presence::Here,
        };
        let holdings =
            (0..6).map(|shard| holding(shard, usize::from(shard), 100, presence(shard))).collect();
        Self {
            scheme: Scheme::FOUR_TWO,
            holdings,
            unseen: BTreeMap::new(),
            domains: (0..domains).map(domain).collect(),
        }
    }
}

fn presence() -> impl Strategy<Value = Presence> {
    prop_oneof![
        4 => Just(Presence::Here),
        1 => Just(Presence::Leaving),
        2 => prop_oneof![0..OFFLINE, OFFLINE..GRACE, GRACE..3 * GRACE].prop_map(Presence::Away),
    ]
}

fn found() -> impl Strategy<Value = Found> {
    let scheme =
        prop_oneof![Just(Scheme::FOUR_TWO), Just(Scheme::EIGHT_FOUR), Just(Scheme::ONE_FIVE),];
    (scheme, 1usize..16, 0usize..16).prop_flat_map(|(scheme, domains, eligible)| {
        let n = scheme.n() as u8;
        let holdings = proptest::collection::vec((0..n, 0usize..16, presence()), 0..24);
        let unseen = proptest::collection::btree_map(0..n, 0..3 * SETTLE, 0..6);
        (holdings, unseen).prop_map(move |(holdings, unseen)| Found {
            scheme,
            holdings: holdings
                .into_iter()
                .map(|(shard, node, presence)| holding(shard, node, domains, presence))
                .collect(),
            unseen,
            domains: (0..eligible).map(domain).collect(),
        })
    })
}

/// The most shards that can have a failure domain of their own, by trying everything.
fn most(shards: &[BTreeSet<&Domain>], taken: &mut BTreeSet<Domain>) -> usize {
    let Some((first, rest)) = shards.split_first() else { return 0 };
    let mut best = most(rest, taken);
    for domain in first {
        if taken.insert((*domain).clone()) {
            best = best.max(1 + most(rest, taken));
            taken.remove(*domain);
        }
    }
    best
}

proptest! {
    #[test]
    fn a_judgement_fits_its_facts(found in found(), storm in any::<bool>()) {
        let rules = Rules { storm, ..RULES };
        let judged = found.judge(&rules);
        let answering: BTreeSet<u8> = found.holdings.iter()
            .filter(|h| !matches!(h.presence, Presence::Away(_))).map(|h| h.shard).collect();
        let (n, k) = (found.scheme.n(), found.scheme.k());
        prop_assert_eq!(judged.margin, answering.len() as i32 - k as i32);
        let missing: BTreeSet<u8> = judged.missing.iter().copied().collect();
        prop_assert_eq!(missing.len() + answering.len(), n);
        prop_assert!(missing.is_disjoint(&answering));
        // What is rebuilt is missing, what is copied is there, and what waits is neither.
        prop_assert!(judged.rebuild.iter().all(|shard| missing.contains(shard)));
        prop_assert!(judged.copy.iter().all(|shard| answering.contains(shard)));
        for shard in &judged.waiting {
            prop_assert!(!judged.rebuild.contains(shard) && !judged.copy.contains(shard));
        }
        match judged.action {
            Action::Rebuild => prop_assert!(!judged.rebuild.is_empty()),
            Action::Copy => prop_assert!(judged.rebuild.is_empty() && !judged.copy.is_empty()),
            Action::Wait => prop_assert!(!judged.waiting.is_empty()),
            Action::Lost => prop_assert!(judged.margin < 0),
            Action::Later(ms) => prop_assert!(ms > 0),
            Action::Rest => prop_assert!(
                judged.missing.is_empty() && judged.waiting.is_empty(), "{:?}", judged
            ),
        }
        // Below k nothing can be done, and nothing is.
        if judged.margin < 0 {
            prop_assert!(matches!(judged.action, Action::Lost | Action::Later(_)));
        }
        // In a storm only what cannot lose another shard is rebuilt.
        prop_assert!(!storm || judged.urgent || judged.rebuild.is_empty());
    }

    #[test]
    fn settled_holders_are_as_many_as_have_domains_of_their_own(found in found()) {
        let judged = found.judge(&RULES);
        let mut shards: BTreeMap<u8, BTreeSet<&Domain>> = BTreeMap::new();
        for holding in found.holdings.iter().filter(|h| h.presence == Presence::Here) {
            shards.entry(holding.shard).or_default().insert(&holding.domain);
        }
        // Trying everything takes too long for more.
        prop_assume!(shards.len() <= 7);
        let list: Vec<_> = shards.values().cloned().collect();
        let best = most(&list, &mut BTreeSet::new());
        prop_assert_eq!(judged.settled.len(), best);
        prop_assert_eq!(judged.overlap, shards.len() - best);
        let of = |node: &NodeId| {
            found.holdings.iter().find(|h| h.node == *node).map(|h| &h.domain)
        };
        let used: BTreeSet<_> = judged.settled.iter().map(|(_, node)| of(node)).collect();
        prop_assert_eq!(used.len(), best);
    }

    #[test]
    fn without_overlap_no_more_is_placed_than_there_are_free_domains(found in found()) {
        let judged = found.judge(&RULES);
        prop_assume!(!judged.relaxed);
        let taken: BTreeSet<&Domain> = judged.settled.iter()
            .filter_map(|(_, node)| found.holdings.iter().find(|h| h.node == *node))
            .map(|holding| &holding.domain).collect();
        let free = found.domains.iter().filter(|domain| !taken.contains(domain)).count();
        prop_assert!(judged.rebuild.len() + judged.copy.len() <= free);
    }

    #[test]
    fn one_silent_holder_is_waited_for_and_two_are_not(
        first in OFFLINE..3 * GRACE, second in OFFLINE..3 * GRACE, a in 0u8..6, b in 0u8..6,
    ) {
        let one = Found::usual(&[(a, first)], 100).judge(&RULES);
        match first < GRACE {
            true => prop_assert_eq!(one.action, Action::Later(GRACE - first)),
            false => prop_assert_eq!(one.rebuild, vec![a]),
        }
        prop_assume!(a != b);
        let two = Found::usual(&[(a, first), (b, second)], 100).judge(&RULES);
        prop_assert_eq!(&two.action, &Action::Rebuild);
        prop_assert!(two.urgent, "none may be lost any more");
        prop_assert_eq!(two.rebuild, vec![a.min(b), a.max(b)]);
        prop_assert_eq!(two.age_ms, first.max(second));
    }

    #[test]
    fn the_order_of_work_is_margin_then_pin_then_overlap_then_age(
        one in found(),
        other in found(),
        pins in any::<[u8; 2]>(),
    ) {
        let (one, other) = (one.judge(&RULES), other.judge(&RULES));
        let pins = pins.map(|pin| pin % 3);
        let before = one.priority(pins[0]) < other.priority(pins[1]);
        if one.margin != other.margin {
            prop_assert_eq!(before, one.margin < other.margin);
        } else if pins[0] != pins[1] {
            prop_assert_eq!(before, pins[0] > pins[1]);
        } else if one.overlap != other.overlap {
            prop_assert_eq!(before, one.overlap > other.overlap);
        } else {
            prop_assert_eq!(before, one.age_ms > other.age_ms);
        }
    }
}

#[test]
fn a_holder_that_is_silent_for_a_moment_is_not_missed() {
    let judged = Found::usual(&[(0, OFFLINE - 1), (1, 7)], 100).judge(&RULES);
    assert_eq!(judged.action, Action::Later(1));
    assert_eq!(judged.margin, 0);
    assert!(!judged.urgent, "nobody is missed yet");
}

#[test]
fn a_shard_that_nobody_accounts_for_waits_for_its_writer_alone() {
    let mut found = Found::usual(&[], 100);
    found.holdings.remove(3);
    let judged = found.judge(&RULES);
    assert_eq!(judged.action, Action::Later(SETTLE));
    found.unseen.insert(3, SETTLE);
    assert_eq!(found.judge(&RULES).rebuild, [3]);
    // A put that is on its way looks like a segment that is lost, and is let be.
    found.holdings.truncate(2);
    found.unseen.clear();
    assert_eq!(found.judge(&RULES).action, Action::Later(SETTLE));
    found.unseen = (2..6).map(|shard| (shard, SETTLE)).collect();
    assert_eq!(found.judge(&RULES).action, Action::Lost);
}

#[test]
fn without_a_free_domain_a_shard_waits_for_one() {
    let mut found = Found::usual(&[(5, GRACE)], 5);
    let judged = found.judge(&RULES);
    assert_eq!((judged.action, judged.waiting), (Action::Wait, vec![5]));
    found.domains.insert(domain(77));
    assert_eq!(found.judge(&RULES).rebuild, [5]);
}

#[test]
fn shards_that_share_domains_are_copied_to_domains_of_their_own() {
    let holdings = (0..6).map(|shard| holding(shard, usize::from(shard), 3, Presence::Here));
    let mut found = Found {
        scheme: Scheme::FOUR_TWO,
        holdings: holdings.collect(),
        unseen: BTreeMap::new(),
        domains: (0..3).map(domain).collect(),
    };
    assert_eq!(found.judge(&RULES).action, Action::Rest, "it was allowed to be so");
    found.domains.insert(domain(3));
    let judged = found.judge(&RULES);
    assert_eq!((judged.action, judged.copy.len(), judged.overlap), (Action::Copy, 1, 3));
    // One that is missing may share a domain too.
    found.domains.remove(&domain(3));
    found.holdings.remove(0);
    found.unseen.insert(0, SETTLE);
    assert_eq!(found.judge(&RULES).rebuild, [0]);
}

#[test]
fn what_only_leaving_nodes_hold_is_copied() {
    let mut found = Found::usual(&[], 100);
    found.holdings[2].presence = Presence::Leaving;
    let judged = found.judge(&RULES);
    assert_eq!((judged.action, judged.copy, judged.margin), (Action::Copy, vec![2], 2));
    found.holdings.push(holding(2, 50, 100, Presence::Here));
    assert_eq!(found.judge(&RULES).action, Action::Rest);
}
