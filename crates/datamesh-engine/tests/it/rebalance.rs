//! Which shard moves where: case by case, and until nothing moves any more.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::{NodeId, Scheme, SegmentId};
use datamesh_engine::placement::{Candidate, Spread, Walk, ranking};
use datamesh_engine::repair::checker::{Holding, Presence, Spare, spare};
use datamesh_engine::repair::rebalance::{Facts, Fill, Move, choose};
use proptest::prelude::*;

const SCHEME: Scheme = Scheme::FOUR_TWO;

fn segment(i: u64) -> SegmentId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&i.to_le_bytes());
    SegmentId(id)
}

fn candidate(i: usize, domain: &str, operator: &str) -> Candidate {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(i as u64 + 1).to_le_bytes());
    #[expect(clippy::unwrap_used, reason = "the tests name valid domains only")]
    let domain = domain.parse().unwrap();
    let operator = operator.to_owned();
    Candidate { node: NodeId(id), domain, operator, subnet: None, weight: 10, eligible: true }
}

fn hosts(count: usize) -> Vec<Candidate> {
    (0..count).map(|i| candidate(i, &format!("host-{i}"), &format!("op-{i}"))).collect()
}

fn exact(percent: u32) -> Fill {
    Fill::of_bytes(u64::from(percent), 100)
}

/// A shard, from where to where, and whether it is there already.
type Chosen = Option<(u8, usize, usize, bool)>;

type Prepare = Box<dyn Fn(&mut Case)>;

/// Eight nodes in the segment's order, of which the last six hold a shard each: the shards 0 to 5.
struct Case {
    candidates: Vec<Candidate>,
    order: Vec<NodeId>,
    holdings: Vec<Holding>,
    fills: BTreeMap<NodeId, Fill>,
    unfit: BTreeSet<NodeId>,
}

impl Case {
    fn new() -> Self {
        Self::of(hosts(8))
    }

    fn of(candidates: Vec<Candidate>) -> Self {
        let order: Vec<NodeId> =
            ranking(&segment(1), &candidates).iter().map(|candidate| candidate.node).collect();
        let mut case = Self {
            candidates,
            order: order.clone(),
            holdings: Vec::new(),
            fills: order.iter().map(|node| (*node, exact(60))).collect(),
            unfit: BTreeSet::new(),
        };
        for shard in 0..6 {
            case.holds(shard, 2 + usize::from(shard));
        }
        case
    }

    fn holds(&mut self, shard: u8, place: usize) -> &mut Self {
        let node = self.order[place];
        let found = self.candidates.iter().find(|candidate| candidate.node == node);
        if let Some(domain) = found.map(|candidate| candidate.domain.clone()) {
            self.holdings.push(Holding { shard, node, domain, presence: Presence::Here });
        }
        self
    }

    fn fill(&mut self, place: usize, fill: Fill) -> &mut Self {
        self.fills.insert(self.order[place], fill);
        self
    }

    fn change(&mut self, change: impl FnOnce(&mut Self)) -> &mut Self {
        change(self);
        self
    }

    /// The move, by places in the order.
    fn chosen(&self) -> Chosen {
        let Move { shard, from, to, held } = choose(&Facts {
            segment: segment(1),
            scheme: SCHEME,
            holdings: &self.holdings,
            candidates: &self.candidates,
            fills: &self.fills,
            unfit: &self.unfit,
        })?;
        let place = |node| self.order.iter().position(|other| *other == node);
        Some((shard, place(from)?, place(to)?, held))
    }
}

