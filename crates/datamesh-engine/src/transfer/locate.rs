//! Finding who holds a segment's shards: what is remembered, else the first 2n of the ranking,
//! else everybody. There is no directory to be wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::message::{Reply, Request, SEGMENTS_MAX};
use datamesh_core::scheme::SHARDS_MAX;
use datamesh_core::{BoxFuture, NodeId, SegmentId};
use futures::stream::{self, BoxStream, StreamExt};

use crate::ask::{AskError, ask};
use crate::engine::Engine;
use crate::placement::ranking;
use crate::view::Standing;

/// How long a node may take to say what it holds.
const HAVE_DEADLINE: Duration = Duration::from_secs(5);

/// Nodes asked at once.
const ASKED_AT_ONCE: usize = 64;

/// A node that was asked, and its reply.
pub(crate) type Asked = (NodeId, Result<(Reply, Bytes), AskError>);

/// How far the search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// What is remembered here.
    Remembered,
    /// The first nodes of the segment's ranking.
    Ranking,
    /// Every member that is not gone.
    Members,
}

impl Reach {
    /// The next wider search.
    pub(super) fn wider(self) -> Option<Self> {
        match self {
            Self::Remembered => Some(Self::Ranking),
            Self::Ranking => Some(Self::Members),
            Self::Members => None,
        }
    }
}

impl Engine {
    /// Asks every member that is not gone which shards of these segments it holds, in batches.
    /// Nothing remembered is used: this is what the holders say now.
    pub fn census<'a>(
        &'a self,
        segments: &'a [SegmentId],
    ) -> BoxFuture<'a, Vec<Vec<(u8, NodeId)>>> {
        Box::pin(async move {
            let candidates = self.view().candidates(self.now());
            let mut census: Vec<Vec<(u8, NodeId)>> = vec![Vec::new(); segments.len()];
            for (batch, asked) in segments.chunks(SEGMENTS_MAX).enumerate() {
                let request = Request::Have(asked.to_vec());
                let nodes = candidates.iter().map(|candidate| candidate.node).collect();
                let mut answers = self.ask_all(nodes, &request, HAVE_DEADLINE);
                while let Some((node, answer)) = answers.next().await {
                    let Ok((Reply::Holding(held), _)) = answer else { continue };
                    for (place, mask) in held.into_iter().take(asked.len()).enumerate() {
                        let shards = (0..SHARDS_MAX as u8).filter(|shard| mask & (1 << shard) != 0);
                        census[batch * SEGMENTS_MAX + place]
                            .extend(shards.map(|shard| (shard, node)));
                    }
                }
            }
            for holders in &mut census {
                holders.sort_unstable();
            }
            census
        })
    }

    /// The shards of these segments whose holders signed a receipt that is remembered here and say
    /// now that they still have them. A claim without a receipt counts for nothing, and neither
    /// does a receipt of a node that is gone.
    pub fn confirmed<'a>(
        &'a self,
        segments: &'a [SegmentId],
    ) -> BoxFuture<'a, Vec<Vec<(u8, NodeId)>>> {
        Box::pin(async move {
            let mut confirmed = self.census(segments).await;
            for (segment, holders) in segments.iter().zip(&mut confirmed) {
                let receipts = self.receipts(segment).await;
                holders.retain(|holder| receipts.contains(holder));
            }
            confirmed
        })
    }

    /// Asks many nodes the same, a bounded number at once.
    pub(crate) fn ask_all<'a>(
        &'a self,
        nodes: Vec<NodeId>,
        request: &'a Request,
        deadline: Duration,
    ) -> BoxStream<'a, Asked> {
        let mut asking = Vec::with_capacity(nodes.len());
        for node in nodes {
            asking.push(async move {
                let transport = &*self.transport;
                (node, ask(transport, node, request, Bytes::new(), deadline).await)
            });
        }
        stream::iter(asking).buffer_unordered(ASKED_AT_ONCE).boxed()
    }

    /// Members that did not answer when they were last asked, or were not heard of for long.
    fn silent(&self) -> BTreeSet<NodeId> {
        let (view, now) = (self.view(), self.now());
        let silent = view.members().filter(|member| view.standing(member, now) == Standing::Silent);
        silent.map(|member| member.advert.node()).collect()
    }

    /// Shards of a segment and who holds them, as far as `reach` goes.
    pub(super) async fn locate(&self, segment: &SegmentId, reach: Reach) -> Vec<(u8, NodeId)> {
        let limit = match reach {
            Reach::Remembered => return self.remembered_holders(segment).await,
            // n is not known before the descriptor is, so the largest n counts.
            Reach::Ranking => 2 * SHARDS_MAX,
            Reach::Members => usize::MAX,
        };
        let candidates = self.view().candidates(self.now());
        // Who does not answer is asked only where the others do not have enough: every search would
        // wait for it.
        let silent = if reach == Reach::Members { BTreeSet::new() } else { self.silent() };
        let asked: Vec<NodeId> = ranking(segment, &candidates)
            .iter()
            .take(limit)
            .map(|candidate| candidate.node)
            .filter(|node| !silent.contains(node))
            .collect();
        let request = Request::Have(vec![*segment]);
        let mut answers = self.ask_all(asked, &request, HAVE_DEADLINE);
        let mut found = Vec::new();
        while let Some((node, answer)) = answers.next().await {
            match answer {
                Ok((Reply::Holding(held), _)) => {
                    self.note_answer(&node, false);
                    let mask = held.first().copied().unwrap_or(0);
                    let shards = (0..SHARDS_MAX as u8).filter(|shard| mask & (1 << shard) != 0);
                    found.extend(shards.map(|shard| (shard, node)));
                }
                Ok(_) => self.scores.failed(&node, true),
                Err(error) => {
                    self.scores.failed(&node, false);
                    if error.is_absence() {
                        self.note_answer(&node, true);
                    }
                }
            }
        }
        found.sort_unstable();
        if !found.is_empty() {
            self.remember_holders(*segment, found.clone());
        }
        found
    }
}
