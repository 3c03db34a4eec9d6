//! The collector: the one worker that removes shards.
//!
//! A pass asks the likely holders of this node's segments whether their owners released them, which
//! a node that was away does not know yet, and tells them where they missed a renewal instead; compares the clock with some members; moves what is
//! released to the trash; removes what lay there for its time; and gives the room back. Where the
//! clock cannot be trusted it removes nothing and says so.
//!
//! What was moved to another node goes only after all members were asked for its segment once more and
//! one of them has proved the shard; where nobody does, it is taken out of the trash again.

use std::sync::{Arc, Mutex, PoisonError};

use datamesh_core::message::LEASES_MAX;
use datamesh_core::{BoxFuture, SegmentId, Timestamp};
use datamesh_store::{
    AgreedClock, ClockError, Collection, Elsewhere, LeaseChange, LeaseOutcome, Store, StoreError,
};
use futures::stream::{self, StreamExt};

use crate::engine::Engine;
use crate::leases::CLOCKS;
use crate::points;
use crate::repair::{Reach, Spare};
use crate::work::{block, step};

/// Packs whose room one pass gives back: some gigabytes are read and written at most.
const PACKS_PER_PASS: usize = 4;

/// Moved shards that are looked at together.
const MOVED_PAGE: usize = 64;

/// Moved shards that others are asked to prove at once.
const PROVED_AT_ONCE: usize = 8;

/// How a collector works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectorConfig {
    /// The furthest that this node's clock may be from the median of its peers', in milliseconds.
    pub clock_bound_ms: u64,
    /// Time between comparisons of all segments with the releases that other holders know, in
    /// milliseconds.
    pub reconcile_ms: u64,
}

/// What a collector did since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectorState {
    /// Passes.
    pub passes: u64,
    /// Shards put into the trash by passes; most go there when the release comes.
    pub trashed: u64,
    /// Shards removed.
    pub removed: u64,
    /// Bytes of their cells.
    pub removed_bytes: u64,
    /// Shards that had been moved and were taken back, because nobody was seen to have them.
    pub taken_back: u64,
    /// Bytes of packs that were given back, less what was copied out of them.
    pub returned_bytes: u64,
    /// When all segments were last compared with what other holders know.
    pub reconciled: Option<Timestamp>,
    /// Why the last pass removed nothing, where it could not.
    pub refused: Option<String>,
}

/// Removes what may go from one store.
pub struct Collector {
    engine: Arc<Engine>,
    store: Arc<Store>,
    collection: Arc<Mutex<Collection>>,
    config: CollectorConfig,
    state: Mutex<CollectorState>,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The clock cannot be trusted.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The program ends.
    #[error("shutting down")]
    Shutdown,
}

impl Collector {
    /// A collector with the power over a store.
    pub fn new(engine: Arc<Engine>, collection: Collection, config: CollectorConfig) -> Self {
        let store = Arc::clone(collection.store());
        let collection = Arc::new(Mutex::new(collection));
        Self { engine, store, collection, config, state: Mutex::default() }
    }

