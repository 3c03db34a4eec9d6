//! Where audits and scrubs bring what they found, for whoever repairs.

use std::sync::Arc;

use datamesh_core::{NodeId, SegmentId};

use crate::audit::Outcome;

/// Something that is wrong with a shard. It is a reason to look, not a verdict: whoever repairs
/// checks for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// A shard of this node's own store is damaged; it is no longer held.
    Damaged {
        /// The segment.
        segment: SegmentId,
        /// Which of its shards.
        shard: u8,
    },
    /// A node could not prove a shard, twice.
    Unproven {
        /// The segment.
        segment: SegmentId,
        /// Which of its shards.
        shard: u8,
        /// The node.
        node: NodeId,
        /// What the second audit came to; one that is final.
        outcome: Outcome,
        /// The node says itself that it does not hold the shard any more.
        admitted: bool,
    },
}

impl Finding {
    /// The segment that it is about.
    pub fn segment(&self) -> SegmentId {
        match self {
            Self::Damaged { segment, .. } | Self::Unproven { segment, .. } => *segment,
        }
    }
}

/// Takes findings in. Called from tasks, so it neither blocks nor takes long; where it keeps them,
/// it keeps a bounded number, since another walk finds again what was dropped.
pub trait Findings: Send + Sync {
    /// Takes one finding in.
    fn take(&self, finding: Finding);
}

impl<T: Findings + ?Sized> Findings for Arc<T> {
    fn take(&self, finding: Finding) {
        (**self).take(finding);
    }
}
