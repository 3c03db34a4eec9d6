//! Looking: what every segment lacks, and whose turn it is to do something about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use datamesh_core::message::WantedShards;
use datamesh_core::{Descriptor, Domain, Hash, NodeId, Scheme, SegmentId, seam};
use datamesh_store::ShardState;
use tokio::time::Instant;

use super::{Case, Failed, LISTED_MAX, PAGE, Repairer, Shape, TRIES_MAX};
use crate::placement::Candidate;
use crate::repair::absence::millis;
use crate::repair::checker::{Action, Facts, Holding, Judgement, Presence, Priority, Rules, judge};
use crate::repair::rebalance::Fill;
use crate::repair::status::{DrainProgress, RepairStatus};
use crate::repair::survey::{Reach, Surveyed};
use crate::work::block;

/// BLAKE3 derive-key context of the order in which a segment's holders act.
const ACTOR_CONTEXT: &str = "datamesh 2026 repair actor v1";

/// The order of actors changes after this long, so that no holder is always the first.
const EPOCH_MS: u64 = 24 * 3600 * 1000;

/// Segments that wait to be mended in memory; a later look finds the others again.
const QUEUE_MAX: usize = 65_536;

/// Segments whose scheme is remembered; that of others is read from the disk at each look.
const SHAPES_MAX: usize = 262_144;

/// Shards whose absence is timed.
const UNSEEN_MAX: usize = 262_144;

/// Members that fell silent within this time, or within the grace where that is shorter, make a
/// storm if they are more than a fifth of all.
const STORM_WINDOW: Duration = Duration::from_secs(3600);

/// What one look adds up.
#[derive(Default)]
pub(super) struct Tally {
    status: RepairStatus,
    unseen: BTreeMap<(SegmentId, u8), Instant>,
    due: BTreeMap<SegmentId, Instant>,
    queue: BTreeMap<(Priority, SegmentId), Case>,
    moves: BTreeMap<SegmentId, u64>,
    lost: BTreeMap<SegmentId, String>,
    /// The schemes of these.
    schemes: Vec<(SegmentId, Scheme)>,
    /// Milliseconds until the next look is due.
    next: Option<u64>,
}

impl Tally {
    fn again(&mut self, ms: u64) {
        self.next = Some(self.next.unwrap_or(u64::MAX).min(ms));
    }
}

/// What a look judges by.
pub(super) struct Terms {
    rules: Rules,
    domains: BTreeSet<Domain>,
    pub(super) candidates: Vec<Candidate>,
    /// Nothing where this node gives no shard to anybody now.
    pub(super) fills: Option<BTreeMap<NodeId, Fill>>,
    epoch: u64,
}

impl Repairer {
    pub(super) fn terms(&self) -> Terms {
        let members = self.engine.member_count();
        let candidates = self.engine.view().candidates(self.engine.now());
        let domains = candidates
            .iter()
            .filter(|candidate| candidate.eligible)
            .map(|candidate| candidate.domain.clone())
            .collect();
        let window = millis(self.config.grace.min(STORM_WINDOW));
        let storm = self.state().absences.fresh(window) * 5 > members;
        let rules = Rules {
            offline_ms: millis(self.config.offline_after),
            grace_ms: millis(self.config.grace),
            settle_ms: millis(self.config.settle()),
            storm,
        };
        // In a storm, and by a node that leaves, nothing is moved.
        let fills = if storm || self.is_leaving() { None } else { self.fills() };
        Terms { rules, domains, candidates, fills, epoch: self.engine.now() / EPOCH_MS }
    }

