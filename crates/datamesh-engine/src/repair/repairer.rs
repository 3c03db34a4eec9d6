//! The worker that keeps the segments of which this node holds a shard whole.
//!
//! It looks at all of them every `interval`, and soon after a member falls silent, comes back,
//! joins or leaves. What a look finds is ordered by danger and mended a few segments at a time; before
//! anything is done, everybody is asked again. All holders of a segment see the same, and one of
//! them acts; the next one begins where the one before has not done it in time. Two that act at once
//! do harmless double work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_core::{Descriptor, Domain, Hash, NodeId, Scheme, SegmentId, seam};
use datamesh_store::Store;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, timeout};

use super::absence::{Absences, millis};
use super::checker::{Action, Facts, Holding, Judgement, Presence, Priority, Rules, judge};
use super::mend::{MendError, Mended, Permit};
use super::pace::Pace;
use super::status::{DeadLetter, DrainProgress, RepairStatus};
use super::survey::{Reach, Surveyed};
use crate::engine::Engine;
use crate::view::Standing;
use crate::work::block;

/// BLAKE3 derive-key context of the order in which a segment's holders act.
const ACTOR_CONTEXT: &str = "datamesh 2026 repair actor v1";

/// The order of actors changes after this long, so that no holder is always the first.
const EPOCH_MS: u64 = 24 * 3600 * 1000;

/// Segments looked at together: as many as one question may name.
const PAGE: usize = 1024;

/// Segments mended at once. Each takes up to three times the largest segment in memory.
const AT_ONCE: usize = 4;

/// Segments that wait to be mended in memory; a later look finds the others again.
const QUEUE_MAX: usize = 65_536;

/// Segments whose scheme is remembered; that of others is read from the disk at each look.
const SHAPES_MAX: usize = 262_144;

/// Shards whose absence is timed.
const UNSEEN_MAX: usize = 262_144;

/// Longest time that a shard which nobody accounts for is waited for: a writer's patience for a
/// segment, and some more.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// Members that fell silent within this time, or within the grace where that is shorter, make a
/// storm if they are more than a fifth of all.
const STORM_WINDOW: Duration = Duration::from_secs(3600);

/// How long mending one segment may take.
const MEND_PATIENCE: Duration = Duration::from_secs(300);

/// Failures after which a segment is on the list of dead letters.
const TRIES_MAX: u32 = 4;

/// Longest time between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(6 * 3600);

/// Dead letters that are listed; all are counted.
const LISTED_MAX: usize = 1000;

/// Name of the setting that keeps absences.
const ABSENCES: &str = "repair/absences";

/// How a repairer works.
#[derive(Debug, Clone, Copy)]
pub struct RepairConfig {
    /// `membership.offline_after`: a holder that has been silent for less is not missed.
    pub offline_after: Duration,
    /// `repair.grace`: how long one silent holder is waited for.
    pub grace: Duration,
    /// `repair.interval`: time between looks at all segments.
    pub interval: Duration,
    /// `repair.rate`: bytes a second, fetched and sent.
    pub rate: u64,
}

impl RepairConfig {
    /// How soon one look may follow another.
    fn look_gap(&self) -> Duration {
        (self.interval / 20).clamp(Duration::from_millis(100), Duration::from_secs(60))
    }

    /// How long each holder leaves it to the one before.
    fn takeover(&self) -> Duration {
        (self.offline_after * 2).max(Duration::from_secs(1))
    }

    fn settle(&self) -> Duration {
        self.grace.min(SETTLE_MAX)
    }
}

/// What is looked up for a segment at each look.
#[derive(Debug, Clone, Copy)]
struct Shape {
    scheme: Scheme,
    shard_length: u32,
}

/// A segment that waits to be mended.
#[derive(Debug, Clone, Copy)]
struct Case {
    bytes: u64,
    urgent: bool,
}

/// A segment that could not be mended.
#[derive(Debug, Clone)]
struct Failed {
    tries: u32,
    next: Instant,
    reason: String,
}

#[derive(Default)]
struct State {
    absences: Absences,
    /// Members and how they stood when they were last looked at.
    members: Vec<(NodeId, u8)>,
    /// When shards were first found that nobody accounts for.
    unseen: BTreeMap<(SegmentId, u8), Instant>,
    /// Since when segments are to be mended.
    due: BTreeMap<SegmentId, Instant>,
    queue: BTreeMap<(Priority, SegmentId), Case>,
    failed: BTreeMap<SegmentId, Failed>,
    shapes: BTreeMap<SegmentId, Shape>,
    active: BTreeMap<SegmentId, u64>,
    damaged: usize,
    status: RepairStatus,
    look_soon: bool,
}

