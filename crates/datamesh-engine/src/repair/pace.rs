//! How many bytes repair may move, and how many it did.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time over which the rate is measured.
const WINDOW: Duration = Duration::from_secs(60);

/// Movements remembered within the window.
const RECENT_MAX: usize = 4096;

/// A budget of bytes a second. What is urgent is outside of it.
#[derive(Debug)]
pub(super) struct Pace {
    rate: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// From when on the next work is within the budget.
    free: Instant,
    recent: VecDeque<(Instant, u64)>,
}

impl Pace {
    pub(super) fn new(rate: u64) -> Self {
        let state = State { free: Instant::now(), recent: VecDeque::new() };
        Self { rate: rate.max(1), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether work of so many bytes may begin now; if so, it is charged.
    pub(super) fn admits(&self, bytes: u64, urgent: bool) -> bool {
        let (mut state, now) = (self.state(), Instant::now());
        if urgent {
            return true;
        }
        if state.free > now {
            return false;
        }
        // In microseconds, so that small work at a high rate costs something.
        let cost = u128::from(bytes) * 1_000_000 / u128::from(self.rate);
        state.free = now + Duration::from_micros(u64::try_from(cost).unwrap_or(u64::MAX / 4));
        true
    }

    /// How long until work that is not urgent may begin.
    pub(super) fn wait(&self) -> Duration {
        self.state().free.saturating_duration_since(Instant::now())
    }

    /// So many bytes were moved.
    pub(super) fn moved(&self, bytes: u64) {
        let mut state = self.state();
        state.recent.push_back((Instant::now(), bytes));
        if state.recent.len() > RECENT_MAX {
            state.recent.pop_front();
        }
    }

    /// Bytes a second over the last minute.
    pub(super) fn measured(&self) -> f64 {
        let (state, now) = (self.state(), Instant::now());
        let recent = state.recent.iter().filter(|(at, _)| now - *at <= WINDOW);
        recent.map(|(_, bytes)| *bytes as f64).sum::<f64>() / WINDOW.as_secs_f64()
    }
}