    /// Looks at every segment of which a shard is here. Returns when to look again.
    pub(super) async fn look(&self) -> Duration {
        let terms = self.terms();
        let mut tally = Tally::default();
        tally.status.storm = terms.rules.storm;
        let leaving = self.is_leaving();
        if leaving {
            tally.status.drain = Some(DrainProgress::default());
        }
        let ended = self.engine.earlier_time().await.saturating_sub(self.config.leased_ms());
        let is_over = |segment: SegmentId| {
            self.store.lease(segment).is_some_and(|lease| lease.ended_before(ended))
        };
        let mut after = None;
        loop {
            let mut page = self.store.segments_after(after, PAGE);
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            page.retain(|(segment, _)| !is_over(*segment));
            self.look_at(page, &terms, &mut tally).await;
        }
        let mut after = None;
        loop {
            let page = self.store.damaged_after(after, PAGE);
            let Some(last) = page.last() else { break };
            after = Some((last.segment, last.shard));
            // Those of which another shard is held were looked at.
            let segments: BTreeSet<SegmentId> =
                page.into_iter().map(|damaged| damaged.segment).collect();
            let alone =
                segments.into_iter().filter(|id| self.store.held(*id) == 0 && !is_over(*id));
            self.look_at(alone.map(|id| (id, 0)).collect(), &terms, &mut tally).await;
        }
        if let Some(drain) = &mut tally.status.drain
            && drain.left == 0
        {
            drain.finished = self.others_prove_all().await;
        }
        if self.bring_lost_back(&tally.schemes).await {
            tally.again(0);
        }
        let wait = {
            let mut state = self.state();
            let (placed, moved) = (state.status.shards_placed, state.status.bytes_moved);
            let handed_over = state.status.shards_moved;
            state.failed.retain(|segment, _| {
                tally.due.contains_key(segment) || tally.lost.contains_key(segment)
            });
            for (segment, reason) in tally.lost {
                let next = Instant::now();
                let lost = Failed { tries: TRIES_MAX, next, reason, waits: false };
                state.failed.insert(segment, lost);
            }
            state.unseen = tally.unseen;
            state.due = tally.due;
            state.queue = tally.queue;
            state.moves.take(tally.moves, Instant::now());
            state.status = RepairStatus {
                shards_placed: placed,
                shards_moved: handed_over,
                bytes_moved: moved,
                looked: Some(self.engine.now()),
                ..tally.status
            };
            tally.next.map_or(self.config.interval, Duration::from_millis)
        };
        self.save().await;
        // Not all nodes at the same time.
        let jitter = u32::from_le_bytes(seam::random(&*self.engine.entropy)) % 100;
        wait.min(self.config.interval) + self.config.look_gap() * jitter / 100
    }

    /// Asks for shards of segments of which too few are there to be taken back from where they were
    /// moved. Says whether any were.
    async fn bring_lost_back(&self, lost: &[(SegmentId, Scheme)]) -> bool {
        // A look asks only who was heard of lately.
        let surveyed = self.engine.survey(lost, Reach::Everybody).await;
        let mut wanted = Vec::new();
        for ((segment, scheme), found) in lost.iter().zip(surveyed) {
            let there = found.claims.iter().fold(0_u32, |mask, (shard, _)| mask | 1 << shard);
            if (there.count_ones() as usize) < scheme.k() {
                wanted.push(WantedShards { segment: *segment, shards: !there });
            }
        }
        let back = self.engine.take_back(&wanted).await;
        back.values().any(|claims| !claims.is_empty())
    }

    /// Looks at segments that came lately, once their put must have ended: what it owes shows then.
    /// Returns when to look at everything at the latest.
    pub(super) async fn look_at_new(&self) -> Duration {
        let settle = self.config.settle();
        let stored = self.engine.take_stored(settle, PAGE);
        if stored.is_empty() {
            return self.config.interval;
        }
        let mut page: Vec<(SegmentId, u32)> =
            stored.into_iter().map(|segment| (segment, self.store.held(segment))).collect();
        page.sort_unstable();
        page.dedup();
        let mut tally = Tally::default();
        self.look_at(page, &self.terms(), &mut tally).await;
        // What nobody accounts for is judged by the next look, with all that this one learnt.
        let wait = match tally.unseen.is_empty() {
            true => self.config.interval,
            false => self.config.look_gap(),
        };
        let mut state = self.state();
        // They have been there for so long, and so have shards been missing.
        let before = Instant::now().checked_sub(settle).unwrap_or_else(Instant::now);
        for (key, _) in tally.unseen {
            state.unseen.entry(key).or_insert(before);
        }
        state.due.extend(tally.due);
        state.queue.extend(tally.queue);
        wait
    }

    async fn look_at(&self, page: Vec<(SegmentId, u32)>, terms: &Terms, tally: &mut Tally) {
        let mut asked = Vec::with_capacity(page.len());
        for (segment, _) in &page {
            if let Some(shape) = self.shape(*segment).await {
                asked.push((*segment, shape));
            }
        }
        let question: Vec<(SegmentId, Scheme)> =
            asked.iter().map(|(segment, shape)| (*segment, shape.scheme)).collect();
        let surveyed = self.engine.survey(&question, Reach::Lively).await;
        for ((segment, shape), surveyed) in asked.into_iter().zip(surveyed) {
            let (judgement, holdings) =
                self.assess(segment, shape.scheme, &surveyed, terms, Some(&mut *tally)).await;
            self.sort_in(segment, shape, &judgement, &holdings, terms, tally);
        }
    }

