//! Who audits which segment when. Pure: holders with one clock and one view agree without a word;
//! where they do not, a segment is audited twice in a period, or in the next.
//!
//! Segments' ids are spread evenly, so the walk follows the clock: at any time of a period, the same
//! part of the ids is done. All holders come to a segment at about the same time, nobody works in
//! bursts, and a restart needs no plan.

use datamesh_core::{Hash, NodeId, SegmentId, Timestamp};

/// BLAKE3 derive-key context of the draws.
const DUTY_CONTEXT: &str = "datamesh 2026 audit duty v1";

/// How far the walk has come: the period, and the last segment in it that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The number of the period since 1970.
    pub epoch: u64,
    /// Segments up to this id are done.
    pub segment: SegmentId,
}

/// The end of the ids.
const LAST: SegmentId = SegmentId([0xFF; 32]);

impl Place {
    /// Where the walk should be at `now`.
    pub fn at(now: Timestamp, period_ms: u64) -> Self {
        let period = period_ms.max(1);
        let part = u128::from(now % period) << 64;
        let first = (part / u128::from(period)) as u64;
        let mut id = [0; 32];
        id[..8].copy_from_slice(&first.to_be_bytes());
        Self { epoch: now / period, segment: SegmentId(id) }
    }

    /// What is to be done next on the way to `target`: a place, from which to walk, and the last
    /// segment of this stretch. Nothing where all is done.
    ///
    /// A walk that is behind by more than a period goes on with the ids where it stopped, not at
    /// the beginning, so that a slow node comes to every segment. One that is ahead, because the
    /// clock went back, begins anew at the target.
    pub fn stretch(self, target: Self) -> Option<(Self, SegmentId)> {
        if self >= target {
            return None;
        }
        let mut from = self;
        let behind = from.segment < target.segment;
        let least = if behind { target.epoch } else { target.epoch.saturating_sub(1) };
        from.epoch = from.epoch.max(least);
        if from.epoch == target.epoch {
            return Some((from, target.segment));
        }
        if from.segment == LAST {
            let start = Self { epoch: target.epoch, segment: SegmentId([0; 32]) };
            return Some((start, target.segment));
        }
        Some((from, LAST))
    }

    /// How much of a period the walk is behind `target`, in thousandths, at most 1000.
    pub fn behind(self, target: Self) -> u32 {
        let thousandths = |place: Self| {
            let mut first = [0; 8];
            first.copy_from_slice(&place.segment.0[..8]);
            let part = (u128::from(u64::from_be_bytes(first)) * 1000) >> 64;
            u128::from(place.epoch) * 1000 + part
        };
        thousandths(target).saturating_sub(thousandths(self)).min(1000) as u32
    }
}

/// The holder that audits a segment in a period; nothing where there is none.
pub fn auditor(
    segment: &SegmentId,
    epoch: u64,
    holders: impl IntoIterator<Item = NodeId>,
) -> Option<NodeId> {
    holders.into_iter().min_by_key(|node| {
        let mut bytes = [0; 72];
        bytes[..32].copy_from_slice(&segment.0);
        bytes[32..40].copy_from_slice(&epoch.to_le_bytes());
        bytes[40..].copy_from_slice(&node.0);
        Hash::derive(DUTY_CONTEXT, &bytes)
    })
}
