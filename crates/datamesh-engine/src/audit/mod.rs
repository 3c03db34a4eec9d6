//! Audits: asking holders to prove that they can give back what they keep.
//!
//! Each segment has one auditor a period (a day): a holder that [`duty`] draws among those that say
//! they hold a shard. The auditor knows the descriptor from its own shard, so it trusts nobody: it
//! asks each other holder for a cell that nobody can foresee, with a proof against the shard's
//! root. What a node does not claim to hold is never held against it.
//!
//! An answer is ok, corrupt, missing, refused, busy, timeout or offline. Only corrupt, missing and
//! refused say something about the shard; after one of these the node is asked once more, first
//! whether it still claims the shard: a loss that it admits is handed to repair and costs nothing.
//! Slowness is never held against anybody.
//!
//! Promised: while it keeps up, every segment here is looked at once in a period, by some holder.
//! Not promised: that a node which proves a shard stores it: it may fetch the cell from somebody
//! else. An audit proves that the shard can be had through the node.

mod challenge;
pub mod duty;
mod outcome;
pub mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use datamesh_catalog::PeerAudit;
use datamesh_core::audit::CHALLENGES_MAX;
use datamesh_core::message::{Reply, Request, SEGMENTS_MAX};
use datamesh_core::scheme::SHARDS_MAX;
use datamesh_core::{BoxFuture, NodeId, SegmentId, Timestamp};
use datamesh_store::Store;
use futures::StreamExt;
use tokio::time::{Instant, sleep, sleep_until};

use self::challenge::Claim;
use self::duty::Place;
use self::tally::{Counts, Verdict, Window, book, flagged, fresh};
use crate::ask::ask;
use crate::engine::Engine;
use crate::findings::{Finding, Findings};
use crate::placement::ranking;
use crate::view::Standing;
use crate::work::block;

pub use outcome::Outcome;

/// Segments looked at in one step: as many as one Have asks about.
const PAGE: usize = SEGMENTS_MAX;

/// Steps of one turn; what is left is done by the next.
const PAGES_MAX: usize = 16;

/// Nodes that are asked at once.
const AT_ONCE: usize = 8;

/// How long a node may take to say what it holds.
const HAVE_DEADLINE: Duration = Duration::from_secs(5);

/// How long a node whose answer was final has before it is asked again.
const RECHECK_AFTER: Duration = Duration::from_secs(2);

/// Name of the place in the node's settings.
const PLACE: &str = "audit/place";

/// What an auditor is made of.
pub struct AuditorParts {
    /// The engine.
    pub engine: Arc<Engine>,
    /// This node's store: what it holds it audits at others.
    pub store: Arc<Store>,
    /// Takes what is found.
    pub findings: Arc<dyn Findings>,
    /// How often each segment has its turn; the same on all nodes of a mesh.
    pub period: Duration,
    /// Most bytes a second that others read for this node's challenges.
    pub rate: u64,
}

/// Audits what others keep of the segments that this node has a shard of.
///
/// architecture: worker
pub struct Auditor {
    parts: AuditorParts,
    state: Mutex<State>,
    /// When the next batch may be sent.
    next: Mutex<Instant>,
}

struct State {
    place: Option<Place>,
    peers: BTreeMap<NodeId, PeerAudit>,
    unsaved: BTreeSet<NodeId>,
    window: Window,
    since: Timestamp,
    last: Option<Timestamp>,
}

/// How auditing goes.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditStatus {
    /// When this process began to audit; nothing before it is in the counts.
    pub since: Timestamp,
    /// When a node was last challenged by this process.
    pub last: Option<Timestamp>,
    /// How often each segment has its turn.
    pub period: Duration,
    /// How much of a period this node is behind, in thousandths.
    pub behind: u32,
    /// Counts over the last period, or since the start.
    pub counts: Counts,
    /// What is known of each peer.
    pub peers: Vec<PeerAudit>,
    /// Peers that failed on shards which they claim to hold, and did so often of late.
    pub flagged: Vec<NodeId>,
}

/// What one turn did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditTurn {
    /// Segments whose auditor this node was.
    pub segments: u64,
    /// Challenges sent, repeated ones not counted.
    pub challenges: u64,
    /// Final outcomes after the second look.
    pub failures: u64,
    /// More was due than one turn takes on.
    pub more: bool,
}

/// A segment of a page: which of its shards are here, and what others claim.
struct Audited {
    segment: SegmentId,
    claims: Vec<(NodeId, u32)>,
}

