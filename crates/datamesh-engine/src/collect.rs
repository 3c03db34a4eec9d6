//! The collector: the one worker that removes shards.
//!
//! A pass asks the likely holders of this node's segments whether their owners released them, which
//! a node that was away does not know yet, and tells them where they missed a renewal instead; compares the clock with some members; moves what is
//! released to the trash; removes what lay there for its time; and gives the room back. Where the
//! clock cannot be trusted it removes nothing and says so.

use std::sync::{Arc, Mutex, PoisonError};

use datamesh_core::message::LEASES_MAX;
use datamesh_core::{SegmentId, Timestamp};
use datamesh_store::{
    AgreedClock, ClockError, Collection, LeaseChange, LeaseOutcome, Store, StoreError,
};

use crate::engine::Engine;
use crate::points;
use crate::work::{block, step};

/// Members whose clocks are compared with this node's.
const CLOCKS: usize = 9;

/// Packs whose room one pass gives back: some gigabytes are read and written at most.
const PACKS_PER_PASS: usize = 4;

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
    pub async fn pass(&self) -> Result<(), CollectError> {
        let done = self.work().await;
        self.note(|state| {
            state.passes += 1;
            state.refused = done.as_ref().err().map(ToString::to_string);
        });
        done
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
        let (times, alone) = self.engine.peers_times(CLOCKS).await;
        let bound = self.config.clock_bound_ms;
        let clock = AgreedClock::compare(self.engine.now(), &times, bound, alone)?;
        let removing = self.with_collection(move |collection| collection.collect(&clock));
        let done = self.step(points::COLLECT_REMOVE, removing).await?;
        self.note(|state| {
            state.trashed += done.trashed;
            state.removed += done.removed;
            state.removed_bytes += done.removed_bytes;
        });
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
    pub async fn reconcile(&self) -> Result<(u64, bool), CollectError> {
        let (mut new, mut after): (u64, Option<SegmentId>) = (0, None);
        let mut complete = true;
        loop {
            let page = self.store.segments_after(after, LEASES_MAX);
            let Some((last, _)) = page.last() else { return Ok((new, complete)) };
            after = Some(*last);
            let segments: Vec<SegmentId> = page.iter().map(|(segment, _)| *segment).collect();
            let (releases, answered) = self.engine.releases_of(&segments).await;
            complete &= answered;
            if releases.is_empty() {
                continue;
            }
            let (store, mesh, now) =
                (Arc::clone(&self.store), self.engine.mesh(), self.engine.now());
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
            new += taken;
            // The owner renewed what somebody still takes for released: left alone, that would put
            // each shard that a repair brings to another node into the trash there.
            renewals.dedup();
            self.engine.renew(&renewals).await;
        }
    }
}
