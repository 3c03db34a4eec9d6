//! Which nodes hold a segment. Pure: the same view gives the same answer everywhere.
//!
//! Nodes are ranked for each segment by weighted rendezvous hashing ("Highest Random Weight",
//! Thaler and Ravishankar 1998, with the logarithmic weights of Schindler's "Weighted Distributed
//! Hash Tables"): node i draws a uniform hash u and stands at −log₂(u) / weight. A node that comes or goes
//! moves only the shards that it wins or had. The arithmetic is fixed-point, so that no two
//! machines round differently.
//!
//! One shard a failure domain is a hard rule. At higher levels (zone, operator, subnet) at most m
//! shards share a value where the view allows it; where it does not, shards are spread as evenly
//! as it does.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::{Domain, Hash, NodeId, Scheme, SegmentId};

/// BLAKE3 derive-key context of the draws.
const DRAW_CONTEXT: &str = "datamesh 2026 placement v1";

/// What placement knows of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// What it fails together with.
    pub domain: Domain,
    /// Who answers for it.
    pub operator: String,
    /// Its public subnet; nothing for loopback and private addresses.
    pub subnet: Option<String>,
    /// Share of the mesh's capacity, any unit; at least 1 counts.
    pub weight: u64,
    /// It takes shards: alive, not full, not leaving.
    pub eligible: bool,
}

/// log₂(x) · 2³², rounded down, for x ≥ 1, by repeated squaring of the fraction.
fn log2_fixed(x: u64) -> u64 {
    let whole = u64::from(x.ilog2());
    // The fraction as a number in [1, 2) with 63 bits behind the point.
    let mut y = u128::from(x) << (63 - whole);
    let mut log = whole;
    for _ in 0..32 {
        y = (y * y) >> 63;
        log <<= 1;
        if y >> 64 != 0 {
            y >>= 1;
            log |= 1;
        }
    }
    log
}

/// Where a node stands for a segment: lower is earlier.
fn standing(segment: &SegmentId, candidate: &Candidate) -> u128 {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&segment.0);
    bytes[32..].copy_from_slice(&candidate.node.0);
    let draw = Hash::derive(DRAW_CONTEXT, &bytes);
    let mut first = [0; 8];
    first.copy_from_slice(&draw.0[..8]);
    let u = u64::from_le_bytes(first).max(1);
    let distance = (64u128 << 32) - u128::from(log2_fixed(u));
    (distance << 64) / u128::from(candidate.weight.max(1))
}

/// All candidates in the segment's order, whether eligible or not.
pub fn ranking<'a>(segment: &SegmentId, candidates: &'a [Candidate]) -> Vec<&'a Candidate> {
    let mut ranked: Vec<_> =
        candidates.iter().map(|candidate| (standing(segment, candidate), candidate)).collect();
    ranked.sort_by_key(|(standing, candidate)| (*standing, candidate.node));
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}

/// How strictly shards are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spread {
    /// One shard a failure domain.
    Strict,
    /// `--allow-degraded`: shards may share domains and nodes where there are too few.
    Relaxed,
}

/// A level above the failure domain and what a candidate's value there is.
type Level = fn(&Candidate) -> Option<&str>;

const LEVELS: [Level; 3] = [
    |candidate| Some(candidate.domain.zone()),
    |candidate| Some(&candidate.operator),
    |candidate| candidate.subnet.as_deref(),
];

/// Most shards that may share a value at `level`: m where the eligible domains allow that, else
/// the least number with which n shards still find room.
fn level_cap(scheme: Scheme, eligible: &[&Candidate], level: Level) -> usize {
    let mut domains: BTreeMap<&str, BTreeSet<&Domain>> = BTreeMap::new();
    let mut free = 0;
    for candidate in eligible {
        match level(candidate) {
            Some(value) => {
                domains.entry(value).or_default().insert(&candidate.domain);
            }
            None => free += 1,
        }
    }
    let room =
        |cap: usize| free + domains.values().map(|domains| domains.len().min(cap)).sum::<usize>();
    let largest = domains.values().map(BTreeSet::len).max().unwrap_or(0);
    (scheme.m()..=largest.max(scheme.m()))
        .find(|cap| room(*cap) >= scheme.n())
        .unwrap_or(usize::MAX)
}

/// Walks a ranking and hands out holders that keep to the rules, one after another, also as spares
/// for holders that fail.
#[derive(Debug)]
pub struct Walk<'a> {
    ranked: Vec<&'a Candidate>,
    next: usize,
    caps: [usize; 3],
    spread: Spread,
    domains: BTreeSet<&'a Domain>,
    levels: [BTreeMap<&'a str, usize>; 3],
    given: usize,
}

impl<'a> Walk<'a> {
    /// A walk for a segment that has no holders yet.
    pub fn new(
        segment: &SegmentId,
        scheme: Scheme,
        candidates: &'a [Candidate],
        spread: Spread,
    ) -> Self {
        let ranked: Vec<_> =
            ranking(segment, candidates).into_iter().filter(|c| c.eligible).collect();
        let caps = LEVELS.map(|level| level_cap(scheme, &ranked, level));
        Self {
            ranked,
            next: 0,
            caps,
            spread,
            domains: BTreeSet::new(),
            levels: Default::default(),
            given: 0,
        }
    }

    /// Takes a candidate's domain and levels, as its node holds a shard.
    fn occupy(&mut self, candidate: &'a Candidate) {
        self.domains.insert(&candidate.domain);
        for (level, counts) in LEVELS.iter().zip(&mut self.levels) {
            if let Some(value) = level(candidate) {
                *counts.entry(value).or_default() += 1;
            }
        }
    }