impl Auditor {
    /// An auditor that knows nothing yet.
    pub fn new(parts: AuditorParts) -> Self {
        let state = State {
            place: None,
            peers: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            window: Window::default(),
            since: parts.engine.now(),
            last: None,
        };
        Self { parts, state: Mutex::new(state), next: Mutex::new(Instant::now()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn period_ms(&self) -> u64 {
        (self.parts.period.as_millis() as u64).max(1)
    }

    /// How often a turn is due: the work of a period is spread over it, in parts that are large
    /// enough to ask each node about many segments at once.
    pub fn pause(&self) -> Duration {
        (self.parts.period / 64).max(Duration::from_millis(50))
    }

    /// Takes in what is remembered of an earlier process.
    pub fn recall(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(db) = self.parts.engine.node_db.clone() else { return };
            let read =
                block(&**self.parts.engine.executor(), move || (db.setting(PLACE), db.audits()));
            let Some((place, audits)) = read.await else { return };
            let mut state = self.state();
            if let Ok(Some(bytes)) = &place
                && let (Some(epoch), Some(segment)) = (bytes.get(..8), bytes.get(8..40))
                && let (Ok(epoch), Ok(segment)) = (epoch.try_into(), segment.try_into())
            {
                let (epoch, segment) = (u64::from_le_bytes(epoch), SegmentId(segment));
                state.place = Some(Place { epoch, segment });
            }
            match audits {
                Ok(audits) => {
                    state.peers.extend(audits.into_iter().map(|audit| (audit.node, audit)))
                }
                Err(error) => tracing::warn!(%error, "earlier audits cannot be read"),
            }
        })
    }

    async fn save(&self) {
        let Some(db) = self.parts.engine.node_db.clone() else { return };
        let (place, audits) = {
            let mut state = self.state();
            let unsaved = std::mem::take(&mut state.unsaved);
            let audits: Vec<PeerAudit> =
                unsaved.iter().filter_map(|node| state.peers.get(node).copied()).collect();
            (state.place, audits)
        };
        let saved = block(&**self.parts.engine.executor(), move || {
            for batch in audits.chunks(1024) {
                db.save_audits(batch)?;
            }
            let Some(place) = place else { return Ok(()) };
            let bytes = [place.epoch.to_le_bytes().as_slice(), &place.segment.0].concat();
            db.save_setting(PLACE, &bytes)
        });
        if let Some(Err(error)) = saved.await {
            tracing::warn!(%error, "audits are not remembered");
        }
    }

    /// How auditing goes.
    pub fn status(&self) -> AuditStatus {
        let (now, period_ms) = (self.parts.engine.now(), self.period_ms());
        let target = Place::at(now, period_ms);
        let state = &mut *self.state();
        AuditStatus {
            since: state.since,
            last: state.last,
            period: self.parts.period,
            behind: state.place.map_or(0, |place| place.behind(target)),
            counts: state.window.counts(now, period_ms),
            peers: state.peers.values().copied().collect(),
            flagged: state
                .peers
                .values()
                .filter(|audit| flagged(audit, target.epoch))
                .map(|audit| audit.node)
                .collect(),
        }
    }

    /// Audits what is due by now.
    pub fn turn(&self) -> BoxFuture<'_, AuditTurn> {
        Box::pin(async move {
            let target = Place::at(self.parts.engine.now(), self.period_ms());
            let mut turn = AuditTurn::default();
            for _ in 0..PAGES_MAX {
                let place = self.state().place;
                // Begins where the clock is: who starts owes nothing of the past.
                let place = match place {
                    Some(place) if place.epoch <= target.epoch => place,
                    _ => target,
                };
                let Some((from, until)) = place.stretch(target) else {
                    self.state().place = Some(place);
                    turn.more = false;
                    break;
                };
                turn.more = true;
                let mut page = self.parts.store.segments_after(Some(from.segment), PAGE);
                let whole = page.len() < PAGE;
                page.retain(|(segment, _)| *segment <= until);
                let last = page.last().map(|(segment, _)| *segment);
                let done = if whole || page.len() < PAGE { until } else { last.unwrap_or(until) };
                self.page(page, from.epoch, &mut turn).await;
                self.state().place = Some(Place { epoch: from.epoch, segment: done });
                self.save().await;
            }
            turn
        })
    }

