//! A mesh in continuous time: nodes and zones are lost, segments are repaired.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use datamesh_core::Scheme;
use datamesh_testkit::random::Dice;

/// What is assumed; times in years.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assumptions {
    pub(super) nodes: u32,
    pub(super) zones: u32,
    pub(super) segments: u32,
    pub(super) years: f64,
    /// Losses of one node a year.
    pub(super) node_losses: f64,
    /// Losses of one zone a year.
    pub(super) zone_losses: f64,
    /// From a loss to its being noticed.
    pub(super) notice: f64,
    /// What a single lost shard waits beyond that.
    pub(super) grace: f64,
    /// What copying all shards of one node takes the mesh, for k = 1.
    pub(super) node_repair: f64,
}

/// Where shards of one segment may lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spreading {
    /// At most m in a zone.
    Zones,
    /// Anywhere, as long as nodes differ.
    Anywhere,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    pub(super) losses: u64,
    pub(super) segment_years: f64,
    /// From the first lost shard of a segment to its repair.
    pub(super) mean_repair: f64,
}

/// A time that orders; never NaN, as all times are sums of finite ones.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Time(f64);

impl Eq for Time {}

impl Ord for Time {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

struct Segment {
    /// The node of each shard; [`LOST`] where it is lost.
    holders: Vec<u32>,
    lost: u32,
    /// When the first of those that are lost was.
    since: f64,
    /// Counts changes: a repair that was planned before one is void.
    change: u32,
}

const LOST: u32 = u32::MAX;

struct Mesh<'a> {
    scheme: Scheme,
    spreading: Spreading,
    given: &'a Assumptions,
    dice: Dice,
    segments: Vec<Segment>,
    /// For each node the segments and shards that it got; an entry counts while the shard is there.
    held: Vec<Vec<(u32, u8)>>,
    repairs: BinaryHeap<Reverse<(Time, u32, u32)>>,
    /// Until when the mesh is busy with what was planned.
    busy: f64,
    losses: u64,
    repaired: u64,
    repair_years: f64,
}

