//! How long an exchange may take: its deadline, and beside it the time that its bodies take at the
//! least rate, and that this node's own limit on bandwidth held it back.
//!
//! A deadline says how long a peer may think. A mebibyte over a thin line takes longer than that, and
//! whoever gave it up would send it again, with the same end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::frame::STEP_BYTES;

/// The time of one exchange.
#[derive(Debug)]
pub(crate) struct Patience {
    begun: Instant,
    deadline: Duration,
    /// Bytes a second of the slowest body.
    rate: u64,
    /// Time beside the deadline, in milliseconds.
    earned: AtomicU64,
}

impl Patience {
    pub(crate) fn new(deadline: Duration, bytes_per_second_min: u64) -> Self {
        let rate = bytes_per_second_min.max(1);
        Self { begun: Instant::now(), deadline, rate, earned: AtomicU64::new(0) }
    }

    fn time_of(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.rate as f64)
    }

    fn earn(&self, time: Duration) {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4);
        self.earned.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// A body of so many bytes, which are bounded, is part of the exchange.
    pub(crate) fn moves(&self, bytes: usize) {
        self.earn(self.time_of(bytes));
    }

    /// It was this side that let it wait.
    pub(crate) fn held_back(&self, time: Duration) {
        self.earn(time);
    }

    /// How long one step of a body may take.
    pub(crate) fn step(&self) -> Duration {
        self.deadline.max(self.time_of(STEP_BYTES))
    }

    fn end(&self) -> Instant {
        let earned = Duration::from_millis(self.earned.load(Ordering::Relaxed));
        self.begun + self.deadline + earned
    }

    /// Does `work`, which may tell of bodies while it runs.
    ///
    /// # Errors
    /// How long it was given.
    pub(crate) async fn bound<T>(&self, work: impl Future<Output = T>) -> Result<T, Duration> {
        let mut work = std::pin::pin!(work);
        loop {
            let end = self.end();
            match timeout_at(end, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) if self.end() > end => {}
                Err(_) => return Err(end - self.begun),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bodies_and_waiting_earn_time_and_silence_does_not() {
        const SECOND: Duration = Duration::from_secs(1);
        let patience = Patience::new(SECOND, 1 << 10);
        let silent: Result<(), Duration> = patience.bound(pending()).await;
        assert_eq!(silent.unwrap_err(), SECOND);

        let patience = Patience::new(SECOND, 1 << 10);
        let slow = patience.bound(async {
            patience.moves(2 << 10);
            sleep(SECOND * 2).await;
            patience.held_back(SECOND * 5);
            sleep(SECOND * 5).await;
            patience.moves(1 << 10);
            pending::<()>().await;
        });
        assert_eq!(slow.await.unwrap_err(), SECOND * 9);
    }
}
