//! A circuit breaker for each peer: who fails again and again is left alone for a while.
//!
//! Closed at first. After [`FAILURES`] exchanges in a row that failed it opens, and calls fail at
//! once for a pause, which doubles each time; then one call may try (half-open): if that goes well
//! the breaker closes, else it opens again. Failed dials do not count here, since the peer book has
//! its own pauses for them.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open it.
const FAILURES: u32 = 5;

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How a peer's breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls fail at once, for so long.
    Open(Duration),
    /// One call may try.
    HalfOpen,
}

/// The breaker of one peer.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    /// Times that it opened in a row.
    opened: u32,
    open_until: Option<Instant>,
    /// When the call began that tries out a half-open breaker.
    trying_since: Option<Instant>,
}

impl Breaker {
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match self.open_until {
            None => BreakerState::Closed,
            Some(until) if until > now => BreakerState::Open(until - now),
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Asks to make a call.
    ///
    /// # Errors
    /// How long calls fail at once.
    pub(crate) fn enter(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state(now) {
            BreakerState::Closed => Ok(()),
            BreakerState::Open(left) => Err(left),
            BreakerState::HalfOpen => match self.trying_since {
                // A call that was dropped never tells how it ended, hence a bound.
                Some(since) if now < since + PAUSE_MIN => Err(since + PAUSE_MIN - now),
                _ => {
                    self.trying_since = Some(now);
                    Ok(())
                }
            },
        }
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Notes that a call failed that had entered at `entered`.
    pub(crate) fn failed(&mut self, entered: Instant, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        // Calls that were under way when it opened tell nothing that is not known.
        let half_open = self.open_until.is_some_and(|until| entered >= until);
        let closed = self.open_until.is_none();
        if half_open || closed && self.failures >= FAILURES {
            let pause = PAUSE_MIN.saturating_mul(1 << self.opened.min(16)).min(PAUSE_MAX);
            self.opened = self.opened.saturating_add(1);
            self.open_until = Some(now + pause);
            self.trying_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_one_success_closes_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 1..FAILURES {
                breaker.failed(now, now);
            }
            assert_eq!(breaker.enter(now), Ok(()));
            breaker.succeeded();
        }
        for _ in 0..FAILURES {
            assert_eq!(breaker.enter(now), Ok(()));
            breaker.failed(now, now);
        }
        assert_eq!(breaker.enter(now), Err(PAUSE_MIN));
        // Calls that were under way and fail now do not make the pause longer.
        breaker.failed(now, now + 2 * PAUSE_MIN);
        assert_eq!(breaker.state(now), BreakerState::Open(PAUSE_MIN));

        let later = now + PAUSE_MIN;
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        assert_eq!(breaker.enter(later), Ok(()));
        assert_eq!(breaker.enter(later), Err(PAUSE_MIN), "one tries, the others wait");
        breaker.failed(later, later);
        assert_eq!(breaker.enter(later), Err(2 * PAUSE_MIN));
        let again = later + 2 * PAUSE_MIN;
        assert_eq!(breaker.enter(again), Ok(()));
        // That call was dropped: another may try.
        assert_eq!(breaker.enter(again + PAUSE_MIN), Ok(()));
        breaker.succeeded();
        assert_eq!(breaker.state(again), BreakerState::Closed);
        assert_eq!(breaker.enter(again), Ok(()));
    }

    #[test]
    fn pauses_are_bounded() {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.failed(now, now);
            if let BreakerState::Open(left) = breaker.state(now) {
                assert!(left <= PAUSE_MAX);
                now += left;
            }
        }
        breaker.failed(now, now);
        assert_eq!(breaker.state(now), BreakerState::Open(PAUSE_MAX));
    }
}
