//! Tests of which each case follows from a number: as many as the environment asks for.
//!
//! All are run, whatever the others come to; the numbers of those that failed are in the panic's
//! message, in the form that `cargo xtask torture` reads: `failed: [3, 17]`.

use std::any::Any;
use std::collections::BTreeMap;
use std::env;
use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, available_parallelism};

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without text".to_owned()
    }
}

/// The number in an environment variable, if it is set.
///
/// # Panics
/// If it is no number.
pub fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{variable}={text}: {error}"),
    }
}

/// The numbers that these two variables ask for, `count` of them from 0 on where they do not.
///
/// # Panics
/// If one is no number.
pub fn asked(first: &str, counted: &str, count: u64) -> Range<u64> {
    let first = number(first).unwrap_or(0);
    first..first + number(counted).unwrap_or(count)
}

/// Corruptions in the short form of all rooms together.
const CORRUPTIONS: u64 = 1000;

/// The corruptions that are asked for by `DATAMESH_CORRUPTIONS` and `DATAMESH_FIRST_CORRUPTION`: 1000
/// where they are not. Rooms share them by their last digit.
///
/// # Panics
/// If a variable is no number.
pub fn corruptions(digits: Range<u64>) -> Vec<u64> {
    let asked = asked("DATAMESH_FIRST_CORRUPTION", "DATAMESH_CORRUPTIONS", CORRUPTIONS);
    asked.filter(|number| digits.contains(&(number % 10))).collect()
}

/// Does `work` with each of the numbers, a thread on each of this machine's cores with a state of
/// its own, which is made anew after a failure.
///
/// # Panics
/// If any fails, with the numbers of those that did.
pub fn each<S>(numbers: &[u64], make: impl Fn() -> S + Sync, work: impl Fn(&mut S, u64) + Sync) {
    let (next, failed) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    let run = || {
        let mut state = None;
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(number) = numbers.get(at as usize).copied() else { return };
            let done = catch_unwind(AssertUnwindSafe(|| {
                work(state.get_or_insert_with(&make), number);
            }));
            if let Err(panic) = done {
                state = None;
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.insert(number, panic_text(&*panic));
            }
        }
    };
    let threads = available_parallelism().map_or(1, NonZero::get).min(numbers.len().max(1));
    #[expect(clippy::disallowed_methods, reason = "each thread has a state of its own")]
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(run);
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = failed.values().next() {
        let count = numbers.len();
        let numbers: Vec<&u64> = failed.keys().collect();
        panic!("{} of {count} failed: {numbers:?}; the first: {text}", failed.len());
    }
}
