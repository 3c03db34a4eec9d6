//! What audits came to: of each peer for good, and of all together over the last period.

use std::collections::BTreeMap;

use datamesh_catalog::PeerAudit;
use datamesh_core::{NodeId, Timestamp};

use super::outcome::Outcome;

/// Failures of late with which a peer is flagged: more than one shard, so that one odd answer is no
/// verdict, and few enough that dropping a tenth of a hundred shards shows within a period, though
/// the other holders share the audits among them.
const FLAGGED_AT: u64 = 2;

/// Bits of [`PeerAudit::recent`] for the failures of its period; above them are those of the period
/// before.
const RECENT_BITS: u32 = 32;

/// The failures of one period in it.
const RECENT_MASK: u64 = (1 << RECENT_BITS) - 1;

/// Hands of the clock in a period.
const SLOTS: u64 = 24;

/// How a challenge ended after it was asked a second time, where that was called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What it came to.
    pub outcome: Outcome,
    /// A final outcome that costs nothing: the node says itself that it does not hold the shard.
    pub admitted: bool,
}

/// A record of a peer that was never audited.
pub fn fresh(node: NodeId) -> PeerAudit {
    PeerAudit {
        node,
        ok: 0,
        corrupt: 0,
        missing: 0,
        refused: 0,
        busy: 0,
        timeout: 0,
        offline: 0,
        admitted: 0,
        recent: 0,
        epoch: 0,
        last: 0,
    }
}

/// Failures of the period `epoch` and of the one before, as they are kept. Of both together, so that
/// what happened on one day shows on that day wherever in it a period ends.
fn recent(audit: &PeerAudit, epoch: u64) -> u64 {
    match epoch.saturating_sub(audit.epoch) {
        0 => audit.recent,
        1 => (audit.recent & RECENT_MASK) << RECENT_BITS,
        _ => 0,
    }
}

/// Books a verdict on a peer.
pub fn book(audit: &mut PeerAudit, verdict: Verdict, epoch: u64, now: Timestamp) {
    audit.recent = recent(audit, epoch);
    audit.epoch = audit.epoch.max(epoch);
    audit.last = now;
    if verdict.admitted {
        audit.admitted += 1;
        return;
    }
    let count = match verdict.outcome {
        Outcome::Ok => &mut audit.ok,
        Outcome::Corrupt => &mut audit.corrupt,
        Outcome::Missing => &mut audit.missing,
        Outcome::Refused => &mut audit.refused,
        Outcome::Busy => &mut audit.busy,
        Outcome::Timeout => &mut audit.timeout,
        Outcome::Offline => &mut audit.offline,
    };
    *count += 1;
    if verdict.outcome.is_final() {
        audit.recent += u64::from(audit.recent & RECENT_MASK < RECENT_MASK);
    }
}

/// Whether a peer is flagged in period `epoch`: it failed on shards that it claims to hold, and
/// did so often of late.
pub fn flagged(audit: &PeerAudit, epoch: u64) -> bool {
    let recent = recent(audit, epoch);
    (recent & RECENT_MASK) + (recent >> RECENT_BITS) >= FLAGGED_AT
}

/// Counts over the last period, and up to a twenty-fourth of it more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Challenges by what they came to.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Losses that nodes admitted; they are not among the outcomes.
    pub admitted: u64,
    /// Segments that this node audited.
    pub segments: u64,
}

/// Counts over the last period, in slots that fall out one by one.
#[derive(Debug, Default)]
pub(super) struct Window {
    slots: BTreeMap<u64, Counts>,
}

impl Window {
    fn slot(&mut self, now: Timestamp, period_ms: u64) -> &mut Counts {
        let width = (period_ms / SLOTS).max(1);
        let current = now / width;
        self.slots.retain(|slot, _| *slot <= current && current - slot <= SLOTS);
        self.slots.entry(current).or_default()
    }

    pub(super) fn book(&mut self, verdict: Verdict, now: Timestamp, period_ms: u64) {
        let slot = self.slot(now, period_ms);
        if verdict.admitted {
            slot.admitted += 1;
        } else {
            *slot.outcomes.entry(verdict.outcome).or_default() += 1;
        }
    }

    pub(super) fn segment(&mut self, now: Timestamp, period_ms: u64) {
        self.slot(now, period_ms).segments += 1;
    }

    pub(super) fn counts(&mut self, now: Timestamp, period_ms: u64) -> Counts {
        self.slot(now, period_ms);
        let mut all = Counts::default();
        for slot in self.slots.values() {
            for (outcome, count) in &slot.outcomes {
                *all.outcomes.entry(*outcome).or_default() += count;
            }
            all.admitted += slot.admitted;
            all.segments += slot.segments;
        }
        all
    }
}
