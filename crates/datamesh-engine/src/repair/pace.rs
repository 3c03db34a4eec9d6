//! How many bytes repair may move, and how many it did.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time over which the rate is measured.
const WINDOW: Duration = Duration::from_secs(60);

/// Movements remembered within the window.
const RECENT_MAX: usize = 4096;

/// A budget of bytes a second, 0 for none at all. What is urgent is outside of it.
#[derive(Debug)]
pub(super) struct Pace {
    rate: AtomicU64,
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
        Self { rate: AtomicU64::new(rate), state: Mutex::new(state) }
    }

    fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Sets the budget, which counts from the next work on.
    pub(super) fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether work of so many bytes may begin now; if so, it is charged.
    pub(super) fn admits(&self, bytes: u64, urgent: bool) -> bool {
        let (mut state, now, rate) = (self.state(), Instant::now(), self.rate());
        if urgent {
            return true;
        }
        if rate == 0 || state.free > now {
            return false;
        }
        // In microseconds, so that small work at a high rate costs something.
        let cost = u128::from(bytes) * 1_000_000 / u128::from(rate);
        state.free = now + Duration::from_micros(u64::try_from(cost).unwrap_or(u64::MAX / 4));
        true
    }

    /// How long until work that is not urgent may begin.
    pub(super) fn wait(&self) -> Duration {
        if self.rate() == 0 {
            return Duration::MAX;
        }
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
        recent.map(|(_, bytes)| *bytes).sum::<u64>() as f64 / WINDOW.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_waits_for_its_budget_and_what_is_urgent_does_not() {
        let pace = Pace::new(1000);
        assert!(pace.admits(5000, false));
        assert!(!pace.admits(1, false));
        assert_eq!(pace.wait(), Duration::from_secs(5));
        assert!(pace.admits(1 << 40, true));
        assert_eq!(pace.wait(), Duration::from_secs(5), "what is urgent costs nothing");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(pace.admits(1, false));
        pace.moved(600);
        assert!((pace.measured() - 10.0).abs() < 1e-9);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(pace.measured().to_string(), "0", "and not less than nothing");
        let none = Pace::new(0);
        assert!(!none.admits(1, false) && none.admits(1, true));
        none.set_rate(1);
        assert!(none.admits(1, false));
    }
}
