//! The worker that keeps the segments of which this node holds a shard whole.
//!
//! It looks at all of them every `interval`, and soon after a member falls silent, comes back,
//! joins or leaves. What a look finds is ordered by danger and mended a few segments at a time; before
//! anything is done, everybody is asked again. All holders of a segment see the same, and one of
//! them acts; the next one begins where the one before has not done it in time. Two that act at once
//! do harmless double work.

mod drain;
mod look;
mod moves;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_core::{BoxFuture, NodeId, Scheme, SegmentId, seam};
use datamesh_store::Store;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, timeout};

use self::moves::{Moved, Moves};
use super::absence::{Absences, millis};
use super::checker::{Action, Priority};
use super::mend::{MendError, Mended, Permit};
use super::pace::Pace;
use super::status::{DeadLetter, RepairStatus};
use super::survey::Reach;
use crate::engine::Engine;
use crate::view::Standing;
use crate::work::block;

/// Segments looked at together: as many as one question may name.
const PAGE: usize = 1024;

/// Segments mended at once. Each takes up to three times the largest segment in memory.
const AT_ONCE: usize = 4;

/// Longest time that a shard which nobody accounts for is waited for: a writer's patience for a
/// segment, and some more.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// How long mending one segment may take.
const MEND_PATIENCE: Duration = Duration::from_secs(300);

/// Failures after which a segment is on the list of dead letters.
const TRIES_MAX: u32 = 4;

/// Damaged shards that are counted to tell that there are more than before.
const DAMAGED_COUNTED: usize = 256;

/// Segments whose failures are remembered; others are tried at each look.
const FAILED_MAX: usize = 65_536;

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
    /// `collection.expired`: segments whose lease ended so long ago are left to the collector.
    pub expired: Duration,
    /// `repair.rate`: bytes a second, fetched and sent; with 0 only what is urgent is mended.
    pub rate: u64,
}

impl RepairConfig {
    /// How soon one look may follow another.
    fn look_gap(&self) -> Duration {
        let gap = (self.interval / 20).min(self.offline_after / 5);
        gap.clamp(Duration::from_millis(100), Duration::from_secs(60))
    }

    /// How long each holder leaves it to the one before; where none may be lost any more, less.
    fn takeover(&self, urgent: bool) -> Duration {
        let patience = if urgent { self.offline_after / 2 } else { self.offline_after * 2 };
        patience.max(Duration::from_secs(1))
    }

    /// How long ago the lease of a segment may have ended that is still mended: somewhat less than what
    /// the collector leaves it, so that nothing is rebuilt that goes from some holders already.
    fn leased_ms(&self) -> u64 {
        let early = (self.expired / 10).min(Duration::from_secs(3600));
        millis(self.expired - early)
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
    /// No place was found for its shards: that is no failure.
    waits: bool,
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
    moves: Moves,
    failed: BTreeMap<SegmentId, Failed>,
    shapes: BTreeMap<SegmentId, Shape>,
    active: BTreeMap<SegmentId, u64>,
    damaged: usize,
    damage_counted: Option<Instant>,
    status: RepairStatus,
    look_soon: bool,
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

/// What is done for a segment.
#[derive(Debug, Clone, Copy)]
enum Job {
    Mend(SegmentId),
    Move(SegmentId),
}

/// A segment that was worked on, and what came of it.
enum Worked {
    Mended(SegmentId, Result<Option<Mended>, MendError>),
    Moved(SegmentId, Result<Moved, MendError>),
}

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
        status.moves_left = (state.moves.waiting.len() + state.moves.active.len()) as u64;
        status.waiting += state.failed.values().filter(|failed| failed.waits).count() as u64;
        let failed = state.failed.iter();
        for (segment, failed) in failed.filter(|(_, f)| f.tries >= TRIES_MAX && !f.waits) {
            status.dead_letter += 1;
            if status.dead_letters.len() < LISTED_MAX {
                let (reason, tries) = (failed.reason.clone(), failed.tries);
                status.dead_letters.push(DeadLetter { segment: *segment, reason, tries });
            }
        }
        status.bytes_per_second = self.pace.measured();
        status
    }