/// What one look adds up.
#[derive(Default)]
struct Tally {
    status: RepairStatus,
    unseen: BTreeMap<(SegmentId, u8), Instant>,
    due: BTreeMap<SegmentId, Instant>,
    queue: BTreeMap<(Priority, SegmentId), Case>,
    lost: BTreeMap<SegmentId, String>,
    /// Milliseconds until the next look is due.
    next: Option<u64>,
}

impl Tally {
    fn again(&mut self, ms: u64) {
        self.next = Some(self.next.unwrap_or(u64::MAX).min(ms));
    }
}

/// What a look judges by.
struct Terms {
    rules: Rules,
    domains: BTreeSet<Domain>,
    epoch: u64,
}

/// The worker.
pub struct Repairer {
    engine: Arc<Engine>,
    store: Arc<Store>,
    node: NodeId,
    config: RepairConfig,
    pace: Pace,
    state: Mutex<State>,
}

/// A segment that was worked on, and what came of it.
type Worked = (SegmentId, Result<Option<Mended>, MendError>);

impl Repairer {
    /// A repairer of the segments of which `store` holds shards.
    pub fn new(engine: Arc<Engine>, store: Arc<Store>, config: RepairConfig) -> Self {
        let node = engine.transport().local();
        let pace = Pace::new(config.rate);
        Self { engine, store, node, config, pace, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it knows and does.
    pub fn status(&self) -> RepairStatus {
        let state = self.state();
        let mut status = state.status.clone();
        status.queued = state.queue.len() as u64;
        status.active = state.active.len() as u64;
        let queued: u64 = state.queue.values().map(|case| case.bytes).sum();
        status.bytes_left = queued + state.active.values().sum::<u64>();
        let failed = state.failed.iter().filter(|(_, failed)| failed.tries >= TRIES_MAX);
        for (segment, failed) in failed {
            status.dead_letter += 1;
            if status.dead_letters.len() < LISTED_MAX {
                let (reason, tries) = (failed.reason.clone(), failed.tries);
                status.dead_letters.push(DeadLetter { segment: *segment, reason, tries });
            }
        }
        status.bytes_per_second = self.pace.measured();
        status
    }

    /// Looks at everything soon, and tries again what failed.
    pub fn look_soon(&self) {
        let mut state = self.state();
        state.look_soon = true;
        let now = Instant::now();
        for failed in state.failed.values_mut() {
            failed.next = now;
        }
    }

    /// Works until it is dropped.
    pub async fn run(&self) {
        self.recall().await;
        let tick =
            (self.config.interval / 10).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let mut jobs = FuturesUnordered::new();
        let mut looked = Instant::now();
        let mut look_at = looked;
        loop {
            if self.observe() {
                look_at = look_at.min(looked + self.config.look_gap());
            }
            let due = Instant::now() >= look_at;
            if due && jobs.is_empty() {
                let next = self.look().await;
                looked = Instant::now();
                look_at = looked + next.max(self.config.look_gap());
                continue;
            }
            if !due && jobs.is_empty() {
                let wait = self.look_at_new().await;
                look_at = look_at.min(Instant::now() + wait);
            }
            // What is begun ends before the next look, so that neither waits for the other's
            // answers.
            while !due && jobs.len() < AT_ONCE {
                let Some((segment, urgent)) = self.take_case() else { break };
                jobs.push(self.work(segment, urgent));
            }
            tokio::select! {
                biased;
                Some(worked) = jobs.next(), if !jobs.is_empty() => self.finish(worked),
                () = sleep(tick) => {}
            }
        }
    }

    async fn recall(&self) {
        let Some(db) = self.engine.node_db() else { return };
        let now = self.engine.now();
        let kept = block(&**self.engine.executor(), move || db.setting(ABSENCES)).await;
        if let Some(Ok(Some(bytes))) = kept {
            self.state().absences = Absences::recall(&bytes, now);
        }
    }

    async fn save(&self) {
        let Some(db) = self.engine.node_db() else { return };
        let bytes = self.state().absences.to_bytes(self.engine.now());
        let saved =
            block(&**self.engine.executor(), move || db.save_setting(ABSENCES, &bytes)).await;
        if let Some(Err(error)) = saved {
            tracing::warn!(%error, "how long members have been silent is not remembered");
        }
    }

    /// Looks at the members. Says whether something changed that calls for a look at the segments.
    fn observe(&self) -> bool {
        let (view, now) = (self.engine.view(), self.engine.now());
        let members: Vec<(NodeId, u8)> = view
            .members()
            .map(|member| {
                let standing = match view.standing(member, now) {
                    Standing::Alive if member.advert.free_class == 0 => 0,
                    Standing::Alive => 1,
                    Standing::Silent => 2,
                    Standing::Draining => 3,
                    Standing::Gone => 4,
                };
                (member.advert.node(), standing)
            })
            .collect();
        // Any one shard tells that there is damage; how many there are is for the look.
        let damaged = self.store.damaged_after(None, 64).len();
        let mut state = self.state();
        let offline_ms = millis(self.config.offline_after);
        state.absences.observe(&view, now, offline_ms, &self.node);
        let changed = state.members != members || state.damaged < damaged || state.look_soon;
        state.members = members;
        state.damaged = damaged;
        state.look_soon = false;
        changed
    }

    fn terms(&self) -> Terms {
        let members = self.engine.member_count();
        let candidates = self.engine.view().candidates(self.engine.now());
        let domains = candidates
            .into_iter()
            .filter(|candidate| candidate.eligible)
            .map(|candidate| candidate.domain)
            .collect();
        let window = millis(self.config.grace.min(STORM_WINDOW));
        let storm = self.state().absences.fresh(window) * 5 > members;
        let rules = Rules {
            offline_ms: millis(self.config.offline_after),
            grace_ms: millis(self.config.grace),
            settle_ms: millis(self.config.settle()),
            storm,
        };
        Terms { rules, domains, epoch: self.engine.now() / EPOCH_MS }
    }

    /// Looks at every segment of which a shard is here. Returns when to look again.
    async fn look(&self) -> Duration {
        let terms = self.terms();
        let mut tally = Tally::default();
        tally.status.storm = terms.rules.storm;
        let leaving = self.is_leaving();
        if leaving {
            tally.status.drain = Some(DrainProgress::default());
        }
        let mut after = None;
        loop {
            let page = self.store.segments_after(after, PAGE);
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            self.look_at(page, &terms, &mut tally).await;
        }
        let mut after = None;
        loop {
            let page = self.store.damaged_after(after, PAGE);
            let Some(last) = page.last() else { break };
            after = Some(*last);
            // Those of which another shard is held were looked at.
            let segments: BTreeSet<SegmentId> = page.into_iter().map(|(id, _)| id).collect();
            let alone = segments.into_iter().filter(|id| self.store.held(*id) == 0);
            self.look_at(alone.map(|id| (id, 0)).collect(), &terms, &mut tally).await;
        }
        if let Some(drain) = &mut tally.status.drain
            && drain.left == 0
        {
            drain.finished = self.others_prove_all().await;
        }
        let wait = {
            let mut state = self.state();
            let (placed, moved) = (state.status.shards_placed, state.status.bytes_moved);
            state.failed.retain(|segment, _| {
                tally.due.contains_key(segment) || tally.lost.contains_key(segment)
            });
            for (segment, reason) in tally.lost {
                let next = Instant::now();
                state.failed.insert(segment, Failed { tries: TRIES_MAX, next, reason });
            }
            state.unseen = tally.unseen;
            state.due = tally.due;
            state.queue = tally.queue;
            state.status = RepairStatus {
                shards_placed: placed,
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

    /// Looks at segments that came lately, once their put must have ended: what it owes shows then.
    /// Returns when to look at everything at the latest.
    async fn look_at_new(&self) -> Duration {
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
    async fn descriptor(&self, segment: SegmentId) -> Option<Arc<Descriptor>> {
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
    async fn assess(
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
                unseen.insert(shard, millis(now - since));
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
            Action::Rest | Action::Wait => return,
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
                tally.lost.insert(segment, reason);
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
        let begins = failed.unwrap_or(now).max(since + self.config.takeover() * turn);
        if begins > now {
            tally.status.later += 1;
            tally.again(millis(begins - now) + 1);
            return;
        }
        let placed = judgement.rebuild.len() + judgement.copy.len();
        let moved = if judgement.rebuild.is_empty() { placed } else { shape.scheme.k() };
        let bytes = (moved + placed) as u64 * u64::from(shape.shard_length);
        let case = Case { bytes, urgent: judgement.urgent };
        tally.queue.insert((judgement.priority(), segment), case);
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
        // Who leaves has the bytes, and who finds its own shard damaged knows it first.
        let leaves = judgement.rebuild.is_empty()
            && holdings.iter().filter(mine).any(|own| {
                own.presence == Presence::Leaving && judgement.copy.contains(&own.shard)
            });
        if leaves || !holdings.iter().any(|holding| mine(&holding)) {
            return Some(0);
        }
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
        actors.iter().position(|node| *node == self.node).map(|place| place as u32)
    }

    /// The most urgent segment, if the budget allows it now.
    fn take_case(&self) -> Option<(SegmentId, bool)> {
        let mut state = self.state();
        let (key, case) = state.queue.first_key_value().map(|(key, case)| (*key, *case))?;
        if !self.pace.admits(case.bytes, case.urgent) {
            return None;
        }
        state.queue.remove(&key);
        state.active.insert(key.1, case.bytes);
        Some((key.1, case.urgent))
    }

    /// Mends one segment, if it still needs it: everybody is asked again, the silent ones too.
    async fn work(&self, segment: SegmentId, _urgent: bool) -> Worked {
        let mending = timeout(MEND_PATIENCE, self.mend(segment)).await;
        (segment, mending.unwrap_or(Err(MendError::Patience)))
    }

    async fn mend(&self, segment: SegmentId) -> Result<Option<Mended>, MendError> {
        let Some(descriptor) = self.descriptor(segment).await else {
            return Err(MendError::NoDescriptor);
        };
        let question = [(segment, descriptor.scheme)];
        let surveyed = self.engine.survey(&question, Reach::Everybody).await;
        let Some(surveyed) = surveyed.into_iter().next() else { return Ok(None) };
        self.observe();
        let (judgement, _) =
            self.assess(segment, descriptor.scheme, &surveyed, &self.terms(), None).await;
        if !matches!(judgement.action, Action::Rebuild | Action::Copy) {
            return Ok(None);
        }
        let permit = self.permit(segment).await;
        let engine = &self.engine;
        engine
            .carry_out(&segment, &descriptor, &surveyed.claims, &judgement, permit)
            .await
            .map(Some)
    }

    /// The permission that came with this node's own shard.
    async fn permit(&self, segment: SegmentId) -> Option<Permit> {
        let store = Arc::clone(&self.store);
        let found = block(&**self.engine.executor(), move || permit_of(&store, segment));
        found.await.flatten()
    }

    /// Books what came of a segment.
    fn finish(&self, (segment, result): Worked) {
        let mut state = self.state();
        state.active.remove(&segment);
        // The histogram shows what is, so it is counted again once nothing is left to do.
        state.look_soon |= state.queue.is_empty() && state.active.is_empty();
        match result {
            Ok(mended) => {
                state.failed.remove(&segment);
                state.due.remove(&segment);
                let Some(mended) = mended else { return };
                let placed = mended.rebuilt.len() + mended.copied.len();
                state.status.shards_placed += placed as u64;
                state.status.bytes_moved += mended.read_bytes + mended.sent_bytes;
                self.pace.moved(mended.read_bytes + mended.sent_bytes);
                tracing::info!(%segment, rebuilt = mended.rebuilt.len(),
                    copied = mended.copied.len(), waiting = mended.waiting.len(),
                    "a segment was mended");
            }
            Err(error) => {
                let tries = state.failed.get(&segment).map_or(0, |failed| failed.tries) + 1;
                let base = self.config.interval.min(SETTLE_MAX);
                let wait = (base * 2u32.saturating_pow(tries.min(16) - 1)).min(BACKOFF_MAX);
                let jitter = u32::from_le_bytes(seam::random(&*self.engine.entropy)) % 50;
                let next = Instant::now() + wait + wait * jitter / 100;
                tracing::warn!(%segment, tries, %error, "a segment could not be mended");
                state.failed.insert(segment, Failed { tries, next, reason: error.to_string() });
            }
        }
    }

    /// Asks for each shard held here whether another node proves it. What one fails to prove is
    /// doubted, and copied after the next look.
    async fn others_prove_all(&self) -> bool {
        let mut after = None;
        loop {
            let page = self.store.segments_after(after, PAGE);
            let Some((last, _)) = page.last() else { return true };
            after = Some(*last);
            for (segment, mask) in page {
                let Some(descriptor) = self.descriptor(segment).await else { return false };
                let holders = self.engine.remembered_holders(&segment).await;
                for shard in (0..32u8).filter(|shard| mask & (1 << shard) != 0) {
                    if !self.another_proves(&descriptor, segment, shard, &holders).await {
                        return false;
                    }
                }
            }
        }
    }

    async fn another_proves(
        &self,
        descriptor: &Descriptor,
        segment: SegmentId,
        shard: u8,
        holders: &[(u8, NodeId)],
    ) -> bool {
        let others = holders.iter().filter(|(held, node)| *held == shard && *node != self.node);
        for (_, node) in others {
            let stays = {
                let view = self.engine.view();
                let known = view.member(node);
                known.is_some_and(|m| view.standing(m, self.engine.now()) == Standing::Alive)
            };
            if !stays {
                continue;
            }
            match self.engine.prove_shard(descriptor, &segment, shard, *node).await {
                Ok(()) => return true,
                Err(kind) if kind.is_lack() => self.engine.doubt(&segment, (shard, *node)),
                Err(_) => {}
            }
        }
        false
    }
}

/// The permission that came with a shard of a segment.
pub(crate) fn permit_of(store: &Store, segment: SegmentId) -> Option<Permit> {
    let held = store.held(segment);
    (0..32u8).filter(|shard| held & (1 << shard) != 0).find_map(|shard| {
        let meta = store.shard_meta(segment, shard).ok()?;
        let grant = store.grant(&meta.grant).ok()?;
        Some(Permit { ticket: meta.ticket, grant })
    })
}