    /// Failure domains that could still get a shard, ignoring the higher levels.
    pub fn domains_eligible(&self) -> usize {
        self.ranked.iter().map(|candidate| &candidate.domain).collect::<BTreeSet<_>>().len()
    }

    /// The next holder; nothing where no eligible node is left.
    pub fn next_holder(&mut self) -> Option<NodeId> {
        while let Some(candidate) = self.ranked.get(self.next).copied() {
            self.next += 1;
            if self.domains.contains(&candidate.domain) {
                continue;
            }
            let crowded = (0..LEVELS.len()).any(|i| {
                LEVELS[i](candidate).is_some_and(|value| {
                    self.levels[i].get(value).copied().unwrap_or(0) >= self.caps[i]
                })
            });
            if crowded {
                continue;
            }
            self.occupy(candidate);
            self.given += 1;
            return Some(candidate.node);
        }
        if self.spread == Spread::Relaxed && !self.ranked.is_empty() {
            // Nodes are used again in their order, so that shards stay as even as they can be.
            let candidate = self.ranked[self.given % self.ranked.len()];
            self.given += 1;
            return Some(candidate.node);
        }
        None
    }

    /// A holder failed: its domain and levels are free again, and it is not handed out again.
    pub fn failed(&mut self, node: &NodeId) {
        let Some(place) = self.ranked.iter().position(|candidate| candidate.node == *node) else {
            return;
        };
        let candidate = self.ranked[place];
        if self.domains.remove(&candidate.domain) {
            for (level, counts) in LEVELS.iter().zip(&mut self.levels) {
                if let Some(count) = level(candidate).and_then(|value| counts.get_mut(value)) {
                    *count = count.saturating_sub(1);
                }
            }
        }
        // What was passed over because of this node may serve now: the walk begins again without
        // the nodes that it has already given, which the domain rule passes over.
        self.ranked.remove(place);
        self.next = 0;
    }
}

/// Places for further shards of a segment that has holders, one after another.
#[derive(Debug)]
pub struct Places<'a> {
    walk: Walk<'a>,
    /// Where shards may share domains: shards of each domain and node, and who refused.
    shared: Option<Shared<'a>>,
    candidates: &'a [Candidate],
}

#[derive(Debug, Default)]
struct Shared<'a> {
    domains: BTreeMap<&'a Domain, usize>,
    nodes: BTreeMap<NodeId, usize>,
    failed: BTreeSet<NodeId>,
}

impl<'a> Places<'a> {
    /// Places beside `settled`, whose failure domains are taken, never at `unfit` nodes, and at `last`
    /// ones after all others. With `sharing`, the shards that members hold now, further ones go where
    /// there are the fewest once no domain is free.
    pub fn new(
        segment: &SegmentId,
        scheme: Scheme,
        candidates: &'a [Candidate],
        settled: &[NodeId],
        unfit: &BTreeSet<NodeId>,
        last: &BTreeSet<NodeId>,
        sharing: Option<&[(u8, NodeId)]>,
    ) -> Self {
        let mut walk = Walk::new(segment, scheme, candidates, Spread::Strict);
        let find = |node: &NodeId| candidates.iter().find(|candidate| candidate.node == *node);
        for candidate in settled.iter().filter_map(find) {
            walk.occupy(candidate);
        }
        // Only now: what the levels above allow depends on all that there are.
        walk.ranked.retain(|candidate| !unfit.contains(&candidate.node));
        walk.ranked.sort_by_key(|candidate| last.contains(&candidate.node));
        let shared = sharing.map(|holders| {
            let mut shared = Shared::default();
            for candidate in holders.iter().filter_map(|(_, node)| find(node)) {
                shared.count(candidate);
            }
            shared
        });
        Self { walk, shared, candidates }
    }

    /// The next place; nothing where there is none.
    #[expect(clippy::should_implement_trait, reason = "places that fail change what comes next")]
    pub fn next(&mut self) -> Option<NodeId> {
        let find = |node: &NodeId| self.candidates.iter().find(|c| c.node == *node);
        if let Some(node) = self.walk.next_holder() {
            if let (Some(shared), Some(candidate)) = (&mut self.shared, find(&node)) {
                shared.count(candidate);
            }
            return Some(node);
        }
        let shared = self.shared.as_mut()?;
        let least = self
            .walk
            .ranked
            .iter()
            .enumerate()
            .filter(|(_, candidate)| !shared.failed.contains(&candidate.node))
            .min_by_key(|(rank, candidate)| {
                let domain = shared.domains.get(&candidate.domain).copied().unwrap_or(0);
                (domain, shared.nodes.get(&candidate.node).copied().unwrap_or(0), *rank)
            })
            .map(|(_, candidate)| *candidate)?;
        shared.count(least);
        Some(least.node)
    }

    /// A place failed and is not handed out again.
    pub fn failed(&mut self, node: &NodeId) {
        self.walk.failed(node);
        if let Some(shared) = &mut self.shared {
            shared.failed.insert(*node);
        }
    }
}

impl<'a> Shared<'a> {
    fn count(&mut self, candidate: &'a Candidate) {
        *self.domains.entry(&candidate.domain).or_default() += 1;
        *self.nodes.entry(candidate.node).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_point_logarithms_agree_with_floating_point() {
        for x in [1u64, 2, 3, 1000, 1 << 40, u64::MAX, 0x1234_5678_9abc_def0] {
            let exact = (x as f64).log2();
            let fixed = log2_fixed(x) as f64 / (1u64 << 32) as f64;
            assert!((exact - fixed).abs() < 1e-8, "{x}: {exact} {fixed}");
        }
    }
}
