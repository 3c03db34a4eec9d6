//! How many bytes a second this node may send and receive, all peers together.
//!
//! What is limited are the bodies of messages. Each waits its turn as a whole and then moves at
//! full speed, so that the limit does not look like a slow peer on the other side.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::bucket::Bucket;

/// The longest wait of bodies that peers ask for: who would wait longer is refused.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Bytes a second; nothing for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Sent.
    pub up: Option<u64>,
    /// Received.
    pub down: Option<u64>,
}

/// It would take too long.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit on this node's bandwidth is used up for {} s", .0.as_secs())]
pub(crate) struct UsedUp(Duration);

#[derive(Debug, Default)]
struct Buckets {
    limits: Bandwidth,
    up: Option<Bucket>,
    down: Option<Bucket>,
}

/// Holds bodies back.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Buckets>);

impl Throttle {
    /// Sets the limits, which count from now on.
    pub(crate) fn set(&self, limits: Bandwidth) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.limits == limits {
            return;
        }
        let now = Instant::now();
        let bucket = |rate: Option<u64>| rate.map(|rate| Bucket::new(rate as f64, now));
        *buckets = Buckets { limits, up: bucket(limits.up), down: bucket(limits.down) };
    }

    pub(crate) fn limits(&self) -> Bandwidth {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).limits
    }

    /// How long `bytes` must wait, which count from now on if that is not too long.
    fn take(
        &self,
        bytes: usize,
        wait_max: Duration,
        which: impl FnOnce(&mut Buckets) -> &mut Option<Bucket>,
    ) -> Result<Duration, UsedUp> {
        if bytes == 0 {
            return Ok(Duration::ZERO);
        }
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = which(&mut buckets) else { return Ok(Duration::ZERO) };
        let now = Instant::now();
        // What is owed already, before these bytes are owed too: a body larger than all that the
        // limit gives in the longest wait goes when nobody else is before it.
        let owed = bucket.take(0.0, now);
        if owed > wait_max {
            return Err(UsedUp(owed));
        }
        bucket.take(bytes as f64, now);
        Ok(owed)
    }

    /// Waits until a body of `bytes` may be sent.
    pub(crate) async fn up(&self, bytes: usize) -> Result<(), UsedUp> {
        sleep_if_any(self.take(bytes, WAIT_MAX, |buckets| &mut buckets.up)?).await;
        Ok(())
    }

    /// Waits until a body of `bytes` may be received.
    pub(crate) async fn down(&self, bytes: usize) -> Result<(), UsedUp> {
        sleep_if_any(self.take(bytes, WAIT_MAX, |buckets| &mut buckets.down)?).await;
        Ok(())
    }

    /// How long this node's own body of `bytes`, which counts from now on, must wait before it is
    /// sent. Whoever sends more than the limit gives waits for it, however long that is.
    pub(crate) fn own_up(&self, bytes: usize) -> Duration {
        self.take(bytes, Duration::MAX, |buckets| &mut buckets.up).unwrap_or_default()
    }

    /// The same for a body that this node asked for.
    pub(crate) fn own_down(&self, bytes: usize) -> Duration {
        self.take(bytes, Duration::MAX, |buckets| &mut buckets.down).unwrap_or_default()
    }
}

/// A timer that has nothing to wait for still costs a turn of the clock.
pub(crate) async fn sleep_if_any(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn bodies_move_at_the_rate_and_without_a_limit_at_once() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for _ in 0..100 {
            throttle.up(MIB).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        throttle.set(Bandwidth { up: Some(MIB as u64), down: None });
        for _ in 0..11 {
            throttle.up(MIB).await.unwrap();
            throttle.down(MIB).await.unwrap();
        }
        // The first second's worth is there at once and the last body is on credit.
        assert_eq!(start.elapsed().as_secs(), 9);
        throttle.set(Bandwidth::default());
        throttle.up(MIB).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_is_told_and_owes_nothing() {
        let throttle = Throttle::default();
        throttle.set(Bandwidth { up: None, down: Some(1024) });
        throttle.down(1024 * 100).await.unwrap();
        assert!(throttle.down(1).await.is_err());
        tokio::time::advance(Duration::from_secs(80)).await;
        throttle.down(1).await.unwrap();
    }
}