    /// Audits those segments of a page whose auditor this node is.
    async fn page(&self, mut page: Vec<(SegmentId, u32)>, epoch: u64, turn: &mut AuditTurn) {
        // Whose lease ended goes from one holder sooner than from another: none of them is to blame.
        let now = self.parts.engine.now();
        let lease = |segment| self.parts.store.lease(segment);
        page.retain(|(segment, _)| !lease(*segment).is_some_and(|lease| lease.ended_before(now)));
        if page.is_empty() {
            return;
        }
        let here = self.parts.engine.transport().local();
        let segments: Vec<SegmentId> = page.iter().map(|(segment, _)| *segment).collect();
        let claims = self.claims(&segments).await;
        let duties: Vec<Audited> = segments
            .into_iter()
            .zip(claims)
            .map(|(segment, claims)| Audited { segment, claims })
            .filter(|audited| {
                let others = audited.claims.iter().map(|(node, _)| *node);
                let holders = others.chain(std::iter::once(here));
                duty::auditor(&audited.segment, epoch, holders) == Some(here)
            })
            .collect();
        let by_node = self.draw(duties, turn).await;
        let asked: Vec<(NodeId, Vec<Claim>)> = by_node.into_iter().collect();
        let first = self.challenge_all(&asked).await;
        turn.challenges += first.len() as u64;
        let mut again: BTreeMap<NodeId, Vec<Claim>> = BTreeMap::new();
        for (node, claim, outcome) in first {
            if outcome.is_final() {
                let shard = claim.challenge.shard;
                let claim = Claim::draw(&self.parts.engine, claim.descriptor, shard);
                again.entry(node).or_default().push(claim);
            } else {
                self.book(node, Verdict { outcome, admitted: false });
            }
        }
        if !again.is_empty() {
            sleep(RECHECK_AFTER).await;
            turn.failures += self.look_again(again).await;
        }
    }

    /// What other members say they hold of these segments.
    async fn claims(&self, segments: &[SegmentId]) -> Vec<Vec<(NodeId, u32)>> {
        let engine = &self.parts.engine;
        let here = engine.transport().local();
        let mut asked: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        {
            let (view, now) = (engine.view(), engine.now());
            let candidates = view.candidates(now);
            let silent: BTreeSet<NodeId> = view
                .members()
                .filter(|member| view.standing(member, now) == Standing::Silent)
                .map(|member| member.advert.node())
                .collect();
            for (place, segment) in segments.iter().enumerate() {
                for candidate in ranking(segment, &candidates).into_iter().take(2 * SHARDS_MAX) {
                    if candidate.node != here && !silent.contains(&candidate.node) {
                        asked.entry(candidate.node).or_default().push(place);
                    }
                }
            }
        }
        let mut asking = Vec::with_capacity(asked.len());
        for (node, places) in asked {
            asking.push(async move {
                let about: Vec<SegmentId> =
                    places.iter().filter_map(|place| segments.get(*place)).copied().collect();
                let held = self.have(node, about).await;
                (node, places, held)
            });
        }
        let mut answers = futures::stream::iter(asking).buffer_unordered(AT_ONCE).boxed();
        let mut claims = vec![Vec::new(); segments.len()];
        while let Some((node, places, held)) = answers.next().await {
            for (place, mask) in places.into_iter().zip(held.unwrap_or_default()) {
                if mask != 0
                    && let Some(claims) = claims.get_mut(place)
                {
                    claims.push((node, mask));
                }
            }
        }
        claims
    }

    /// Which shards a node says it holds; the outcome of asking where it does not say.
    async fn have(&self, node: NodeId, segments: Vec<SegmentId>) -> Result<Vec<u32>, Outcome> {
        let engine = &self.parts.engine;
        let request = Request::Have(segments);
        match ask(&**engine.transport(), node, &request, Bytes::new(), HAVE_DEADLINE).await {
            Ok((Reply::Holding(held), _)) => {
                engine.note_answer(&node, false);
                Ok(held)
            }
            Ok(_) => Err(Outcome::Corrupt),
            Err(error) => {
                if error.is_absence() {
                    engine.note_answer(&node, true);
                }
                Err(Outcome::of(&error))
            }
        }
    }