#[test]
fn a_move_needs_ten_points_a_better_place_and_a_whole_segment() {
    let empty = exact(0);
    let candidate_of = |case: &mut Case, place: usize| {
        let node = case.order[place];
        case.candidates.iter().position(|candidate| candidate.node == node).unwrap_or_default()
    };
    let table: Vec<(&str, Prepare, Chosen)> = vec![
        ("all are as full", Box::new(|_| {}), None),
        (
            "the last one gives to the first",
            Box::new(move |c| {
                c.fill(0, empty).fill(1, empty);
            }),
            Some((5, 7, 0, false)),
        ),
        (
            "the first one is too full, the second is not",
            Box::new(move |c| {
                c.fill(1, empty);
            }),
            Some((5, 7, 1, false)),
        ),
        (
            "ten points are not enough",
            Box::new(|c| {
                c.fill(0, exact(50));
            }),
            None,
        ),
        (
            "more than ten are",
            Box::new(|c| {
                c.fill(0, Fill::of_bytes(4999, 10_000));
            }),
            Some((5, 7, 0, false)),
        ),
        (
            "who is not fuller keeps its shard and the next one gives",
            Box::new(move |c| {
                c.fill(0, empty).fill(7, exact(5));
            }),
            Some((4, 6, 0, false)),
        ),
        (
            "of whom that is not certain is waited for",
            Box::new(move |c| {
                let perhaps = Fill { at_least: 500, at_most: 1125 };
                c.fill(0, empty).fill(7, perhaps);
            }),
            None,
        ),
        (
            "an empty node that the ranking does not prefer gets nothing",
            Box::new(move |c| {
                c.holdings.clear();
                for shard in 0..6 {
                    c.holds(shard, usize::from(shard));
                }
                c.fill(6, empty).fill(7, empty);
            }),
            None,
        ),
        (
            "an empty holder gets no second shard",
            Box::new(move |c| {
                c.fill(2, empty).fill(3, empty);
            }),
            None,
        ),
        (
            "a node that takes nothing gets nothing",
            Box::new(move |c| {
                let at = candidate_of(c, 0);
                c.candidates[at].eligible = false;
                c.fill(0, empty);
            }),
            None,
        ),
        (
            "one that was caught without a shard gets none",
            Box::new(move |c| {
                c.unfit.insert(c.order[0]);
                c.fill(0, empty);
            }),
            None,
        ),
        (
            "a domain that has a shard gets no other",
            Box::new(move |c| {
                let (new, old) = (candidate_of(c, 0), candidate_of(c, 3));
                c.candidates[new].domain = c.candidates[old].domain.clone();
                c.fill(0, empty);
            }),
            // But the shard that it has may move within it.
            Some((1, 3, 0, false)),
        ),
        (
            "a missing shard is repair's",
            Box::new(move |c| {
                c.holdings.retain(|holding| holding.shard != 2);
                c.fill(0, empty);
            }),
            None,
        ),
        (
            "a holder that is silent, too",
            Box::new(move |c| {
                c.holdings[2].presence = Presence::Away(1);
                c.fill(0, empty);
            }),
            None,
        ),
        (
            "and one that leaves",
            Box::new(move |c| {
                c.holdings[2].presence = Presence::Leaving;
                c.fill(0, empty);
            }),
            None,
        ),
        (
            "shards that share a domain are repair's",
            Box::new(move |c| {
                c.holdings[2].node = c.holdings[3].node;
                c.holdings[2].domain = c.holdings[3].domain.clone();
                c.fill(0, empty);
            }),
            None,
        ),
        (
            "a copy too many is given up without another",
            Box::new(move |c| {
                c.holds(5, 0).fill(0, empty);
            }),
            Some((5, 7, 0, true)),
        ),
        (
            "but not where nodes are as full",
            Box::new(|c| {
                c.holds(5, 0);
            }),
            None,
        ),
        (
            "who has a copy too many of one shard gets no other",
            Box::new(move |c| {
                c.holds(4, 0).fill(0, empty).fill(6, exact(0));
            }),
            None,
        ),
    ];
    for (what, prepare, expected) in table {
        let mut case = Case::new();
        case.change(|case| prepare(case));
        assert_eq!(case.chosen(), expected, "{what}");
    }
}

#[test]
fn the_levels_above_the_domain_keep_their_bound() {
    // The two that are preferred are of an operator who has m shards already.
    let plain = Case::new();
    let places: BTreeMap<NodeId, usize> =
        plain.order.iter().enumerate().map(|(place, node)| (*node, place)).collect();
    let mut candidates = plain.candidates;
    for other in &mut candidates {
        let place = places[&other.node];
        other.operator =
            if [0, 1, 2, 3].contains(&place) { "one".into() } else { format!("{place}") };
    }
    let mut case = Case::of(candidates);
    case.fill(0, exact(0)).fill(1, exact(0));
    // Only a shard of the same operator may go there.
    assert_eq!(case.chosen(), Some((1, 3, 0, false)));
}

#[test]
fn what_an_advert_says_of_fill_holds_whatever_is_behind_it() {
    for free in 0..=1600_u64 {
        let class = (free * 16 / 1600) as u8;
        let (exact, said) = (Fill::of_bytes(1600 - free, 1600), Fill::of_class(class));
        assert!(said.at_least <= exact.at_least && exact.at_most <= said.at_most, "{free}");
    }
    assert_eq!(Fill::of_class(16), Fill { at_least: 0, at_most: 0 });
}