/// A number in (0, 1].
fn unit(dice: &mut Dice) -> f64 {
    ((dice.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Simulates a mesh from a seed.
pub(super) fn simulate(
    scheme: Scheme,
    spreading: Spreading,
    given: &Assumptions,
    seed: u64,
) -> Outcome {
    let mut mesh = Mesh {
        scheme,
        spreading,
        given,
        dice: Dice::new(seed),
        segments: Vec::with_capacity(given.segments as usize),
        held: vec![Vec::new(); given.nodes as usize],
        repairs: BinaryHeap::new(),
        busy: 0.0,
        losses: 0,
        repaired: 0,
        repair_years: 0.0,
    };
    for number in 0..given.segments {
        mesh.segments.push(Segment {
            holders: vec![LOST; scheme.n()],
            lost: 0,
            since: 0.0,
            change: 0,
        });
        mesh.place(number);
    }
    mesh.run();
    Outcome {
        losses: mesh.losses,
        segment_years: f64::from(given.segments) * given.years,
        mean_repair: mesh.repair_years / (mesh.repaired.max(1)) as f64,
    }
}

impl Mesh<'_> {
    fn run(&mut self) {
        let nodes = f64::from(self.given.nodes) * self.given.node_losses;
        let zones = f64::from(self.given.zones) * self.given.zone_losses;
        let rate = nodes + zones;
        if rate <= 0.0 {
            return;
        }
        let mut now = 0.0;
        loop {
            let next = now - unit(&mut self.dice).ln() / rate;
            let end = next.min(self.given.years);
            while let Some(Reverse((Time(at), number, change))) = self.repairs.peek().copied() {
                if at > end {
                    break;
                }
                self.repairs.pop();
                self.repair(number, change, at);
            }
            if next >= self.given.years {
                return;
            }
            now = next;
            if unit(&mut self.dice) * rate <= nodes {
                let node = self.dice.below(u64::from(self.given.nodes)) as u32;
                self.lose(&[node], now);
            } else {
                let zone = self.dice.below(u64::from(self.given.zones)) as u32;
                let nodes: Vec<u32> =
                    (0..self.given.nodes).filter(|node| node % self.given.zones == zone).collect();
                self.lose(&nodes, now);
            }
        }
    }

    /// Gives every lost shard of a segment a node that keeps to the rule.
    fn place(&mut self, number: u32) {
        // With fewer zones than the rule needs, as evenly as they allow, as placement does.
        let in_zone_max = match self.spreading {
            Spreading::Zones => {
                self.scheme.m().max(self.scheme.n().div_ceil(self.given.zones.max(1) as usize))
            }
            Spreading::Anywhere => self.scheme.n(),
        };
        for shard in 0..self.scheme.n() {
            if self.segments[number as usize].holders[shard] != LOST {
                continue;
            }
            let node = loop {
                let node = self.dice.below(u64::from(self.given.nodes)) as u32;
                let holders = &self.segments[number as usize].holders;
                let zone = |node: u32| node % self.given.zones;
                let together = holders
                    .iter()
                    .filter(|other| **other != LOST && zone(**other) == zone(node))
                    .count();
                if !holders.contains(&node) && together < in_zone_max {
                    break node;
                }
            };
            self.segments[number as usize].holders[shard] = node;
            self.held[node as usize].push((number, shard as u8));
        }
    }

    /// Nodes are lost for good, all at one time; empty ones take their places.
    fn lose(&mut self, nodes: &[u32], now: f64) {
        let mut touched = Vec::new();
        for node in nodes {
            for (number, shard) in std::mem::take(&mut self.held[*node as usize]) {
                let segment = &mut self.segments[number as usize];
                let holder = &mut segment.holders[usize::from(shard)];
                // It may have been moved since, and come back to this node in another entry.
                if *holder != *node {
                    continue;
                }
                *holder = LOST;
                if segment.lost == 0 {
                    segment.since = now;
                }
                segment.lost += 1;
                segment.change += 1;
                touched.push(number);
            }
        }
        // k shards are read and one written for each that is rebuilt.
        let work = self.given.node_repair * (self.scheme.k() + 1) as f64 * nodes.len() as f64;
        self.busy = self.busy.max(now + self.given.notice) + work;
        touched.sort_unstable();
        touched.dedup();
        for number in touched {
            self.judge(number, now, work);
        }
    }

    /// A segment that lost shards is lost or waits for its repair.
    fn judge(&mut self, number: u32, now: f64, work: f64) {
        let segment = &mut self.segments[number as usize];
        if segment.lost as usize > self.scheme.m() {
            self.losses += 1;
            // Another takes its place, so that as many are followed as before.
            segment.holders.fill(LOST);
            segment.lost = 0;
            segment.change += 1;
            self.place(number);
            return;
        }
        let noticed = now + self.given.notice;
        let at = if segment.lost == 1 {
            // Anywhere in the queue of what waits no longer.
            let from = noticed + self.given.grace;
            from.max(noticed + (self.busy - noticed) * unit(&mut self.dice))
        } else {
            noticed + work * unit(&mut self.dice)
        };
        self.repairs.push(Reverse((Time(at), number, segment.change)));
    }

    fn repair(&mut self, number: u32, change: u32, now: f64) {
        let segment = &mut self.segments[number as usize];
        if segment.change != change || segment.lost == 0 {
            return;
        }
        self.repaired += 1;
        self.repair_years += now - segment.since;
        segment.lost = 0;
        segment.change += 1;
        self.place(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durability::markov;

    fn given() -> Assumptions {
        Assumptions {
            nodes: 500,
            zones: 50,
            segments: 20_000,
            years: 4.0,
            node_losses: 4.0,
            zone_losses: 0.0,
            notice: 0.01,
            grace: 0.0,
            node_repair: 0.0,
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_years() {
        let run = |seed| simulate(Scheme::FOUR_TWO, Spreading::Zones, &given(), seed);
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn losses_are_of_the_chains_order_where_both_assume_the_same() {
        // Nodes that die so often that losses are counted in thousands. Here all missing shards
        // come back together and after a fixed time, there one by one after a drawn one, so they
        // agree in order of magnitude and no closer.
        let outcome = simulate(Scheme::FOUR_TWO, Spreading::Zones, &given(), 3);
        let seen = outcome.losses as f64 / outcome.segment_years;
        let chain = markov::yearly_loss(Scheme::FOUR_TWO, 4.0, 1.0 / outcome.mean_repair);
        assert!(outcome.losses > 100, "{outcome:?}");
        assert!((0.1..10.0).contains(&(seen / chain)), "{seen} beside {chain}");
    }

    #[test]
    fn a_zone_takes_no_segment_that_is_spread_over_zones() {
        // Only zones die, each time repaired before the next: with at most m shards in one zone
        // nothing is lost, without the rule much is.
        let zones =
            Assumptions { zones: 5, node_losses: 0.0, zone_losses: 1.0, notice: 1e-6, ..given() };
        let spread = simulate(Scheme::FOUR_TWO, Spreading::Zones, &zones, 4);
        assert_eq!(spread.losses, 0);
        let anywhere = simulate(Scheme::FOUR_TWO, Spreading::Anywhere, &zones, 4);
        assert!(anywhere.losses > 1000, "{anywhere:?}");
    }

    #[test]
    fn what_nobody_loses_stays() {
        let still = Assumptions { node_losses: 0.0, ..given() };
        let outcome = simulate(Scheme::EIGHT_FOUR, Spreading::Zones, &still, 5);
        assert_eq!((outcome.losses, outcome.mean_repair), (0, 0.0));
    }
}
