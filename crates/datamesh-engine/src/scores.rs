//! How well peers serve, from what was measured here and from nothing else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_core::NodeId;

/// Weight of a new measurement in the moving averages.
const NEW_WEIGHT: f64 = 0.2;

/// Durations kept for the percentile.
const RECENT_MAX: usize = 128;

/// Bytes from which an exchange says something about throughput.
const GOODPUT_BYTES_MIN: usize = 64 * 1024;

/// Goodput assumed of a peer that was never measured, so that it is tried: 50 MB/s.
const GOODPUT_ASSUMED: f64 = 50e6;

/// Failures in a row beyond which a peer does not look worse.
const FAILURES_MAX: u32 = 10;

/// Waiting for less than this is never worth a second request.
const HEDGE_MIN: Duration = Duration::from_millis(200);

/// Longest wait before a second request.
const HEDGE_MAX: Duration = Duration::from_secs(3);

/// What was measured of a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PeerScore {
    /// Exchanges that went well.
    pub successes: u64,
    /// Exchanges that did not, for whatever reason.
    pub failures: u64,
    /// Answers that were wrong: false bytes, false proofs, garbage.
    pub wrong: u64,
    /// Moving average of the time of small exchanges, in seconds; 0 before the first.
    pub latency_s: f64,
    /// Moving average of bytes per second of large exchanges; 0 before the first.
    pub goodput: f64,
    /// Failures, and times that it kept a reader waiting, since the last success.
    pub failures_in_a_row: u32,
}

#[derive(Debug, Default)]
struct Recent {
    durations: Vec<Duration>,
    next: usize,
}

/// The scores of all peers.
#[derive(Debug, Default)]
pub(crate) struct Scores {
    peers: Mutex<BTreeMap<NodeId, PeerScore>>,
    large: Mutex<Recent>,
    requests: AtomicU64,
    hedges: AtomicU64,
}

fn average(old: f64, new: f64) -> f64 {
    if old == 0.0 { new } else { old + NEW_WEIGHT * (new - old) }
}

impl Scores {
    fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, PeerScore>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard was asked for.
    pub(crate) fn requested(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A shard was asked for because another is slow.
    pub(crate) fn hedged(&self) {
        self.hedges.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether one more such request keeps them to a tenth of all.
    pub(crate) fn hedge_allowed(&self) -> bool {
        self.hedges.load(Ordering::Relaxed) * 10 < self.requests.load(Ordering::Relaxed) + 10
    }

    pub(crate) fn of(&self, node: &NodeId) -> PeerScore {
        self.peers().get(node).copied().unwrap_or_default()
    }

    pub(crate) fn succeeded(&self, node: &NodeId, bytes: usize, took: Duration) {
        let mut peers = self.peers();
        if peers.len() >= crate::view::MEMBERS_MAX && !peers.contains_key(node) {
            return;
        }
        let score = peers.entry(*node).or_default();
        score.successes += 1;
        score.failures_in_a_row = 0;
        let seconds = took.as_secs_f64().max(1e-6);
        if bytes >= GOODPUT_BYTES_MIN {
            score.goodput = average(score.goodput, bytes as f64 / seconds);
            drop(peers);
            let mut recent = self.large.lock().unwrap_or_else(PoisonError::into_inner);
            let next = recent.next;
            if recent.durations.len() < RECENT_MAX {
                recent.durations.push(took);
            } else if let Some(place) = recent.durations.get_mut(next) {
                *place = took;
            }
            recent.next = (next + 1) % RECENT_MAX;
        } else {
            score.latency_s = average(score.latency_s, seconds);
        }
    }

    pub(crate) fn failed(&self, node: &NodeId, wrong: bool) {
        let mut peers = self.peers();
        if peers.len() >= crate::view::MEMBERS_MAX && !peers.contains_key(node) {
            return;
        }
        let score = peers.entry(*node).or_default();
        score.failures += 1;
        score.wrong += u64::from(wrong);
        score.failures_in_a_row = (score.failures_in_a_row + 1).min(FAILURES_MAX);
    }

    /// A peer keeps a reader waiting: it comes later among those to be asked, until it answers.
    pub(crate) fn slow(&self, node: &NodeId) {
        let mut peers = self.peers();
        if peers.len() >= crate::view::MEMBERS_MAX && !peers.contains_key(node) {
            return;
        }
        let score = peers.entry(*node).or_default();
        score.failures_in_a_row = (score.failures_in_a_row + 1).min(FAILURES_MAX);
    }

    /// Seconds that an exchange of `bytes` with this peer is expected to take.
    pub(crate) fn expected(&self, node: &NodeId, bytes: usize) -> f64 {
        let score = self.of(node);
        let goodput = if score.goodput > 0.0 { score.goodput } else { GOODPUT_ASSUMED };
        let seconds = score.latency_s + bytes as f64 / goodput;
        // Each failure since the last success doubles it, so that a bad peer comes last, but is
        // tried again when nobody else is left.
        seconds * f64::from(1u32 << score.failures_in_a_row)
    }

    /// How long to wait for a large exchange before asking somebody else as well: one and a half
    /// times the 95th percentile of the recent ones.
    pub(crate) fn hedge_after(&self) -> Duration {
        let recent = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted = recent.durations.clone();
        drop(recent);
        sorted.sort_unstable();
        match sorted.get((sorted.len() * 95 / 100).min(sorted.len().saturating_sub(1))) {
            Some(p95) if sorted.len() >= 8 => p95.mul_f64(1.5).clamp(HEDGE_MIN, HEDGE_MAX),
            _ => HEDGE_MAX,
        }
    }
}
