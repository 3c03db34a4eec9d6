//! Background work of a running service: each worker has a name, a state, progress and a throttle,
//! and one that panics is started again.

mod audit;
mod bandwidth;
mod catalog;
mod collect;
mod discovery;
mod findings;
mod leases;
mod membership;
mod scrub;
mod upkeep;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_api::{WorkerProgress, WorkerState, WorkerStats};
use datamesh_core::{Clock, Timestamp};
use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::system::SystemClock;

pub(crate) use bandwidth::{BandwidthWorker, Limits};
pub(crate) use catalog::{follow_catalog, move_heads};
pub(crate) use collect::{collect, reconciled};
pub(crate) use discovery::DiscoveryWorker;
pub(crate) use findings::FindingsLog;
pub(crate) use leases::start_renewing;
pub(crate) use membership::{ADVERT_LIFETIME_MS, MembershipWorker, free_class};
pub(crate) use upkeep::Upkeep;

/// How long a worker that panicked rests before it is started again: so long at first, twice as
/// long after each panic.
const REST_MIN: Duration = Duration::from_secs(1);

/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(300);

/// Tells how far a worker is.
type ProgressFn = Box<dyn Fn() -> Option<WorkerProgress> + Send + Sync>;

/// What a worker is, for those who look.
pub(crate) struct Description {
    /// Its name.
    pub(crate) name: &'static str,
    /// What bounds it.
    pub(crate) throttle: String,
    /// How far it is, where its work has an end.
    pub(crate) progress: Option<ProgressFn>,
}

impl Description {
    /// A worker whose work has no end.
    pub(crate) fn of(name: &'static str, throttle: impl Into<String>) -> Self {
        Self { name, throttle: throttle.into(), progress: None }
    }
}

/// The workers of a service.
#[derive(Default)]
pub(crate) struct Workers {
    known: Mutex<Vec<Arc<Worker>>>,
}

struct Worker {
    description: Description,
    life: Mutex<Life>,
}

struct Life {
    state: WorkerState,
    since: Timestamp,
    restarts: u64,
    last_failure: Option<String>,
}

impl Worker {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, state: WorkerState) {
        let mut life = self.life();
        life.state = state;
        life.since = SystemClock.now();
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "a panic without text".to_owned(),
    }
}

impl Workers {
    /// Runs a worker until `stop`. `run` makes its future, once more after each panic.
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(
        &self,
        tasks: &TaskTracker,
        stop: &CancellationToken,
        description: Description,
        run: impl Fn(CancellationToken) -> F + Send + 'static,
    ) {
        let life = Life {
            state: WorkerState::Running,
            since: SystemClock.now(),
            restarts: 0,
            last_failure: None,
        };
        let worker = Arc::new(Worker { description, life: Mutex::new(life) });
        self.known.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&worker));
        let stop = stop.clone();
        tasks.spawn(async move {
            let mut rest = REST_MIN;
            loop {
                let ended = match std::panic::catch_unwind(AssertUnwindSafe(|| run(stop.clone()))) {
                    Ok(future) => AssertUnwindSafe(future).catch_unwind().await,
                    Err(panic) => Err(panic),
                };
                let Err(panic) = ended else { break };
                let failure = panic_text(&*panic);
                let name = worker.description.name;
                tracing::error!(worker = name, %failure, "a worker failed and is started again");
                worker.life().last_failure = Some(failure);
                worker.enter(WorkerState::Resting);
                if stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_none() {
                    break;
                }
                rest = (rest * 2).min(REST_MAX);
                worker.life().restarts += 1;
                worker.enter(WorkerState::Running);
            }
            worker.enter(WorkerState::Ended);
        });
    }

    /// How the workers are, in the order in which they were started.
    pub(crate) fn stats(&self) -> Vec<WorkerStats> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = |worker: &Arc<Worker>| {
            let life = worker.life();
            WorkerStats {
                name: worker.description.name.to_owned(),
                state: life.state,
                since: life.since,
                restarts: life.restarts,
                last_failure: life.last_failure.clone(),
                throttle: worker.description.throttle.clone(),
                progress: worker.description.progress.as_ref().and_then(|progress| progress()),
            }
        };
        known.iter().map(stats).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn a_worker_that_panics_is_started_again_and_it_shows() {
        let (workers, tasks, stop) =
            (Workers::default(), TaskTracker::new(), CancellationToken::new());
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        workers.start(&tasks, &stop, Description::of("fragile", "none"), move |stop| {
            let run = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(run >= 2, "run {run} breaks");
                stop.cancelled().await;
            }
        });
        while runs.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let [fragile] = &workers.stats()[..] else { panic!("one worker") };
        assert_eq!((fragile.restarts, fragile.state), (2, WorkerState::Running));
        assert!(fragile.last_failure.as_ref().is_some_and(|text| text.contains("run 1 breaks")));
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        assert_eq!(workers.stats()[0].state, WorkerState::Ended);
    }
}