    /// Sets `repair.rate` anew: bytes a second; with 0 only what is urgent is mended.
    pub fn set_rate(&self, rate: u64) {
        self.pace.set_rate(rate);
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
    pub fn run(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            {
                let mut state = self.state();
                state.active.clear();
                state.moves.active.clear();
            }
            self.recall().await;
            // What is remembered of members may be old: who is there is asked before who is missed.
            self.engine.look_around().await;
            let tick = (self.config.look_gap() / 4)
                .clamp(Duration::from_millis(50), Duration::from_secs(5));
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
                    let mend = self.take_case().map(Job::Mend);
                    let Some(job) = mend.or_else(|| self.take_move().map(Job::Move)) else { break };
                    jobs.push(self.work(job));
                }
                let room = !due && jobs.len() < AT_ONCE;
                let nap = if room { tick.min(self.until_budget()) } else { tick };
                tokio::select! {
                    biased;
                    Some(worked) = jobs.next(), if !jobs.is_empty() => self.finish(worked),
                    () = sleep(nap) => {}
                }
            }
        })
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
        drop(view);
        self.note_absences();
        let damaged = self.damaged_now();
        let mut state = self.state();
        let damaged = damaged.unwrap_or(state.damaged);
        let changed = state.members != members || state.damaged < damaged || state.look_soon;
        state.members = members;
        state.damaged = damaged;
        state.look_soon = false;
        changed
    }

    /// How many shards here are known to be damaged, up to a few; nothing where that was counted just
    /// now, because every shard is passed for it.
    fn damaged_now(&self) -> Option<usize> {
        let now = Instant::now();
        let mut state = self.state();
        if state.damage_counted.is_some_and(|at| now - at < self.config.look_gap()) {
            return None;
        }
        state.damage_counted = Some(now);
        drop(state);
        Some(self.store.damaged_after(None, DAMAGED_COUNTED).len())
    }

    /// Looks who is silent.
    fn note_absences(&self) {
        let (now, offline_ms) = (self.engine.now(), millis(self.config.offline_after));
        // The state before the view, as everywhere here.
        let mut state = self.state();
        state.absences.observe(&self.engine.view(), now, offline_ms, &self.node);
    }

    /// The most urgent segment, if the budget allows it now.
    fn take_case(&self) -> Option<SegmentId> {
        let mut state = self.state();
        let (key, case) = state.queue.first_key_value().map(|(key, case)| (*key, *case))?;
        if !self.pace.admits(case.bytes, case.urgent) {
            return None;
        }
        state.queue.remove(&key);
        state.active.insert(key.1, case.bytes);
        Some(key.1)
    }

    /// How long until the budget admits the next segment, if one waits.
    fn until_budget(&self) -> Duration {
        let wanted = {
            let state = self.state();
            let case = state.queue.first_key_value().map(|(_, case)| case.urgent);
            case.or_else(|| (!state.moves.waiting.is_empty()).then_some(false))
        };
        match wanted {
            Some(false) => self.pace.wait().max(Duration::from_millis(1)),
            _ => Duration::MAX,
        }
    }

    /// Mends one segment, or moves a shard of it, if it still needs it: everybody is asked again, the
    /// silent ones too.
    async fn work(&self, job: Job) -> Worked {
        match job {
            Job::Mend(segment) => {
                let mending = timeout(MEND_PATIENCE, self.mend(segment)).await;
                Worked::Mended(segment, mending.unwrap_or(Err(MendError::Patience)))
            }
            Job::Move(segment) => {
                let moved = self.hand_over(segment).await;
                if moved.is_ok() {
                    self.pass_renewal_on(segment).await;
                    self.pass_pin_on(segment).await;
                }
                Worked::Moved(segment, moved)
            }
        }
    }

    async fn mend(&self, segment: SegmentId) -> Result<Option<Mended>, MendError> {
        let Some(descriptor) = self.descriptor(segment).await else {
            return Err(MendError::NoDescriptor);
        };
        let question = [(segment, descriptor.scheme)];
        let surveyed = self.engine.survey(&question, Reach::Everybody).await;
        let Some(mut surveyed) = surveyed.into_iter().next() else { return Ok(None) };
        self.note_absences();
        let terms = self.terms();
        let (mut judgement, _) =
            self.assess(segment, descriptor.scheme, &surveyed, &terms, None).await;
        if self.engine.bring_back(segment, &judgement, &mut surveyed).await {
            (judgement, _) = self.assess(segment, descriptor.scheme, &surveyed, &terms, None).await;
        }
        if !matches!(judgement.action, Action::Rebuild | Action::Copy) {
            return Ok(None);
        }
        let permit = self.permit(segment).await;
        let claims = &surveyed.claims;
        let mended =
            self.engine.carry_out(&segment, &descriptor, claims, &judgement, permit).await?;
        self.pass_renewal_on(segment).await;
        self.pass_pin_on(segment).await;
        Ok(Some(mended))
    }

    /// Tells everybody of a segment's renewal that is known here: who has just got a shard of it, and
    /// who knows only of a release that the renewal lifted.
    async fn pass_renewal_on(&self, segment: SegmentId) {
        let store = Arc::clone(&self.store);
        let found = block(&**self.engine.executor(), move || store.renewal(segment)).await;
        if let Some(Ok(Some(renewal))) = found {
            self.engine.renew(&[renewal]).await;
        }
    }

    /// Tells everybody of a segment's pin: who has just got a shard of it does not know it.
    async fn pass_pin_on(&self, segment: SegmentId) {
        let store = Arc::clone(&self.store);
        let found = block(&**self.engine.executor(), move || store.kept_pin(segment)).await;
        if let Some(Ok(Some(pin))) = found {
            self.engine.pin(&[pin]).await;
        }
    }

    /// The permission that came with this node's own shard.
    async fn permit(&self, segment: SegmentId) -> Option<Permit> {
        let store = Arc::clone(&self.store);
        let found = block(&**self.engine.executor(), move || permit_of(&store, segment));
        found.await.flatten()
    }

    /// Books what came of a segment.
    fn finish(&self, worked: Worked) {
        let (segment, result) = match worked {
            Worked::Mended(segment, result) => (segment, result),
            Worked::Moved(segment, result) => return self.finish_move(segment, result),
        };
        let mut state = self.state();
        state.active.remove(&segment);
        // The histogram shows what is, so it is counted again once nothing is left to do.
        state.look_soon |= state.queue.is_empty() && state.active.is_empty();
        match result {
            Ok(mended) => {
                let tries = state.failed.remove(&segment).map_or(0, |failed| failed.tries);
                state.due.remove(&segment);
                let Some(mended) = mended else { return };
                let placed = mended.rebuilt.len() + mended.copied.len();
                if placed == 0 && !mended.waiting.is_empty() {
                    // There are domains, and the levels above have no room for it.
                    let reason = "no place keeps to the rules".to_owned();
                    self.put_off(&mut state, segment, tries + 1, reason, true);
                    return;
                }
                state.status.shards_placed += placed as u64;
                state.status.bytes_moved += mended.read_bytes + mended.sent_bytes;
                self.pace.moved(mended.read_bytes + mended.sent_bytes);
                tracing::info!(%segment, rebuilt = mended.rebuilt.len(),
                    copied = mended.copied.len(), waiting = mended.waiting.len(),
                    "a segment was mended");
            }
            Err(error) => {
                let tries = state.failed.get(&segment).map_or(0, |failed| failed.tries) + 1;
                tracing::warn!(%segment, tries, %error, "a segment could not be mended");
                self.put_off(&mut state, segment, tries, error.to_string(), false);
            }
        }
    }

    /// Lets a segment be tried again later, each time later than the time before.
    fn put_off(
        &self,
        state: &mut State,
        segment: SegmentId,
        tries: u32,
        reason: String,
        waits: bool,
    ) {
        let base = self.config.interval.min(SETTLE_MAX);
        let wait = base.saturating_mul(1 << tries.clamp(1, 16) >> 1).min(BACKOFF_MAX);
        let jitter = u32::from_le_bytes(seam::random(&*self.engine.entropy)) % 50;
        let next = Instant::now() + wait + wait * jitter / 100;
        if state.failed.len() < FAILED_MAX || state.failed.contains_key(&segment) {
            state.failed.insert(segment, Failed { tries, next, reason, waits });
        }
    }
}

/// The permission that came with a shard of a segment.
pub(crate) fn permit_of(store: &Store, segment: SegmentId) -> Option<Permit> {
    let held = store.held(segment);
    (0..32u8).filter(|shard| held & (1 << shard) != 0).find_map(|shard| {
        let meta = store.shard_meta(segment, shard).ok()?;
        let grant = store.grant(&meta.grant).ok()?;
        // One without an end says nothing of when the lease ends.
        let renewal = store.renewal(segment).ok()?.filter(|renewal| renewal.expiry != 0);
        Some(Permit { ticket: meta.ticket, grant, renewal })
    })
}
