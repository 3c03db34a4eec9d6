//! Reading one's own shards for rot, all of them within a period.
//!
//! A pass follows the clock: after a tenth of the period a tenth of the bytes should be read, so the
//! disk is never busy with it for long, and a pass that was interrupted goes on where it was. What
//! is found damaged, here or by any reader since the last step, is remembered across restarts and
//! handed on; a shard that was stored again is forgotten.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_catalog::{DamagedCopy, NodeDb};
use datamesh_core::{BoxFuture, SegmentId, Timestamp, record, wire, wire::Encode};
use datamesh_store::{DamagedShard, PAGE_MAX, ScrubCursor, Store, StoreError};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::findings::{Finding, Findings};
use crate::work::block;

/// Bytes read in one step: a fraction of a second of any disk.
const STEP_BYTES: u64 = 16 << 20;

/// Name of a pass in the node's settings.
const PASS: &str = "scrub/pass";

record! {
    /// A pass as it is kept across restarts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    struct Pass {
        pack: u32,
        offset: u64,
        /// 1: all was read, and the next pass waits for its time.
        complete: u8,
        started: Timestamp,
        bytes: u64,
        shards: u64,
        damaged: u64,
        /// When the pass before it ended; 0 if there was none.
        last_ended: Timestamp,
        last_bytes: u64,
        last_damaged: u64,
    }
}

/// What a scrubber is made of.
pub struct ScrubberParts {
    /// For the time, and what is remembered across restarts.
    pub engine: Arc<Engine>,
    /// What is scrubbed.
    pub store: Arc<Store>,
    /// Takes what is found.
    pub findings: Arc<dyn Findings>,
    /// Time in which everything is read once.
    pub period: Duration,
    /// Most bytes a second, where a pass is behind.
    pub rate: u64,
}

/// Scrubs a store.
///
/// architecture: worker
pub struct Scrubber {
    parts: ScrubberParts,
    state: Mutex<State>,
}

struct State {
    pass: Pass,
    /// Of the store: bytes before the cursor, and all of them, at the last step.
    position: (u64, u64),
    /// For the measured speed: where this process found the pass, and when.
    from: (u64, Instant),
    records: u64,
    tables: u64,
}

/// A pass that was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastPass {
    /// When it ended.
    pub ended: Timestamp,
    /// Bytes that it read.
    pub bytes: u64,
    /// Shards that it found damaged.
    pub damaged: u64,
}

/// How scrubbing goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScrubStatus {
    /// When the pass began.
    pub started: Timestamp,
    /// The pass is complete; the next begins a period after this one did.
    pub complete: bool,
    /// Bytes of packs behind the pass.
    pub done: u64,
    /// Bytes of packs.
    pub total: u64,
    /// Bytes that the pass read.
    pub bytes: u64,
    /// Shards that it verified.
    pub shards: u64,
    /// Shards that it found damaged.
    pub damaged: u64,
    /// Other records that were found damaged since the start of this process.
    pub damaged_records: u64,
    /// Tables of packs that were found damaged since then.
    pub damaged_tables: u64,
    /// Seconds until the pass is complete, from the speed measured since this process began; nothing
    /// before there is one.
    pub left_s: Option<f64>,
    /// The pass before.
    pub last: Option<LastPass>,
}

/// Bytes of `total` that a pass from `started` on should have read at `now`. Pure.
pub fn due(total: u64, started: Timestamp, now: Timestamp, period: Duration) -> u64 {
    let period_ms = period.as_millis().max(1);
    let elapsed = u128::from(now.saturating_sub(started)).min(period_ms);
    (u128::from(total) * elapsed).div_ceil(period_ms) as u64
}

fn copy_of(shard: &DamagedShard) -> DamagedCopy {
    DamagedCopy { segment: shard.segment, shard: shard.shard, sequence: shard.sequence }
}

fn shard_of(copy: &DamagedCopy) -> DamagedShard {
    DamagedShard { segment: copy.segment, shard: copy.shard, sequence: copy.sequence }
}