    async fn shape(&self, segment: SegmentId) -> Option<Shape> {
        if let Some(shape) = self.state().shapes.get(&segment) {
            return Some(*shape);
        }
        let descriptor = self.descriptor(segment).await?;
        let shape = Shape {
            scheme: descriptor.scheme,
            shard_length: u32::try_from(descriptor.shard_length()).unwrap_or(u32::MAX),
        };
        let mut state = self.state();
        if state.shapes.len() >= SHAPES_MAX {
            state.shapes.clear();
        }
        state.shapes.insert(segment, shape);
        Some(shape)
    }

    /// The descriptor of a segment, from this disk or, where it is damaged, from another holder.
    pub(super) async fn descriptor(&self, segment: SegmentId) -> Option<Arc<Descriptor>> {
        if let Some(known) = self.engine.known_descriptor(&segment) {
            return Some(known);
        }
        let store = Arc::clone(&self.store);
        let read = block(&**self.engine.executor(), move || store.descriptor(segment)).await;
        match read {
            Some(Ok(descriptor)) if descriptor.id() == segment => Some(Arc::new(descriptor)),
            _ => self.engine.describe(&segment, &mut Vec::new()).await,
        }
    }

    /// Judges a segment by what was found. Times of shards that nobody accounts for are kept in
    /// `tally` where a look is under way.
    pub(super) async fn assess(
        &self,
        segment: SegmentId,
        scheme: Scheme,
        surveyed: &Surveyed,
        terms: &Terms,
        tally: Option<&mut Tally>,
    ) -> (Judgement, Vec<Holding>) {
        let present: BTreeSet<u8> = surveyed.claims.iter().map(|(shard, _)| *shard).collect();
        let stored_at = if present.len() < scheme.n() && self.state().absences.any() {
            // A member that fell silent shortly before may have been there all the same.
            let patience = millis(self.config.offline_after);
            self.stored_at(segment).await.map(|at| at.saturating_sub(patience))
        } else {
            None
        };
        let holdings = {
            let state = self.state();
            self.engine.holdings(&segment, scheme, surveyed, &state.absences, stored_at)
        };
        let accounted: BTreeSet<u8> = holdings.iter().map(|holding| holding.shard).collect();
        let now = Instant::now();
        let mut unseen = BTreeMap::new();
        let mut kept = Vec::new();
        {
            let state = self.state();
            for shard in (0..scheme.n() as u8).filter(|shard| !accounted.contains(shard)) {
                let since = state.unseen.get(&(segment, shard)).copied().unwrap_or(now);
                kept.push(((segment, shard), since));
                // What is damaged here is not on its way from anybody.
                let damaged = self.store.shard_state(segment, shard) == Some(ShardState::Damaged);
                let certain = if damaged { terms.rules.settle_ms } else { 0 };
                unseen.insert(shard, millis(now - since).max(certain));
            }
        }
        if let Some(tally) = tally
            && tally.unseen.len() < UNSEEN_MAX
        {
            tally.unseen.extend(kept);
        }
        let facts = Facts { scheme, holdings: &holdings, unseen: &unseen, domains: &terms.domains };
        (judge(&facts, &terms.rules), holdings)
    }

    /// When this node stored its shard of a segment, by its own clock.
    async fn stored_at(&self, segment: SegmentId) -> Option<u64> {
        let store = Arc::clone(&self.store);
        let read = block(&**self.engine.executor(), move || {
            let shard = u8::try_from(store.held(segment).trailing_zeros()).ok()?;
            store.shard_meta(segment, shard).ok().map(|meta| meta.stored_at)
        });
        read.await.flatten()
    }

    fn is_leaving(&self) -> bool {
        let view = self.engine.view();
        view.member(&self.node).is_some_and(|member| member.advert.draining)
    }

