//! Drives a scenario from its beginning to its end.

use std::env;
use std::fs;
use std::future::Future;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use datamesh_core::Hash;
use datamesh_core::signature::checked::Once;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::World;
use crate::numbers::{self, asked, number, panic_text};

/// Virtual time after which a scenario counts as hanging.
const PATIENCE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Names the one seed that [`run_seeds`] shall run.
const SEED_VARIABLE: &str = "DATAMESH_SEED";

/// Says how many seeds [`run_many`] shall run.
const COUNT_VARIABLE: &str = "DATAMESH_SEEDS";

/// Says with which seed it begins.
const FIRST_VARIABLE: &str = "DATAMESH_FIRST_SEED";

/// Names a file that gets the trace of a run that failed.
const TRACE_VARIABLE: &str = "DATAMESH_TRACE";

/// The first panic of any task.
#[derive(Default)]
pub(crate) struct Failure {
    text: Mutex<Option<String>>,
    happened: Notify,
}

impl Failure {
    pub(crate) fn set(&self, text: String) {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
        self.happened.notify_one();
    }

    fn get(&self) -> Option<String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs a scenario in a world from `seed` and returns what it returns.
///
/// The trace of a run that failed is written to the file that the environment variable
/// `DATAMESH_TRACE` names, if it is set.
///
/// # Panics
/// With the seed in the message: if the scenario or any task of a node panics, or if the scenario
/// has not ended after 30 days of virtual time, which is what a deadlock looks like.
pub fn run<F: Future>(seed: u64, scenario: impl FnOnce(World) -> F) -> F::Output {
    run_within(seed, PATIENCE, scenario)
}

/// [`run`] with another patience, in virtual time.
///
/// # Panics
/// As [`run`].
pub fn run_within<F: Future>(
    seed: u64,
    patience: Duration,
    scenario: impl FnOnce(World) -> F,
) -> F::Output {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => panic!("seed = {seed}: no runtime: {error}"),
    };
    let world = {
        let _inside = runtime.enter();
        World::new(seed)
    };
    let given = world.clone();
    let once = Once::begin();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let failure = world.failure();
            let scenario = tokio::time::timeout(patience, scenario(given));
            let result = tokio::select! {
                biased;
                () = failure.happened.notified() => None,
                result = scenario => Some(result),
            };
            match (failure.get(), result) {
                (None, Some(Ok(value))) => Ok(value),
                (None, _) => {
                    Err(format!("the scenario did not end within {} s", patience.as_secs()))
                }
                (Some(text), _) => Err(text),
            }
        })
    }));
    // Nodes and world hold each other; ending the nodes lets go of both.
    {
        let _inside = runtime.enter();
        world.end();
    }
    drop(runtime);
    drop(once);
    let text = match outcome {
        Ok(Ok(value)) => return value,
        Ok(Err(text)) => text,
        Err(panic) => panic_text(&*panic),
    };
    match env::var_os(TRACE_VARIABLE).map(|file| fs::write(file, world.trace().to_string())) {
        Some(Err(error)) => panic!("seed = {seed}: {text} (no trace: {error})"),
        _ => panic!("seed = {seed}: {text}"),
    }
}

/// Runs a scenario once for each seed of a range, or for the one in the environment variable
/// `DATAMESH_SEED` if that is set: so a failure is looked at again without a change of the test.
///
/// # Panics
/// As [`run`]; or if the variable is no number.
pub fn run_seeds<F: Future<Output = ()>>(seeds: Range<u64>, mut scenario: impl FnMut(World) -> F) {
    match number(SEED_VARIABLE) {
        Some(seed) => run(seed, &mut scenario),
        None => seeds.for_each(|seed| run(seed, &mut scenario)),
    }
}

/// Runs a scenario once for each of many seeds, a world on each of this machine's cores: `count` of
/// them from 0 on, or as the environment variables `DATAMESH_SEEDS` and `DATAMESH_FIRST_SEED` say, or
/// the one in `DATAMESH_SEED`. All are run, whatever the others come to.
///
/// # Panics
/// If any run fails, with the seeds of those that did; or if a variable is no number.
pub fn run_many<F: Future<Output = ()>>(count: u64, scenario: impl Fn(World) -> F + Sync) {
    let seeds = match number(SEED_VARIABLE) {
        Some(seed) => seed..seed + 1,
        None => asked(FIRST_VARIABLE, COUNT_VARIABLE, count),
    };
    let seeds: Vec<u64> = seeds.collect();
    numbers::each(&seeds, || (), |(), seed| run(seed, &scenario));
}

/// Runs a scenario twice with the same seed, checks that both runs were the same event by event,
/// and returns the digest of their traces.
///
/// # Panics
/// As [`run`]; or if the runs differ, with the first events that do.
pub fn assert_replays<F: Future<Output = ()>>(
    seed: u64,
    mut scenario: impl FnMut(World) -> F,
) -> Hash {
    let mut once = || {
        run(seed, |world| {
            let scenario = scenario(world.clone());
            async move {
                scenario.await;
                world.trace()
            }
        })
    };
    let (first, second) = (once(), once());
    if first.digest() != second.digest() {
        let differ = first.events().zip(second.events()).find(|(one, other)| one != other);
        let counts = (first.count(), second.count());
        panic!("seed = {seed}: two runs differ, first at {differ:?}; events: {counts:?}");
    }
    first.digest()
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_time().start_paused(true).build()
}