    /// Draws challenges for all claimed shards of segments, by node.
    async fn draw(
        &self,
        duties: Vec<Audited>,
        turn: &mut AuditTurn,
    ) -> BTreeMap<NodeId, Vec<Claim>> {
        let engine = &self.parts.engine;
        let store = Arc::clone(&self.parts.store);
        let described = block(&**engine.executor(), move || {
            let read = |audited: Audited| {
                // Ours was found damaged since: another holder has the next turn.
                let descriptor = store.descriptor(audited.segment).ok()?;
                Some((Arc::new(descriptor), audited.claims))
            };
            duties.into_iter().filter_map(read).collect::<Vec<_>>()
        });
        let mut by_node: BTreeMap<NodeId, Vec<Claim>> = BTreeMap::new();
        for (descriptor, claims) in described.await.unwrap_or_default() {
            turn.segments += 1;
            let (now, period_ms) = (engine.now(), self.period_ms());
            self.state().window.segment(now, period_ms);
            for (node, mask) in claims {
                // Shards that the segment does not have are nobody's.
                for shard in (0..descriptor.scheme.n() as u8).filter(|s| mask & (1 << s) != 0) {
                    let claim = Claim::draw(engine, Arc::clone(&descriptor), shard);
                    by_node.entry(node).or_default().push(claim);
                }
            }
        }
        by_node
    }

    /// Challenges nodes side by side, each in batches one after another, within the rate.
    async fn challenge_all(&self, asked: &[(NodeId, Vec<Claim>)]) -> Vec<(NodeId, Claim, Outcome)> {
        let mut asking = Vec::with_capacity(asked.len());
        for (node, claims) in asked {
            asking.push(async move {
                let mut results = Vec::with_capacity(claims.len());
                for batch in claims.chunks(CHALLENGES_MAX) {
                    self.pace(batch.iter().map(Claim::cost).sum()).await;
                    let outcomes = self.parts.engine.challenge(*node, batch).await;
                    let now = self.parts.engine.now();
                    self.state().last = Some(now);
                    let judged = batch.iter().cloned().zip(outcomes);
                    results.extend(judged.map(|(claim, outcome)| (*node, claim, outcome)));
                }
                results
            });
        }
        let all: Vec<_> = futures::stream::iter(asking).buffer_unordered(AT_ONCE).collect().await;
        all.into_iter().flatten().collect()
    }

    /// Waits until the rate permits `bytes` more.
    async fn pace(&self, bytes: u64) {
        let takes = Duration::from_secs_f64(bytes as f64 / self.parts.rate.max(1) as f64);
        let begin = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = (*next).max(Instant::now());
            *next = begin + takes;
            begin
        };
        sleep_until(begin).await;
    }

    /// The second look at claims whose first answer was final. Returns how many failed again.
    async fn look_again(&self, again: BTreeMap<NodeId, Vec<Claim>>) -> u64 {
        let mut still = Vec::new();
        for (node, claims) in again {
            let mut kept = Vec::new();
            for batch in claims.chunks(SEGMENTS_MAX) {
                let about = batch.iter().map(|claim| claim.challenge.segment).collect();
                let held = self.have(node, about).await;
                for (place, claim) in batch.iter().enumerate() {
                    let mask = match &held {
                        Ok(held) => held.get(place).copied().unwrap_or(0),
                        Err(outcome) => {
                            let admitted = false;
                            self.fail(node, claim, Verdict { outcome: *outcome, admitted });
                            continue;
                        }
                    };
                    if mask & 1u32.checked_shl(claim.challenge.shard.into()).unwrap_or(0) == 0 {
                        let verdict = Verdict { outcome: Outcome::Missing, admitted: true };
                        self.fail(node, claim, verdict);
                    } else {
                        kept.push(claim.clone());
                    }
                }
            }
            if !kept.is_empty() {
                still.push((node, kept));
            }
        }
        let mut failures = 0;
        for (node, claim, outcome) in self.challenge_all(&still).await {
            failures += u64::from(outcome.is_final());
            self.fail(node, &claim, Verdict { outcome, admitted: false });
        }
        failures
    }

    /// Books the verdict of a second look, and hands on what is final.
    fn fail(&self, node: NodeId, claim: &Claim, verdict: Verdict) {
        self.book(node, verdict);
        if verdict.outcome.is_final() {
            self.parts.findings.take(Finding::Unproven {
                segment: claim.challenge.segment,
                shard: claim.challenge.shard,
                node,
                outcome: verdict.outcome,
                admitted: verdict.admitted,
            });
        }
    }

    fn book(&self, node: NodeId, verdict: Verdict) {
        let (now, period_ms) = (self.parts.engine.now(), self.period_ms());
        let state = &mut *self.state();
        state.window.book(verdict, now, period_ms);
        // Peers come from the view, which is bounded.
        let audit = state.peers.entry(node).or_insert_with(|| fresh(node));
        book(audit, verdict, now / period_ms, now);
        state.unsaved.insert(node);
    }
}