    /// Counts a judgement, and queues the segment where it is this node's turn.
    fn sort_in(
        &self,
        segment: SegmentId,
        shape: Shape,
        judgement: &Judgement,
        holdings: &[Holding],
        terms: &Terms,
        tally: &mut Tally,
    ) {
        *tally.status.margins.entry(judgement.margin).or_default() += 1;
        if !judgement.waiting.is_empty() {
            tally.status.waiting += 1;
        }
        if let Some(drain) = &mut tally.status.drain {
            let mine = holdings.iter().filter(|holding| holding.node == self.node);
            for own in mine {
                drain.shards += 1;
                let elsewhere = holdings
                    .iter()
                    .any(|other| other.shard == own.shard && other.presence == Presence::Here);
                drain.left += u64::from(!elsewhere);
            }
        }
        match judgement.action {
            Action::Rest => {
                let chosen = self.own_move(segment, shape.scheme, holdings, judgement, terms);
                if let Some(chosen) = chosen {
                    let bytes = if chosen.held { 0 } else { u64::from(shape.shard_length) };
                    self.note_move(segment, bytes, &mut tally.moves);
                }
                return;
            }
            Action::Wait => return,
            Action::Later(ms) => {
                tally.status.later += 1;
                tally.again(ms);
                return;
            }
            Action::Lost => {
                let there = judgement.margin + shape.scheme.k() as i32;
                let reason = format!(
                    "{there} of its shards are there and {} are needed; it is whole again if \
                     holders come back",
                    shape.scheme.k()
                );
                if tally.lost.len() < LISTED_MAX {
                    tally.lost.insert(segment, reason);
                    tally.schemes.push((segment, shape.scheme));
                } else {
                    tally.status.dead_letter += 1;
                }
                return;
            }
            Action::Rebuild | Action::Copy => {}
        }
        let now = Instant::now();
        let (since, failed) = {
            let state = self.state();
            let since = state.due.get(&segment).copied().unwrap_or(now);
            (since, state.failed.get(&segment).map(|failed| failed.next))
        };
        tally.due.insert(segment, since);
        let Some(turn) = self.turn(segment, judgement, holdings, terms.epoch) else {
            tally.status.later += 1;
            return;
        };
        let begins =
            failed.unwrap_or(now).max(since + self.config.takeover(judgement.urgent) * turn);
        if begins > now {
            tally.status.later += 1;
            tally.again(millis(begins - now) + 1);
            return;
        }
        let placed = judgement.rebuild.len() + judgement.copy.len();
        let moved = if judgement.rebuild.is_empty() { placed } else { shape.scheme.k() };
        let bytes = (moved + placed) as u64 * u64::from(shape.shard_length);
        let case = Case { bytes, urgent: judgement.urgent };
        let pin = self.store.priority(segment, self.engine.now());
        tally.queue.insert((judgement.priority(pin), segment), case);
        if tally.queue.len() > QUEUE_MAX {
            tally.queue.pop_last();
            tally.again(0);
        }
    }

    /// How many others come before this node for a segment; nothing where it does not act.
    fn turn(
        &self,
        segment: SegmentId,
        judgement: &Judgement,
        holdings: &[Holding],
        epoch: u64,
    ) -> Option<u32> {
        let mine = |holding: &&Holding| holding.node == self.node;
        let leaves = |holding: &&Holding| {
            holding.presence == Presence::Leaving && judgement.copy.contains(&holding.shard)
        };
        let copies = judgement.rebuild.is_empty();
        // Who leaves has the bytes, and who finds its own shard damaged knows it first.
        if copies && holdings.iter().filter(mine).any(|own| leaves(&own))
            || !holdings.iter().any(|holding| mine(&holding))
        {
            return Some(0);
        }
        let after_leaver = u32::from(copies && holdings.iter().any(|other| leaves(&other)));
        let mut actors: Vec<NodeId> = holdings
            .iter()
            .filter(|holding| !matches!(holding.presence, Presence::Away(_)))
            .map(|holding| holding.node)
            .collect();
        actors.sort_by_key(|node| {
            let mut bytes = [0; 72];
            bytes[..32].copy_from_slice(&segment.0);
            bytes[32..40].copy_from_slice(&epoch.to_le_bytes());
            bytes[40..].copy_from_slice(&node.0);
            Hash::derive(ACTOR_CONTEXT, &bytes)
        });
        actors.dedup();
        let place = actors.iter().position(|node| *node == self.node)?;
        Some(place as u32 + after_leaver)
    }
}
