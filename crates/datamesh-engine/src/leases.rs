//! Renewals, releases and pins on their way to the nodes, and what nodes tell of them.
//!
//! They go to every member that is not gone: who holds a segment is known to nobody for certain, and
//! one request takes many. Who is away meanwhile asks the others when it is back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::lease::{LeaseAnswer, Listed, Listing, Release, Renewal, SegmentPin};
use datamesh_core::message::{LEASES_MAX, Reply, Request};
use datamesh_core::{BoxFuture, Descriptor, NodeId, SegmentId, Timestamp, seam};
use futures::StreamExt;
use futures::stream;

use crate::ask::{AskError, ask};
use crate::engine::Engine;
use crate::placement::ranking;
use crate::points;
use crate::work::step;

/// How long a node may take for a batch of renewals or releases, which it syncs.
const LEASES_DEADLINE: Duration = Duration::from_secs(10);

/// How long a node may take to answer a short question.
const QUESTION_DEADLINE: Duration = Duration::from_secs(5);

/// Members whose clocks are compared with this node's.
pub(crate) const CLOCKS: usize = 9;

/// Nodes asked at once.
const ASKED_AT_ONCE: usize = 32;

/// Members of a segment's ranking that may hold it, for those who look for its releases: twice the
/// largest n.
const LIKELY_HOLDERS: usize = 48;

/// What the members say to a renewal, a release or a pin of one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseTold {
    /// Nodes where it counts, with the shards that it is about.
    pub taken: Vec<(NodeId, u32)>,
    /// The highest epoch that counts somewhere instead.
    pub behind: Option<u64>,
    /// The earliest of the latest ends that nodes take, where it ends too late for some.
    pub too_long: Option<Timestamp>,
    /// Members that did not answer, or could not do it.
    pub unanswered: usize,
}

impl LeaseTold {
    /// Distinct shards that it counts for.
    pub fn shards(&self) -> u32 {
        self.taken.iter().fold(0, |mask, (_, shards)| mask | shards).count_ones()
    }

    /// Copies of shards that it counts for.
    pub fn copies(&self) -> u64 {
        self.taken.iter().map(|(_, shards)| u64::from(shards.count_ones())).sum()
    }
}

impl Engine {
    /// Ends leases everywhere. What comes back is in the order of the releases.
    pub fn release<'a>(&'a self, releases: &'a [Release]) -> BoxFuture<'a, Vec<LeaseTold>> {
        Box::pin(async move {
            let batches = releases.chunks(LEASES_MAX);
            let batches = batches.map(|batch| (batch.len(), Request::Release(batch.to_vec())));
            step(&*self.executor, points::LEASES_RELEASE, self.tell_leases(batches)).await
        })
    }

    /// Renews leases everywhere. What comes back is in the order of the renewals.
    pub fn renew<'a>(&'a self, renewals: &'a [Renewal]) -> BoxFuture<'a, Vec<LeaseTold>> {
        Box::pin(async move {
            let batches = renewals.chunks(LEASES_MAX);
            let batches = batches.map(|batch| (batch.len(), Request::Renew(batch.to_vec())));
            step(&*self.executor, points::LEASES_RENEW, self.tell_leases(batches)).await
        })
    }

    /// Tells everybody how much the owner cares for segments. What comes back is in the order of the pins.
    pub fn pin<'a>(&'a self, pins: &'a [SegmentPin]) -> BoxFuture<'a, Vec<LeaseTold>> {
        Box::pin(async move {
            let batches = pins.chunks(LEASES_MAX);
            let batches = batches.map(|batch| (batch.len(), Request::Pin(batch.to_vec())));
            step(&*self.executor, points::SEGMENTS_PIN, self.tell_leases(batches)).await
        })
    }

    async fn tell_leases(&self, batches: impl Iterator<Item = (usize, Request)>) -> Vec<LeaseTold> {
        let nodes: Vec<NodeId> = self.candidates().iter().map(|c| c.node).collect();
        let mut all = Vec::new();
        for (count, request) in batches {
            let mut told = vec![LeaseTold::default(); count];
            let mut answers = self.ask_all(nodes.clone(), &request, LEASES_DEADLINE);
            while let Some((node, answer)) = answers.next().await {
                self.note_outcome(&node, &answer);
                let answered = match answer {
                    Ok((Reply::Leases(answers), _)) if answers.len() == count => answers,
                    _ => Vec::new(),
                };
                if answered.is_empty() {
                    told.iter_mut().for_each(|told| told.unanswered += 1);
                }
                for (told, answer) in told.iter_mut().zip(answered) {
                    match answer {
                        LeaseAnswer::Taken { shards } if shards > 0 => {
                            told.taken.push((node, shards));
                        }
                        LeaseAnswer::Behind { epoch } => {
                            told.behind = Some(told.behind.unwrap_or(0).max(epoch));
                        }
                        LeaseAnswer::TooLong { until } => {
                            told.too_long = Some(told.too_long.unwrap_or(until).min(until));
                        }
                        LeaseAnswer::Taken { .. }
                        | LeaseAnswer::NotHeld
                        | LeaseAnswer::NotSigned => {}
                    }
                }
            }
            told.iter_mut().for_each(|told| told.taken.sort_unstable());
            all.append(&mut told);
        }
        all
    }