/// Stops serving what was found damaged before the store was opened. Called before anything is
/// served.
///
/// # Errors
/// Where the database cannot be read.
pub fn recall_damaged(store: &Store, db: &NodeDb) -> Result<usize, datamesh_catalog::CatalogError> {
    let (mut after, mut recalled) = (None, 0);
    loop {
        let page = db.damaged_after(after)?;
        let Some(last) = page.last() else { return Ok(recalled) };
        after = Some((last.segment, last.shard));
        let known: Vec<DamagedShard> = page.iter().map(shard_of).collect();
        let gone: Vec<DamagedCopy> = store.recall_damaged(&known).iter().map(copy_of).collect();
        recalled += page.len() - gone.len();
        db.forget_damaged(&gone)?;
    }
}

impl Scrubber {
    /// A scrubber at the beginning of a pass.
    pub fn new(parts: ScrubberParts) -> Self {
        let pass = Pass { started: parts.engine.now(), ..Pass::default() };
        let from = (0, Instant::now());
        let state = State { pass, position: (0, 0), from, records: 0, tables: 0 };
        Self { parts, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Option<T> {
        let store = Arc::clone(&self.parts.store);
        block(&**self.parts.engine.executor(), move || work(&store)).await
    }

    /// How often a step is due where a pass is not behind.
    pub fn pause(&self) -> Duration {
        (self.parts.period / 64).clamp(Duration::from_millis(100), Duration::from_secs(5))
    }

    /// Goes on with the pass of an earlier process, and hands on everything that is known to be
    /// damaged: whoever took it before has forgotten it.
    pub fn recall(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(db) = self.parts.engine.node_db.clone() {
                let read = block(&**self.parts.engine.executor(), move || db.setting(PASS)).await;
                if let Some(Ok(Some(bytes))) = read
                    && let Ok(pass) = wire::decode::<Pass>(&bytes)
                {
                    self.state().pass = pass;
                }
            }
            let cursor = cursor_of(&self.state().pass);
            if let Some(Ok(position)) = self.block(move |store| store.scrub_position(cursor)).await
            {
                let mut state = self.state();
                state.position = position;
                state.from = (position.0, Instant::now());
            }
            self.hand_on_all().await;
        })
    }

    async fn hand_on_all(&self) {
        let mut after: Option<(SegmentId, u8)> = None;
        while let Some(page) = self.block(move |store| store.damaged_after(after, PAGE_MAX)).await {
            let Some(last) = page.last() else { return };
            after = Some((last.segment, last.shard));
            self.hand_on(page).await;
        }
    }

    async fn hand_on(&self, shards: Vec<DamagedShard>) {
        for shard in &shards {
            let (segment, shard) = (shard.segment, shard.shard);
            self.parts.findings.take(Finding::Damaged { segment, shard });
        }
        let Some(db) = self.parts.engine.node_db.clone() else { return };
        let copies: Vec<DamagedCopy> = shards.iter().map(copy_of).collect();
        let save = move || copies.chunks(1024).try_for_each(|batch| db.save_damaged(batch));
        if let Some(Err(error)) = block(&**self.parts.engine.executor(), save).await {
            tracing::warn!(%error, "damage is not remembered");
        }
    }

