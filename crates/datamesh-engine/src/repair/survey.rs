//! Who holds the shards of segments: asked in batches, as few nodes as suffice.
//!
//! First those that are remembered, then for segments that are not whole the first 2n of their
//! ranking, then everybody. A claim is believed unless reading proved it false here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::message::{Reply, Request, SEGMENTS_MAX};
use datamesh_core::{NodeId, Scheme, SegmentId, Timestamp};
use futures::stream::{self, StreamExt};

use super::absence::Absences;
use super::checker::{Holding, Presence};
use crate::ask::ask;
use crate::engine::Engine;
use crate::placement::ranking;
use crate::view::Standing;

/// How long a node may take to say what it holds.
const DEADLINE: Duration = Duration::from_secs(5);

/// Nodes asked at once.
const ASKED_AT_ONCE: usize = 64;

/// Shards and who says that it holds them, in order.
pub(crate) type Claims = Vec<(u8, NodeId)>;

/// What a survey found of one segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surveyed {
    /// What members say now.
    pub(crate) claims: Claims,
    /// What was remembered before.
    pub(crate) hints: Claims,
}

/// Whom a survey asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Members that are heard of, no more of them than needed.
    Lively,
    /// Every member, the silent ones too: something is about to be done.
    Everybody,
}

fn whole(claims: &Claims, scheme: Scheme) -> bool {
    let shards: BTreeSet<u8> = claims.iter().map(|(shard, _)| *shard).collect();
    shards.len() >= scheme.n()
}

impl Engine {
    /// Asks who holds the shards of segments.
    pub(crate) async fn survey(
        &self,
        segments: &[(SegmentId, Scheme)],
        reach: Reach,
    ) -> Vec<Surveyed> {
        let candidates = self.view().candidates(self.now());
        let members: BTreeSet<NodeId> = {
            let (view, now) = (self.view(), self.now());
            let asked = view.members().filter(|member| {
                reach == Reach::Everybody
                    || matches!(view.standing(member, now), Standing::Alive | Standing::Draining)
            });
            asked.map(|member| member.advert.node()).collect()
        };
        let mut found = vec![Surveyed::default(); segments.len()];
        let mut asked: Vec<BTreeSet<NodeId>> = vec![BTreeSet::new(); segments.len()];
        for (place, (segment, _)) in segments.iter().enumerate() {
            found[place].hints = self.remembered_holders(segment).await;
        }
        for stage in 0..3 {
            if reach == Reach::Everybody && stage < 2 {
                continue;
            }
            let mut plan: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
            for (place, (segment, scheme)) in segments.iter().enumerate() {
                if whole(&found[place].claims, *scheme) {
                    continue;
                }
                let nodes: Vec<NodeId> = match stage {
                    0 => found[place].hints.iter().map(|(_, node)| *node).collect(),
                    1 => ranking(segment, &candidates)
                        .iter()
                        .take(2 * scheme.n())
                        .map(|candidate| candidate.node)
                        .collect(),
                    _ => members.iter().copied().collect(),
                };
                for node in nodes.into_iter().filter(|node| members.contains(node)) {
                    if asked[place].insert(node) {
                        plan.entry(node).or_default().push(place);
                    }
                }
            }
            for (place, claim) in self.ask_plan(segments, plan).await {
                let (segment, scheme) = segments[place];
                if usize::from(claim.0) < scheme.n() && !self.is_doubted(&segment, claim) {
                    found[place].claims.push(claim);
                }
            }
        }
        for ((segment, _), found) in segments.iter().zip(&mut found) {
            found.claims.sort_unstable();
            let mut remembered = found.claims.clone();
            // Who is silent is remembered until it is heard of again.
            remembered.extend(found.hints.iter().filter(|(_, node)| !members.contains(node)));
            remembered.sort_unstable();
            remembered.dedup();
            if !remembered.is_empty() && remembered != found.hints {
                self.remember_holders(*segment, remembered);
            }
        }
        found
    }

    /// Asks each node about its segments and returns what they claim.
    async fn ask_plan(
        &self,
        segments: &[(SegmentId, Scheme)],
        plan: BTreeMap<NodeId, Vec<usize>>,
    ) -> Vec<(usize, (u8, NodeId))> {
        let asking = plan.into_iter().map(|(node, places)| async move {
            let mut claims = Vec::new();
            for batch in places.chunks(SEGMENTS_MAX) {
                let ids = batch.iter().map(|place| segments[*place].0).collect();
                let request = Request::Have(ids);
                match ask(&*self.transport, node, &request, Bytes::new(), DEADLINE).await {
                    Ok((Reply::Holding(held), _)) => {
                        self.note_answer(&node, false);
                        for (place, mask) in batch.iter().zip(held) {
                            let shards = (0..32u8).filter(|shard| mask & (1 << shard) != 0);
                            claims.extend(shards.map(|shard| (*place, (shard, node))));
                        }
                    }
                    Ok(_) => {
                        self.scores.failed(&node, true);
                        break;
                    }
                    Err(error) => {
                        if error.is_absence() {
                            self.note_answer(&node, true);
                        }
                        break;
                    }
                }
            }
            claims
        });
        // The order of answers must not show: the claims are sorted by who needs them.
        stream::iter(asking).buffer_unordered(ASKED_AT_ONCE).collect::<Vec<_>>().await.concat()
    }

    /// Claims as holdings, with the silent members that account for shards that nobody has:
    /// holders that are remembered, and members high enough in the ranking to have been given a
    /// shard. One that was last heard of before `since`, when the segment was stored, was not.
    pub(super) fn holdings(
        &self,
        segment: &SegmentId,
        scheme: Scheme,
        surveyed: &Surveyed,
        absences: &Absences,
        since: Option<Timestamp>,
    ) -> Vec<Holding> {
        let (view, now) = (self.view(), self.now());
        let mut holdings: Vec<Holding> = surveyed
            .claims
            .iter()
            .filter_map(|(shard, node)| {
                let member = view.member(node)?;
                let leaving = member.advert.draining;
                Some(Holding {
                    shard: *shard,
                    node: *node,
                    domain: member.advert.certificate.claim.domain.clone(),
                    presence: if leaving { Presence::Leaving } else { Presence::Here },
                })
            })
            .collect();
        let mut missing: BTreeSet<u8> = (0..scheme.n() as u8).collect();
        for holding in &holdings {
            missing.remove(&holding.shard);
        }
        let mut away = |shard: u8, node: &NodeId, ms: u64| {
            let Some(member) = view.member(node) else { return };
            let domain = member.advert.certificate.claim.domain.clone();
            holdings.push(Holding { shard, node: *node, domain, presence: Presence::Away(ms) });
        };
        let mut blamed = BTreeSet::new();
        for (shard, node) in &surveyed.hints {
            if let Some(ms) = absences.of(node).filter(|_| missing.remove(shard)) {
                away(*shard, node, ms);
                blamed.insert(*node);
            }
        }
        if missing.is_empty() || !absences.any() {
            return holdings;
        }
        let candidates = view.candidates(now);
        for candidate in ranking(segment, &candidates).iter().take(2 * scheme.n()) {
            let node = &candidate.node;
            let Some(ms) = absences.of(node).filter(|_| !blamed.contains(node)) else { continue };
            let heard = view.member(node).map_or(0, |member| member.heard);
            if since.is_some_and(|since| heard < since) {
                continue;
            }
            let Some(shard) = missing.pop_first() else { break };
            away(shard, node, ms);
        }
        holdings
    }
}