    /// The descriptor of a segment, from here or from a node that has a shard of it, be it in the
    /// trash.
    pub fn descriptor_of<'a>(
        &'a self,
        segment: &'a SegmentId,
    ) -> BoxFuture<'a, Option<Arc<Descriptor>>> {
        Box::pin(async move {
            match self.describe(segment, &mut Vec::new()).await {
                Some(descriptor) => Some(descriptor),
                None => self.described_by_anybody(segment).await,
            }
        })
    }

    /// Asks the likely holders of a segment for its descriptor, whether they say that they hold it or
    /// not.
    async fn described_by_anybody(&self, segment: &SegmentId) -> Option<Arc<Descriptor>> {
        let (candidates, answering) = (self.candidates(), self.answering());
        let likely = ranking(segment, &candidates).into_iter().map(|candidate| candidate.node);
        // Who is silent would be waited for, once for each segment that nobody has.
        let nodes = likely.filter(|node| answering.contains(node)).take(LIKELY_HOLDERS).collect();
        let request = Request::Describe { segment: *segment };
        let mut answers = self.ask_all(nodes, &request, QUESTION_DEADLINE);
        while let Some((_, answer)) = answers.next().await {
            if let Ok((Reply::Described(descriptor), _)) = answer
                && descriptor.id() == *segment
            {
                let descriptor = Arc::new(descriptor);
                self.remember_descriptor(*segment, Arc::clone(&descriptor));
                return Some(descriptor);
            }
        }
        None
    }

    /// What nodes that may hold these segments say was released of them, and whether half of those
    /// asked or more answered. Nobody has checked the signatures; who holds a shard can.
    pub fn releases_of<'a>(
        &'a self,
        segments: &'a [SegmentId],
    ) -> BoxFuture<'a, (Vec<Release>, bool)> {
        Box::pin(async move {
            let candidates = self.candidates();
            let local = self.transport.local();
            let mut questions: BTreeMap<NodeId, Vec<SegmentId>> = BTreeMap::new();
            for segment in segments.iter().take(LEASES_MAX) {
                let likely = ranking(segment, &candidates).into_iter().take(LIKELY_HOLDERS);
                for node in likely.map(|candidate| candidate.node).filter(|node| *node != local) {
                    questions.entry(node).or_default().push(*segment);
                }
            }
            let asked = questions.len();
            let asking = questions.into_iter().map(|(node, segments)| async move {
                let request = Request::Releases(segments);
                let transport = &*self.transport;
                let answer = ask(transport, node, &request, Bytes::new(), QUESTION_DEADLINE).await;
                self.note_outcome(&node, &answer);
                match answer {
                    Ok((Reply::Releases(releases), _)) => Some(releases),
                    _ => None,
                }
            });
            let mut asking = stream::iter(asking).buffer_unordered(ASKED_AT_ONCE);
            let (mut found, mut answered) = (Vec::new(), 0);
            while let Some(releases) = asking.next().await {
                let Some(mut releases) = releases else { continue };
                answered += 1;
                releases.retain(|release| segments.contains(&release.segment));
                found.append(&mut releases);
            }
            found.sort_unstable_by_key(|release| (release.segment, release.epoch));
            // Whoever was away long takes all others for gone, and has asked nobody.
            (found, 2 * answered >= asked && (asked > 0 || self.is_alone()))
        })
    }

    /// The times of some other members, by their own clocks, and whether there are other members.
    pub(crate) async fn peers_times(&self, count: usize) -> (Vec<Timestamp>, bool) {
        let local = self.transport.local();
        let mut nodes: Vec<NodeId> =
            self.candidates().iter().map(|c| c.node).filter(|node| *node != local).collect();
        let alone = self.is_alone();
        // A few drawn by chance, so that no few members decide everybody's time.
        for at in 0..nodes.len().min(count) {
            let drawn = u64::from_le_bytes(seam::random(&*self.entropy)) as usize;
            let other = at + drawn % (nodes.len() - at);
            nodes.swap(at, other);
        }
        nodes.truncate(count);
        let request = Request::Hello { mesh: self.mesh() };
        let mut answers = self.ask_all(nodes, &request, QUESTION_DEADLINE);
        let mut times = Vec::new();
        while let Some((_, answer)) = answers.next().await {
            if let Ok((Reply::Welcome { time, .. }, _)) = answer {
                times.push(time);
            }
        }
        (times, alone)
    }

    /// The median of what some other members say the time is; nothing where none answers.
    pub fn peers_time(&self) -> BoxFuture<'_, Option<Timestamp>> {
        Box::pin(async move {
            let (mut times, _) = self.peers_times(CLOCKS).await;
            times.sort_unstable();
            times.get(times.len() / 2).copied()
        })
    }

    /// The earlier of this node's time and that of its peers, in a mesh whose leases end: by it no lease
    /// ended that did not.
    pub(crate) async fn earlier_time(&self) -> Timestamp {
        let own = self.now();
        match self.genesis().lease_days {
            0 => own,
            _ => self.peers_time().await.map_or(own, |peers| peers.min(own)),
        }
    }

    /// A page of what a node keeps under a grant, and whether there is more.
    ///
    /// # Errors
    /// [`AskError`] where it does not answer, or refuses.
    pub fn segments_under(
        &self,
        listing: Listing,
    ) -> BoxFuture<'_, Result<(Vec<Listed>, bool), AskError>> {
        Box::pin(async move {
            let node = listing.node;
            let request = Request::Segments(listing);
            let transport = &*self.transport;
            let answer = ask(transport, node, &request, Bytes::new(), LEASES_DEADLINE).await;
            // Whoever took it for silent and reads its list asks it for what stands there, too.
            self.note_outcome(&node, &answer);
            match answer? {
                (Reply::Segments { listed, more }, _) => Ok((listed, more)),
                _ => Err(AskError::OffTopic { peer: node }),
            }
        })
    }

    /// Whether no other member was ever heard of, gone or not.
    fn is_alone(&self) -> bool {
        let local = self.transport.local();
        self.view().members().all(|member| member.advert.node() == local)
    }

    /// Members that are not gone.
    pub fn members_now(&self) -> Vec<NodeId> {
        self.candidates().iter().map(|candidate| candidate.node).collect()
    }
}