    /// Takes up what readers found, reads what is due, and says how long to wait before the next
    /// step.
    ///
    /// # Errors
    /// [`StoreError`] where a pack cannot be opened.
    pub fn step(&self) -> BoxFuture<'_, Result<Duration, StoreError>> {
        Box::pin(async move {
            let pause = self.pause();
            self.take_up().await;
            let now = self.parts.engine.now();
            let period_ms = self.parts.period.as_millis() as u64;
            let (cursor, started) = {
                let mut state = self.state();
                // A clock that went back must not stop the pass until it is there again.
                state.pass.started = state.pass.started.min(now);
                if state.pass.complete != 0 {
                    if now < state.pass.started.saturating_add(period_ms) {
                        return Ok(pause);
                    }
                    let pass = state.pass;
                    state.pass = Pass {
                        started: now,
                        last_ended: pass.last_ended,
                        last_bytes: pass.last_bytes,
                        last_damaged: pass.last_damaged,
                        ..Pass::default()
                    };
                    state.from = (0, Instant::now());
                }
                (cursor_of(&state.pass), state.pass.started)
            };
            let stopping = Ok(pause);
            let Some(position) = self.block(move |store| store.scrub_position(cursor)).await else {
                return stopping;
            };
            let (done, total) = position?;
            self.state().position = (done, total);
            let due = due(total, started, now, self.parts.period);
            if due <= done && total > 0 {
                return Ok(pause);
            }
            let budget = due.saturating_sub(done).clamp(1, STEP_BYTES);
            let Some(report) = self.block(move |store| store.scrub_next(cursor, budget)).await
            else {
                return stopping;
            };
            let report = report?;
            self.take_up().await;
            let position = match report.next {
                Some(next) => self.block(move |store| store.scrub_position(next)).await,
                None => Some(Ok((total, total))),
            };
            {
                let now = self.parts.engine.now();
                let state = &mut *self.state();
                let pass = &mut state.pass;
                pass.bytes += report.bytes;
                pass.shards += report.shards;
                pass.damaged += report.damaged.len() as u64;
                state.records += report.damaged_records;
                state.tables += report.damaged_tables.len() as u64;
                if let Some(next) = report.next {
                    (pass.pack, pass.offset) = (next.pack, next.offset);
                } else {
                    pass.complete = 1;
                    pass.last_ended = now;
                    pass.last_bytes = pass.bytes;
                    pass.last_damaged = pass.damaged;
                }
                if let Some(Ok(position)) = position {
                    state.position = position;
                }
            }
            self.save().await;
            let took = Duration::from_secs_f64(report.bytes as f64 / self.parts.rate.max(1) as f64);
            let (done, total) = self.state().position;
            let behind = report.next.is_some() && due > done && done < total;
            Ok(if behind { took } else { pause.max(took) })
        })
    }

    /// Takes up what anybody found damaged since the last time.
    async fn take_up(&self) {
        let found = self.parts.store.take_damaged();
        for shard in &found.shards {
            tracing::warn!(segment = %shard.segment, shard = shard.shard, "a shard is damaged");
        }
        if !found.shards.is_empty() {
            self.hand_on(found.shards).await;
        }
        if found.incomplete {
            self.hand_on_all().await;
        }
    }

    async fn save(&self) {
        let Some(db) = self.parts.engine.node_db.clone() else { return };
        let bytes = self.state().pass.to_bytes();
        let save = move || db.save_setting(PASS, &bytes);
        if let Some(Err(error)) = block(&**self.parts.engine.executor(), save).await {
            tracing::warn!(%error, "the scrub's place is not remembered");
        }
    }

    /// How scrubbing goes.
    pub fn status(&self) -> ScrubStatus {
        let state = self.state();
        let pass = &state.pass;
        let (done, total) = state.position;
        let (from, since) = state.from;
        let progress = done.saturating_sub(from) as f64;
        let elapsed = since.elapsed().as_secs_f64();
        let complete = pass.complete != 0;
        let measured = !complete && progress > 0.0 && elapsed > 0.0;
        ScrubStatus {
            started: pass.started,
            complete,
            done,
            total,
            bytes: pass.bytes,
            shards: pass.shards,
            damaged: pass.damaged,
            damaged_records: state.records,
            damaged_tables: state.tables,
            left_s: measured.then(|| total.saturating_sub(done) as f64 * elapsed / progress),
            last: (pass.last_ended > 0).then_some(LastPass {
                ended: pass.last_ended,
                bytes: pass.last_bytes,
                damaged: pass.last_damaged,
            }),
        }
    }
}

fn cursor_of(pass: &Pass) -> ScrubCursor {
    ScrubCursor { pack: pass.pack, offset: pass.offset }
}