    /// What it did since the start.
    pub fn state(&self) -> CollectorState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, note: impl FnOnce(&mut CollectorState)) {
        note(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// One pass.
    ///
    /// # Errors
    /// [`CollectError`]; what was done before stays done.
    pub fn pass(&self) -> BoxFuture<'_, Result<(), CollectError>> {
        Box::pin(async move {
            let done = self.work().await;
            self.note(|state| {
                state.passes += 1;
                state.refused = done.as_ref().err().map(ToString::to_string);
            });
            done
        })
    }

    async fn work(&self) -> Result<(), CollectError> {
        let now = self.engine.now();
        let last = self.state().reconciled;
        if last.is_none_or(|last| now.abs_diff(last) >= self.config.reconcile_ms) {
            let (_, complete) = self.step(points::COLLECT_RECONCILE, self.reconcile()).await?;
            // Where too few answered, the next pass asks again.
            if complete {
                self.note(|state| state.reconciled = Some(now));
            }
        }
        let clock = self.clock().await?;
        let removing = self.with_collection(move |collection| collection.collect(&clock));
        let done = self.step(points::COLLECT_REMOVE, removing).await?;
        self.note(|state| {
            state.trashed += done.trashed;
            state.removed += done.removed;
            state.removed_bytes += done.removed_bytes;
        });
        self.collect_moved().await?;
        for _ in 0..PACKS_PER_PASS {
            let compact = move |collection: &mut Collection| collection.compact(&clock);
            let compacting = self.with_collection(compact);
            let Some(pack) = self.step(points::COLLECT_COMPACT, compacting).await? else { break };
            self.note(|state| state.returned_bytes += pack.bytes.saturating_sub(pack.copied));
        }
        Ok(())
    }

    async fn step<T>(&self, point: &'static str, work: impl Future<Output = T>) -> T {
        step(&**self.engine.executor(), point, work).await
    }

    /// The time, as some members have it, too.
    async fn clock(&self) -> Result<AgreedClock, ClockError> {
        let (times, alone) = self.engine.peers_times(CLOCKS).await;
        AgreedClock::compare(self.engine.now(), &times, self.config.clock_bound_ms, alone)
    }

    /// Removes shards that were moved and lay in the trash for their time, where others have them, and
    /// takes back the others.
    async fn collect_moved(&self) -> Result<(), CollectError> {
        let mut after = None;
        loop {
            let clock = self.clock().await?;
            let page = self
                .with_collection(move |collection| {
                    Ok(collection.moved_after(after, MOVED_PAGE, &clock))
                })
                .await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            // What its owner gave up meanwhile must not come back.
            let mut segments: Vec<SegmentId> = page.iter().map(|(segment, _)| *segment).collect();
            segments.dedup();
            self.reconcile_some(&segments).await?;
            let (elsewhere, wanted) = self.look_elsewhere(page).await?;
            let (store, now) = (Arc::clone(&self.store), self.engine.now());
            let back = block(&**self.engine.executor(), move || {
                let mut back = 0;
                for (segment, shard) in wanted {
                    let held = store.take_back(segment, 1 << shard, now)?;
                    back += u64::from(held.count_ones());
                }
                Ok::<_, StoreError>(back)
            });
            let back = back.await.ok_or(CollectError::Shutdown)??;
            // Only now: the time must not be older than what was seen.
            let clock = self.clock().await?;
            let done = self
                .with_collection(move |collection| {
                    let judged: Vec<_> = elsewhere
                        .into_iter()
                        .filter_map(|elsewhere| collection.judge_moved(elsewhere, &clock).ok())
                        .collect();
                    collection.remove(&judged, &clock)
                })
                .await?;
            self.note(|state| {
                state.removed += done.removed;
                state.removed_bytes += done.removed_bytes;
                state.taken_back += back;
            });
        }
    }

    /// Asks for shards that were moved whether others have them. Returns those that another member
    /// proved, and those that are to be taken back; the others wait until their segment is whole.
    async fn look_elsewhere(
        &self,
        page: Vec<(SegmentId, u8)>,
    ) -> Result<(Vec<Elsewhere>, Vec<(SegmentId, u8)>), CollectError> {
        let _withheld = self.engine.withhold(&page);
        let store = Arc::clone(&self.store);
        let described = block(&**self.engine.executor(), move || {
            let described = page.into_iter().filter_map(|(segment, shard)| {
                // Where no descriptor can be read, there is nothing to take back either.
                let descriptor = store.any_descriptor(segment).ok()?;
                Some((segment, shard, descriptor))
            });
            described.collect::<Vec<_>>()
        });
        let described = described.await.ok_or(CollectError::Shutdown)?;
        let question: Vec<_> = described
            .iter()
            .map(|(segment, _, descriptor)| (*segment, descriptor.scheme))
            .collect();
        let surveyed = self.engine.survey(&question, Reach::Everybody).await;
        let judging = described.into_iter().zip(surveyed);
        let judging = judging.map(|((segment, shard, descriptor), found)| async move {
            let judged = self.engine.judge_spare(segment, &descriptor, shard, &found).await;
            (segment, shard, judged, self.engine.now())
        });
        let mut judging = stream::iter(judging).buffered(PROVED_AT_ONCE);
        let (mut elsewhere, mut wanted) = (Vec::new(), Vec::new());
        while let Some((segment, shard, judged, seen)) = judging.next().await {
            match judged {
                Spare::Yes => elsewhere.push(Elsewhere { segment, shard, seen }),
                Spare::No => wanted.push((segment, shard)),
                Spare::Later => {}
            }
        }
        Ok((elsewhere, wanted))
    }

    async fn with_collection<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Collection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, CollectError> {
        let collection = Arc::clone(&self.collection);
        let done = block(&**self.engine.executor(), move || {
            work(&mut collection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        Ok(done.await.ok_or(CollectError::Shutdown)??)
    }

    /// Asks, for everything that is held here, whether it was released while this node did not hear
    /// of it. Returns how many releases were new, and whether enough nodes answered.
    ///
    /// # Errors
    /// [`CollectError`]
    pub fn reconcile(&self) -> BoxFuture<'_, Result<(u64, bool), CollectError>> {
        Box::pin(async move {
            let (mut new, mut after): (u64, Option<SegmentId>) = (0, None);
            let mut complete = true;
            loop {
                let page = self.store.segments_after(after, LEASES_MAX);
                let Some((last, _)) = page.last() else { return Ok((new, complete)) };
                after = Some(*last);
                let segments: Vec<SegmentId> = page.iter().map(|(segment, _)| *segment).collect();
                let (taken, answered) = self.reconcile_some(&segments).await?;
                complete &= answered;
                new += taken;
            }
        })
    }

    /// The same for some segments, at most [`LEASES_MAX`].
    async fn reconcile_some(&self, segments: &[SegmentId]) -> Result<(u64, bool), CollectError> {
        let (releases, answered) = self.engine.releases_of(segments).await;
        if releases.is_empty() {
            return Ok((0, answered));
        }
        let (store, mesh, now) = (Arc::clone(&self.store), self.engine.mesh(), self.engine.now());
        let taken = block(&**self.engine.executor(), move || {
            let (mut taken, mut renewals) = (0, Vec::new());
            for release in releases {
                let Ok(lease_key) = store.lease_key(release.segment) else { continue };
                if release.verify(&lease_key, &mesh).is_err() {
                    continue;
                }
                let segment = release.segment;
                let held = store.held(segment) != 0;
                let change = LeaseChange::Release { release, lease_key };
                let outcome = store.change_leases(&[change], now)?;
                match outcome.first() {
                    Some(LeaseOutcome::Taken { .. }) => taken += u64::from(held),
                    Some(LeaseOutcome::Behind { .. }) => {
                        renewals.extend(store.renewal(segment)?);
                    }
                    Some(LeaseOutcome::NotHeld) | None => {}
                }
            }
            Ok::<_, StoreError>((taken, renewals))
        });
        let (taken, mut renewals) = taken.await.ok_or(CollectError::Shutdown)??;
        // The owner renewed what somebody still takes for released: left alone, that would put each
        // shard that a repair brings to another node into the trash there.
        renewals.dedup();
        self.engine.renew(&renewals).await;
        Ok((taken, answered))
    }
}
