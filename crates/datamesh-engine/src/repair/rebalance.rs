//! Which shard of a segment goes where, so that nodes fill evenly. Pure: facts in, a move out.
//!
//! A shard only ever goes to a node that stands before its holder in the segment's ranking, by the
//! rules of a put, and only where the holder is fuller by more than [`POINTS`]. So the moves of a
//! segment are few: each brings it nearer to where a put would store it now, and none ever goes
//! back. All holders see the same and choose the same move; the one that gives acts.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::{Domain, NodeId, Scheme, SegmentId};

use super::checker::{Holding, Presence, spread};
use crate::placement::{Candidate, Places, ranking};

/// A difference of fill above which shards move, in hundredths of a percent: ten points.
pub const POINTS: u32 = 1000;

/// All of a node's room, in hundredths of a percent.
const ALL: u32 = 10_000;

/// How full a node is, in hundredths of a percent, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Not less than this.
    pub at_least: u32,
    /// Not more than this.
    pub at_most: u32,
}

impl Fill {
    /// What an advert says, which tells free sixteenths, rounded down.
    pub fn of_class(free_class: u8) -> Self {
        let sixteenths = u32::from(free_class.min(16));
        let at_most = ALL - sixteenths * (ALL / 16);
        Self { at_least: ALL.saturating_sub((sixteenths + 1) * (ALL / 16)), at_most }
    }

    /// What a node knows of itself.
    pub fn of_bytes(used: u64, capacity: u64) -> Self {
        let part = u128::from(used) * u128::from(ALL) / u128::from(capacity.max(1));
        let part = u32::try_from(part).unwrap_or(ALL).min(ALL);
        Self { at_least: part, at_most: part }
    }

    /// Whether a node that is so full gives to one that is so full.
    pub fn gives_to(&self, other: &Self) -> bool {
        self.at_least > other.at_most + POINTS
    }

    /// Whether it may be that it gives, for all that is known.
    fn may_give_to(&self, other: &Self) -> bool {
        self.at_most > other.at_most + POINTS
    }
}

/// What is known of one segment and of the nodes.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The segment.
    pub segment: SegmentId,
    /// Its scheme.
    pub scheme: Scheme,
    /// Who holds its shards.
    pub holdings: &'a [Holding],
    /// The members as placement sees them.
    pub candidates: &'a [Candidate],
    /// How full they are.
    pub fills: &'a BTreeMap<NodeId, Fill>,
    /// Nodes that get nothing of this segment.
    pub unfit: &'a BTreeSet<NodeId>,
}

/// A shard that is to go from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Which shard.
    pub shard: u8,
    /// The node that gives it up.
    pub from: NodeId,
    /// The node that is to hold it.
    pub to: NodeId,
    /// It holds it already: there is one copy too many.
    pub held: bool,
}

/// The next move of a segment; nothing where its shards stay. A segment that is not whole, or of which
/// a holder is silent or leaves, is repair's.
pub fn choose(facts: &Facts<'_>) -> Option<Move> {
    let n = facts.scheme.n();
    let mut here: Vec<&Holding> =
        facts.holdings.iter().filter(|held| usize::from(held.shard) < n).collect();
    if here.iter().any(|held| held.presence != Presence::Here) {
        return None;
    }
    here.sort_by_key(|held| (held.shard, held.node));
    let own = spread(facts.scheme, &here);
    if own.len() < n {
        return None;
    }
    let rank: BTreeMap<NodeId, usize> = ranking(&facts.segment, facts.candidates)
        .iter()
        .enumerate()
        .map(|(place, candidate)| (candidate.node, place))
        .collect();
    // The one that the ranking wants least gives first.
    let mut givers: Vec<(usize, &Holding)> =
        here.iter().filter_map(|held| Some((*rank.get(&held.node)?, *held))).collect();
    givers.sort_by_key(|(place, held)| (std::cmp::Reverse(*place), held.shard));
    for (place, giver) in givers {
        let Some(fill) = facts.fills.get(&giver.node) else { continue };
        let others = own.iter().filter(|(shard, _)| **shard != giver.shard);
        let settled: Vec<NodeId> = others.map(|(_, held)| held.node).collect();
        // A domain with another shard of the segment gets none, whosever copy that is.
        let taken: BTreeSet<&Domain> =
            here.iter().filter(|held| held.shard != giver.shard).map(|held| &held.domain).collect();
        let mut unfit = facts.unfit.clone();
        let in_taken = facts.candidates.iter().filter(|other| taken.contains(&other.domain));
        unfit.extend(in_taken.map(|candidate| candidate.node));
        let none = BTreeSet::new();
        let mut places = Places::new(
            &facts.segment,
            facts.scheme,
            facts.candidates,
            &settled,
            &unfit,
            &none,
            None,
        );
        while let Some(to) = places.next() {
            if rank.get(&to).is_none_or(|other| *other >= place) {
                break;
            }
            if let Some(other) = facts.fills.get(&to) {
                let held = here.iter().any(|held| held.node == to && held.shard == giver.shard);
                if fill.gives_to(other) {
                    return Some(Move { shard: giver.shard, from: giver.node, to, held });
                }
                // It knows better than anybody else whether it gives: one move at a time.
                if fill.may_give_to(other) {
                    return None;
                }
            }
            places.failed(&to);
        }
    }
    None
}
