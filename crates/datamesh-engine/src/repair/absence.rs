//! How long members have been silent, kept over restarts.
//!
//! In a running process a silence is measured by a clock that does not jump. Across a restart the
//! wall clock says how long the process was not there: where it jumped, a repair comes earlier or
//! later, and no more than that, because whatever is decided here is looked at again by asking
//! before anything is done.

use std::collections::BTreeMap;
use std::time::Duration;

use datamesh_core::wire;
use datamesh_core::{NodeId, Timestamp, record};
use tokio::time::Instant;

use crate::view::{Standing, View};

/// Absences that are kept over a restart: what fits into a setting. The longest ones are kept, and
/// where more members are silent, the others are counted from the restart on.
const KEPT_MAX: usize = 80;

record! {
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Kept {
        node: NodeId,
        ms: u64,
    }
}

/// Since when members are silent.
#[derive(Debug, Default)]
pub(super) struct Absences {
    /// Milliseconds before the instant, and the instant.
    since: BTreeMap<NodeId, (u64, Instant)>,
}

impl Absences {
    /// Looks at the view. A member that has been unheard of for `offline_ms` when it is first seen
    /// to be silent has been so for that long.
    pub(super) fn observe(&mut self, view: &View, now: Timestamp, offline_ms: u64, own: &NodeId) {
        let instant = Instant::now();
        let mut silent = BTreeMap::new();
        for member in view.members() {
            let node = member.advert.node();
            if node == *own || view.standing(member, now) != Standing::Silent {
                continue;
            }
            let before = if member.unanswered { 0 } else { offline_ms };
            silent.insert(node, *self.since.get(&node).unwrap_or(&(before, instant)));
        }
        self.since = silent;
    }

    /// Milliseconds for which a member has been silent; nothing for one that is not.
    pub(super) fn of(&self, node: &NodeId) -> Option<u64> {
        self.since.get(node).map(|(before, since)| before + millis(since.elapsed()))
    }

    /// Whether anybody is silent.
    pub(super) fn any(&self) -> bool {
        !self.since.is_empty()
    }

    /// Members that fell silent less than `window_ms` ago.
    pub(super) fn fresh(&self, window_ms: u64) -> usize {
        self.since.keys().filter(|node| self.of(node).is_some_and(|ms| ms <= window_ms)).count()
    }

    /// The absences as a setting.
    pub(super) fn to_bytes(&self, now: Timestamp) -> Vec<u8> {
        let mut kept: Vec<Kept> = self
            .since
            .keys()
            .filter_map(|node| Some(Kept { node: *node, ms: self.of(node)? }))
            .collect();
        kept.sort_by_key(|kept| std::cmp::Reverse(kept.ms));
        kept.truncate(KEPT_MAX);
        let mut out = wire::Writer::new();
        out.u64(now).list(&kept);
        out.into_vec()
    }

    /// Absences that were kept; none where the setting cannot be read.
    pub(super) fn recall(bytes: &[u8], now: Timestamp) -> Self {
        let mut from = wire::Reader::new(bytes);
        let Ok(saved) = from.u64() else { return Self::default() };
        let Ok(kept) = from.list::<Kept>("absences", KEPT_MAX) else { return Self::default() };
        let instant = Instant::now();
        let gap = now.saturating_sub(saved);
        let since = kept
            .into_iter()
            .map(|kept| (kept.node, (kept.ms.saturating_add(gap), instant)))
            .collect();
        Self { since }
    }
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_absence_goes_on_over_a_restart_whatever_the_clock_says() {
        let node = NodeId([7; 32]);
        let mut absences = Absences::default();
        absences.since.insert(node, (1_000, Instant::now()));
        tokio::time::advance(Duration::from_secs(5)).await;
        let kept = absences.to_bytes(100_000);
        assert_eq!(Absences::recall(&kept, 130_000).of(&node), Some(36_000));
        // The clock went back: what was measured stays.
        assert_eq!(Absences::recall(&kept, 0).of(&node), Some(6_000));
        // It went forth: the repair comes early.
        assert_eq!(Absences::recall(&kept, u64::MAX).of(&node), Some(u64::MAX - 94_000));
        assert_eq!(Absences::recall(&kept[..9], 0).of(&node), None);
    }

    #[test]
    fn what_is_kept_fits_into_a_setting() {
        let absences = vec![Kept { node: NodeId([0; 32]), ms: 0 }; KEPT_MAX];
        let mut out = wire::Writer::new();
        out.u64(0).list(&absences);
        assert!(out.into_vec().len() <= 4096);
    }
}
