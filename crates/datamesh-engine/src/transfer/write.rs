//! Writing a segment: all n shards at once, a spare for each holder that fails or is slow.
//!
//! A shard counts as stored when its holder's receipt, signed after the sync, was checked. The
//! write waits for all n; only when no eligible node is left does it end with fewer, and never
//! with fewer than n − ⌈m/4⌉.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::message::{Reply, Request};
use datamesh_core::{
    BoxFuture, Descriptor, Grant, NodeId, Receipt, Scheme, SegmentId, StoreTicket,
};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::{Fault, FaultKind, fault_text};
use crate::ask::{AskError, ask};
use crate::engine::Engine;
use crate::placement::{Spread, Walk};
use crate::points;
use crate::work::step;

/// How long one holder may take for one shard.
const STORE_DEADLINE: Duration = Duration::from_secs(10);

/// How long the whole segment may take beside the time that its bytes do; a small put with too few
/// nodes must say so within 30 s.
const SEGMENT_DEADLINE: Duration = Duration::from_secs(25);

/// Bytes a second at which a segment's shards, all together, must leave.
const RATE_MIN: u64 = 16 << 10;

/// A holder gets a rival where it takes so many times as long as others took. Where all are slow it is
/// this node's line, and sending more would make it slower.
const HEDGE_TIMES: u32 = 2;

/// While nobody has answered, rivals wait for so long, and for what all shards take at the rate below.
const HEDGE_FIRST: Duration = Duration::from_secs(3);

/// Bytes a second of a line that is thought of as slow.
const HEDGE_RATE: u64 = 256 << 10;

/// Once a put may count, the holders that are still open have so many times the time that those took
/// which have answered, and [`STORE_DEADLINE`] at least.
const OTHERS_TIMES: u32 = 3;

/// A coded segment on its way.
#[derive(Debug, Clone)]
pub struct SegmentWrite {
    /// What it is.
    pub descriptor: Descriptor,
    /// All n shards.
    pub shards: Vec<Bytes>,
    /// The permission for it.
    pub ticket: StoreTicket,
    /// The permission that the ticket rests on.
    pub grant: Arc<Grant>,
    /// How strictly its shards are kept apart.
    pub spread: Spread,
}

/// Where a segment's shards are.
#[derive(Debug, Clone)]
pub struct WriteOutcome {
    /// The segment.
    pub segment: SegmentId,
    /// A checked receipt for each stored shard, in the order of shards.
    pub receipts: Vec<Receipt>,
    /// Shards that are owed because no eligible node was left for them.
    pub owed: Vec<u8>,
    /// Peers that failed on the way.
    pub faults: Vec<Fault>,
}

/// Why a segment is not stored. Shards that were stored all the same are orphans.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// Fewer nodes took a shard than a commit needs.
    #[error(
        "{stored} of {n} shards could be stored, a commit needs {needed} ({scheme}, {domains} failure domains can take shards now){}",
        fault_text(.faults)
    )]
    TooFewDomains {
        /// The scheme.
        scheme: Scheme,
        /// Shards that were stored.
        stored: usize,
        /// All shards.
        n: usize,
        /// The least that commits.
        needed: usize,
        /// Failure domains that took shards when the write began.
        domains: usize,
        /// Peers that failed on the way.
        faults: Vec<Fault>,
    },
}

/// One request under way.
struct Attempt {
    shard: u8,
    node: NodeId,
    started: Instant,
    hedged: bool,
}