#[test]
fn a_copy_is_spare_only_where_the_others_have_as_much() {
    let case = Case::new();
    let own = |place: usize, shard| {
        let mut one = Case::new();
        one.holdings.clear();
        one.holds(shard, place);
        one.holdings.remove(0)
    };
    let judge = |others: &[Holding], own: &Holding| spare(SCHEME, others, own);
    assert_eq!(judge(&case.holdings, &own(0, 3)), Spare::Yes);
    let but = |shard: u8| -> Vec<Holding> {
        case.holdings.iter().filter(|holding| holding.shard != shard).cloned().collect()
    };
    assert_eq!(judge(&but(3), &own(0, 3)), Spare::No, "nobody else has it");
    assert_eq!(judge(&but(2), &own(0, 3)), Spare::Later, "another one is missing");
    let mut leaves = case.holdings.clone();
    leaves[3].presence = Presence::Leaving;
    assert_eq!(judge(&leaves, &own(0, 3)), Spare::No, "who has it leaves");
    leaves[3].presence = Presence::Here;
    leaves[2].presence = Presence::Leaving;
    assert_eq!(judge(&leaves, &own(0, 3)), Spare::Later, "another one's holder leaves");
    let mut crowded = case.holdings.clone();
    crowded[3].node = crowded[2].node;
    crowded[3].domain = crowded[2].domain.clone();
    assert_eq!(judge(&crowded, &own(0, 3)), Spare::No, "its domain would be lost");
}

/// A mesh of which the nodes behind `old` have just joined.
struct Filling {
    candidates: Vec<Candidate>,
    /// The holder of each shard of each segment.
    segments: Vec<Vec<NodeId>>,
    room: u64,
}

impl Filling {
    fn new(old: usize, joined: usize, segments: u64, percent: u64) -> Self {
        let candidates = hosts(old + joined);
        let placed = (0..segments).map(|number| {
            let mut walk = Walk::new(&segment(number), SCHEME, &candidates[..old], Spread::Strict);
            (0..SCHEME.n()).map_while(|_| walk.next_holder()).collect()
        });
        let segments: Vec<Vec<NodeId>> = placed.collect();
        let each = segments.len() as u64 * SCHEME.n() as u64 / old as u64;
        Self { candidates, segments, room: each * 100 / percent }
    }

    fn fills(&self) -> BTreeMap<NodeId, Fill> {
        let mut shards: BTreeMap<NodeId, u64> =
            self.candidates.iter().map(|candidate| (candidate.node, 0)).collect();
        for node in self.segments.iter().flatten() {
            *shards.entry(*node).or_default() += 1;
        }
        shards.into_iter().map(|(node, used)| (node, Fill::of_bytes(used, self.room))).collect()
    }

    /// One pass over all segments, by what adverts said before it and the node that gives knows now.
    /// Returns how many shards moved.
    fn pass(&mut self) -> usize {
        let said: BTreeMap<NodeId, Fill> = self
            .fills()
            .iter()
            .map(|(node, fill)| {
                (*node, Fill::of_class(((10_000 - fill.at_most) * 16 / 10_000) as u8))
            })
            .collect();
        let mut moved = 0;
        for number in 0..self.segments.len() {
            let holdings: Vec<Holding> = self.segments[number]
                .iter()
                .zip(0..)
                .filter_map(|(node, shard)| {
                    let found = self.candidates.iter().find(|other| other.node == *node)?;
                    let domain = found.domain.clone();
                    Some(Holding { shard, node: *node, domain, presence: Presence::Here })
                })
                .collect();
            let now = self.fills();
            for own in self.segments[number].clone() {
                let mut fills = said.clone();
                fills.insert(own, now[&own]);
                let chosen = choose(&Facts {
                    segment: segment(number as u64),
                    scheme: SCHEME,
                    holdings: &holdings,
                    candidates: &self.candidates,
                    fills: &fills,
                    unfit: &BTreeSet::new(),
                });
                let Some(chosen) = chosen.filter(|chosen| chosen.from == own) else { continue };
                self.segments[number][usize::from(chosen.shard)] = chosen.to;
                moved += 1;
                break;
            }
            let distinct: BTreeSet<&NodeId> = self.segments[number].iter().collect();
            assert_eq!(distinct.len(), SCHEME.n(), "two shards are on one node");
        }
        moved
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn nodes_that_join_are_filled_until_all_is_even_and_then_nothing_moves(
        old in 6_usize..16, joined in 1_usize..8, percent in 20_u64..95,
    ) {
        let mut mesh = Filling::new(old, joined, 300, percent);
        let shards = mesh.segments.len() * SCHEME.n();
        let (mut moved, mut passes) = (0, 0);
        loop {
            let now = mesh.pass();
            moved += now;
            passes += 1;
            prop_assert!(passes < 60, "{moved} moves and no end");
            if now == 0 {
                break;
            }
        }
        // Never more than twice what a fresh placement would have given to the new ones.
        prop_assert!(moved <= 2 * shards * joined / (old + joined) + 50, "{moved} of {shards}");
        let fills = mesh.fills();
        let (least, most) = (fills.values().map(|f| f.at_most).min(), fills.values().map(|f| f.at_most).max());
        // Ten points, a sixteenth that an advert does not tell, and chance in so few segments.
        let even = percent as u32 * 100 * old as u32 / (old + joined) as u32;
        let bound = 1000 + 625 + even / 2;
        prop_assert!(most.unwrap_or(0) - least.unwrap_or(0) <= bound, "{fills:?}");
    }
}
