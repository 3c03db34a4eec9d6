//! Placement keeps its rules, moves little, and gives everybody the same answer.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::{NodeId, Scheme, SegmentId};
use datamesh_engine::placement::{Candidate, Spread, Walk, ranking};
use proptest::prelude::*;

fn node(i: usize) -> NodeId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(i as u64 + 1).to_le_bytes());
    NodeId(id)
}

fn segment(i: u64) -> SegmentId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&i.to_le_bytes());
    SegmentId(id)
}

fn candidate(i: usize, domain: &str, weight: u64) -> Candidate {
    #[expect(clippy::unwrap_used, reason = "the tests name valid domains only")]
    let domain = domain.parse().unwrap();
    Candidate {
        node: node(i),
        domain,
        operator: format!("op-{i}"),
        subnet: None,
        weight,
        eligible: true,
    }
}

fn chosen(
    segment: &SegmentId,
    scheme: Scheme,
    candidates: &[Candidate],
    spread: Spread,
) -> Vec<NodeId> {
    let mut walk = Walk::new(segment, scheme, candidates, spread);
    (0..scheme.n()).map_while(|_| walk.next_holder()).collect()
}

fn domain_of<'a>(candidates: &'a [Candidate], node: &NodeId) -> Option<&'a str> {
    candidates.iter().find(|candidate| candidate.node == *node).map(|c| c.domain.as_str())
}

proptest! {
    #[test]
    fn no_two_shards_share_a_domain_and_the_order_of_the_view_does_not_matter(
        domains in proptest::collection::vec(0usize..12, 1..40), seed in any::<u64>(),
    ) {
        let candidates: Vec<Candidate> = domains
            .iter().enumerate().map(|(i, d)| candidate(i, &format!("rack-{d}"), 10)).collect();
        let holders = chosen(&segment(seed), Scheme::FOUR_TWO, &candidates, Spread::Strict);
        let used: BTreeSet<_> = holders.iter().map(|h| domain_of(&candidates, h)).collect();
        prop_assert_eq!(used.len(), holders.len());
        let distinct: BTreeSet<_> = domains.iter().collect();
        prop_assert_eq!(holders.len(), distinct.len().min(6));
        let mut reversed = candidates.clone();
        reversed.reverse();
        prop_assert_eq!(
            holders, chosen(&segment(seed), Scheme::FOUR_TWO, &reversed, Spread::Strict));
    }

    #[test]
    fn a_node_that_goes_moves_only_what_it_had(gone in 0usize..20, seed in any::<u64>()) {
        let all: Vec<Candidate> = (0..20).map(|i| candidate(i, &format!("host-{i}"), 10)).collect();
        let left: Vec<Candidate> = all.iter().filter(|c| c.node != node(gone)).cloned().collect();
        let rank = |candidates: &[Candidate]| -> Vec<NodeId> {
            ranking(&segment(seed), candidates).iter().map(|c| c.node).collect()
        };
        let before: Vec<NodeId> = rank(&all).into_iter().filter(|n| *n != node(gone)).collect();
        prop_assert_eq!(before, rank(&left));
    }

    #[test]
    fn a_failed_holder_is_replaced_by_one_of_another_domain(
        seed in any::<u64>(), fail in 0usize..6,
    ) {
        let candidates: Vec<Candidate> =
            (0..9).map(|i| candidate(i, &format!("host-{i}"), 10)).collect();
        let mut walk = Walk::new(&segment(seed), Scheme::FOUR_TWO, &candidates, Spread::Strict);
        let mut holders: Vec<NodeId> = (0..6).map_while(|_| walk.next_holder()).collect();
        let failed = holders.remove(fail);
        walk.failed(&failed);
        while let Some(spare) = walk.next_holder() {
            prop_assert!(spare != failed && !holders.contains(&spare));
            holders.push(spare);
        }
        prop_assert_eq!(holders.len(), 8);
    }
}

#[test]
fn shares_follow_the_weights() {
    let candidates: Vec<Candidate> =
        (0..12).map(|i| candidate(i, &format!("host-{i}"), if i < 6 { 10 } else { 30 })).collect();
    let mut firsts: BTreeMap<NodeId, u32> = BTreeMap::new();
    for i in 0..12_000 {
        let first = ranking(&segment(i), &candidates)[0].node;
        *firsts.entry(first).or_default() += 1;
    }
    // 6 × 10 + 6 × 30 = 240 parts of 12,000 firsts: 500 and 1,500 each, give or take five sigma.
    for i in 0..12 {
        let expected = if i < 6 { 500.0f64 } else { 1500.0 };
        let got = f64::from(firsts[&node(i)]);
        assert!((got - expected).abs() < 5.0 * expected.sqrt(), "node {i}: {got}");
    }
}

#[test]
fn a_zone_gets_at_most_m_shards_where_there_are_zones_enough() {
    let candidates: Vec<Candidate> =
        (0..12).map(|i| candidate(i, &format!("zone-{}/host-{i}", i % 3), 10)).collect();
    for i in 0..200 {
        let holders = chosen(&segment(i), Scheme::FOUR_TWO, &candidates, Spread::Strict);
        assert_eq!(holders.len(), 6);
        for zone in ["zone-0", "zone-1", "zone-2"] {
            let here = holders
                .iter()
                .filter(|h| domain_of(&candidates, h).is_some_and(|d| d.starts_with(zone)))
                .count();
            assert_eq!(here, 2, "{zone}");
        }
    }
}

#[test]
fn an_uneven_mesh_is_still_used_and_spread_as_evenly_as_it_can_be() {
    // Two zones of one host each and one of ten: m a zone would find four holders only.
    let zone = |i: usize| if i < 2 { i } else { 2 };
    let candidates: Vec<Candidate> =
        (0..12).map(|i| candidate(i, &format!("zone-{}/host-{i}", zone(i)), 10)).collect();
    for i in 0..50 {
        let holders = chosen(&segment(i), Scheme::FOUR_TWO, &candidates, Spread::Strict);
        assert_eq!(holders.len(), 6);
        assert!(holders.contains(&node(0)) && holders.contains(&node(1)));
    }
}

#[test]
fn relaxed_spread_uses_every_node_before_it_uses_one_twice() {
    let candidates: Vec<Candidate> =
        (0..4).map(|i| candidate(i, &format!("rack-{}", i % 2), 10)).collect();
    for i in 0..50 {
        let holders = chosen(&segment(i), Scheme::FOUR_TWO, &candidates, Spread::Relaxed);
        assert_eq!(holders.len(), 6);
        let strict = chosen(&segment(i), Scheme::FOUR_TWO, &candidates, Spread::Strict);
        assert_eq!(strict.len(), 2);
        for n in 0..4 {
            let here = holders.iter().filter(|h| **h == node(n)).count();
            assert!((1..=2).contains(&here), "node {n} has {here}");
        }
    }
}

#[test]
fn nodes_that_take_nothing_are_passed_over() {
    let mut candidates: Vec<Candidate> =
        (0..7).map(|i| candidate(i, &format!("host-{i}"), 10)).collect();
    candidates[3].eligible = false;
    for i in 0..50 {
        let holders = chosen(&segment(i), Scheme::FOUR_TWO, &candidates, Spread::Strict);
        assert!(!holders.contains(&node(3)));
        assert_eq!(holders.len(), 6);
    }
}