impl Engine {
    /// Stores a segment.
    ///
    /// # Errors
    /// [`WriteError::TooFewDomains`] where fewer than the least number of shards could be stored.
    pub fn write_segment<'a>(
        &'a self,
        write: &'a SegmentWrite,
    ) -> BoxFuture<'a, Result<WriteOutcome, WriteError>> {
        Box::pin(async move {
            step(&*self.executor, points::SEGMENT_SEND, self.send_segment(write)).await
        })
    }

    async fn send_segment(&self, write: &SegmentWrite) -> Result<WriteOutcome, WriteError> {
        let scheme = write.descriptor.scheme;
        let (n, needed) = (scheme.n(), scheme.commit_min());
        let segment = write.ticket.segment;
        let candidates = self.view().candidates(self.now());
        let mut walk = Walk::new(&segment, scheme, &candidates, write.spread);
        let domains = walk.domains_eligible();
        let too_few = |stored, faults| WriteError::TooFewDomains {
            scheme,
            stored,
            n,
            needed,
            domains,
            faults,
        };
        let enough = if write.spread == Spread::Strict { needed } else { 1 };
        if domains < enough {
            return Err(too_few(0, Vec::new()));
        }

        let mut receipts: Vec<Option<Receipt>> = vec![None; n];
        let mut faults = Vec::new();
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut pending = FuturesUnordered::new();
        let begin = |attempts: &mut Vec<Attempt>, shard: u8, node: NodeId| {
            attempts.push(Attempt { shard, node, started: Instant::now(), hedged: false });
            self.store_shard(write, shard, node)
        };
        for shard in 0..n as u8 {
            if let Some(node) = walk.next_holder() {
                pending.push(begin(&mut attempts, shard, node));
            }
        }
        let begun = Instant::now();
        let bytes: u64 = write.shards.iter().map(|shard| shard.len() as u64).sum();
        // When the newest receipt came, from the beginning.
        let mut last: Option<Duration> = None;
        let mut end = begun + SEGMENT_DEADLINE + Duration::from_millis(bytes * 1000 / RATE_MIN);
        let mut spares = true;
        // Where nodes are used again they never run out: each shard gets one rival.
        let mut rivals_left = if write.spread == Spread::Strict { usize::MAX } else { n };
        while receipts.iter().any(Option::is_none) && !pending.is_empty() {
            let patience = match last {
                Some(last) => self.scores.hedge_after().max(last * HEDGE_TIMES),
                None => HEDGE_FIRST + Duration::from_millis(bytes * 1000 / HEDGE_RATE),
            };
            let slowest = attempts
                .iter()
                .filter(|attempt| spares && !attempt.hedged)
                .map(|attempt| attempt.started + patience)
                .min();
            let wake = slowest.map_or(end, |slow| slow.min(end));
            let finished = tokio::select! {
                biased;
                finished = pending.next() => finished,
                () = sleep_until(wake) => None,
            };
            let Some((shard, node, result)) = finished else {
                let now = Instant::now();
                if now >= end {
                    break;
                }
                // The slowest holder gets a rival; whoever syncs first is the holder.
                let slow = attempts
                    .iter_mut()
                    .find(|attempt| !attempt.hedged && attempt.started + patience <= now);
                if let Some(slow) = slow {
                    slow.hedged = true;
                    let shard = slow.shard;
                    match walk.next_holder().filter(|_| rivals_left > 0) {
                        Some(spare) => {
                            rivals_left -= 1;
                            pending.push(begin(&mut attempts, shard, spare));
                        }
                        None => spares = false,
                    }
                }
                continue;
            };
            attempts.retain(|attempt| !(attempt.shard == shard && attempt.node == node));
            match result {
                Ok(receipt) => {
                    if let Some(place) = receipts.get_mut(usize::from(shard)) {
                        place.get_or_insert(receipt);
                    }
                    attempts.retain(|attempt| attempt.shard != shard);
                    last = Some(begun.elapsed());
                    if receipts.iter().flatten().count() == needed {
                        let others = begun.elapsed().saturating_mul(OTHERS_TIMES);
                        end = end.min(Instant::now() + others.max(STORE_DEADLINE));
                    }
                }
                Err(kind) => {
                    let fault = Fault { node, shard, kind };
                    self.note_fault(&fault);
                    faults.push(fault);
                    walk.failed(&node);
                    let open = receipts.get(usize::from(shard)).is_some_and(Option::is_none);
                    let rival = attempts.iter().any(|attempt| attempt.shard == shard);
                    if open
                        && !rival
                        && let Some(spare) = walk.next_holder()
                    {
                        pending.push(begin(&mut attempts, shard, spare));
                    }
                }
            }
        }
        drop(pending);
        let owed: Vec<u8> =
            (0..n as u8).filter(|shard| receipts[usize::from(*shard)].is_none()).collect();
        let receipts: Vec<Receipt> = receipts.into_iter().flatten().collect();
        if receipts.len() < needed {
            return Err(too_few(receipts.len(), faults));
        }
        self.remember_holders(segment, receipts.iter().map(|r| (r.shard, r.node)).collect());
        self.remember_descriptor(segment, Arc::new(write.descriptor.clone()));
        Ok(WriteOutcome { segment, receipts, owed, faults })
    }

    /// Hands one shard to one node and checks its receipt.
    async fn store_shard(
        &self,
        write: &SegmentWrite,
        shard: u8,
        node: NodeId,
    ) -> (u8, NodeId, Result<Receipt, FaultKind>) {
        let request = Request::Store {
            descriptor: write.descriptor.clone(),
            shard,
            ticket: write.ticket.clone(),
            grant: (*write.grant).clone(),
            renewal: None,
        };
        let body = write.shards.get(usize::from(shard)).cloned().unwrap_or_default();
        let (bytes, started) = (body.len(), Instant::now());
        let asking = ask(&*self.transport, node, &request, body, STORE_DEADLINE);
        let answer = step(&*self.executor, points::SHARD_SEND, asking).await;
        let result = match answer {
            Ok((Reply::Stored(receipt), _)) => {
                let holds = receipt.segment == write.ticket.segment
                    && receipt.shard == shard
                    && receipt.node == node
                    && receipt.verify(&self.mesh()).is_ok();
                if holds { Ok(receipt) } else { Err(FaultKind::WrongReceipt) }
            }
            Ok(_) => Err(AskError::OffTopic { peer: node }.into()),
            Err(error) => Err(error.into()),
        };
        if result.is_ok() {
            self.scores.succeeded(&node, bytes, started.elapsed());
            self.note_answer(&node, false);
        }
        (shard, node, result)
    }
}
