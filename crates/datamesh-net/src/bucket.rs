//! A token bucket: what one peer may cause for long, with bursts of a second's worth.

use std::time::Duration;

use tokio::time::Instant;

/// Counts what was used and says how long to wait before the next use.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate_per_second: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    /// A full bucket that refills at `rate_per_second` and holds one second's worth.
    pub(crate) fn new(rate_per_second: f64, now: Instant) -> Self {
        let rate_per_second = rate_per_second.max(1.0);
        Self { rate_per_second, tokens: rate_per_second, filled_at: now }
    }

    /// Takes `amount`, if need be on credit, and returns how long to wait until the credit is
    /// paid back. The debt is what makes the next user wait, so a large amount needs no large
    /// bucket.
    pub(crate) fn take(&mut self, amount: f64, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.tokens = (self.tokens + passed * self.rate_per_second).min(self.rate_per_second);
        self.tokens -= amount;
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.tokens / self.rate_per_second).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_the_rest_waits_for_its_share() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        for _ in 0..10 {
            assert_eq!(bucket.take(1.0, start), Duration::ZERO);
        }
        let wait = bucket.take(1.0, start);
        assert!(wait > Duration::from_millis(99) && wait < Duration::from_millis(101), "{wait:?}");
        let later = start + Duration::from_secs(100);
        for _ in 0..10 {
            assert_eq!(bucket.take(1.0, later), Duration::ZERO);
        }
        assert!(bucket.take(1.0, later) > Duration::ZERO);
    }
}
