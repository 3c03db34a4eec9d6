//! Getting shards to holders and back.

mod locate;
mod read;
mod urgency;
mod write;

use std::collections::BTreeSet;
use std::time::Duration;

use datamesh_core::NodeId;
use datamesh_core::message::Refusal;

pub use read::{ReadError, SegmentBytes};
pub use urgency::Urgency;
pub use write::{SegmentWrite, WriteError, WriteOutcome};

use crate::ask::AskError;

/// What a peer did wrong in a transfer that went on without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The peer.
    pub node: NodeId,
    /// The shard that was asked of it.
    pub shard: u8,
    /// What happened.
    pub kind: FaultKind,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shard {} at {}: {}", self.shard, self.node, self.kind)
    }
}

/// What to say of those who failed, behind what did not succeed for want of them.
pub(crate) fn fault_text(faults: &[Fault]) -> String {
    match faults.first() {
        None => String::new(),
        Some(first) => {
            let peers: BTreeSet<NodeId> = faults.iter().map(|fault| fault.node).collect();
            format!("; {} peers failed, for instance {first}", peers.len())
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// It did not answer, refused, or answered what is no answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// It sent bytes that do not match the shard's root.
    #[error("the bytes do not match the shard's root")]
    WrongBytes,
    /// It sent cells with a proof that does not hold.
    #[error("the proof of the cells does not hold")]
    WrongProof,
    /// It sent a descriptor of another segment, or none although it was asked for one.
    #[error("the descriptor is not the segment's")]
    WrongDescriptor,
    /// It sent a receipt that does not hold.
    #[error("the receipt does not hold")]
    WrongReceipt,
}

impl FaultKind {
    /// The peer answered falsely, as opposed to not at all.
    pub fn is_false(&self) -> bool {
        match self {
            Self::Ask(error) => {
                matches!(error, AskError::Garbage { .. } | AskError::OffTopic { .. })
            }
            Self::WrongBytes | Self::WrongProof | Self::WrongDescriptor | Self::WrongReceipt => {
                true
            }
        }
    }

    /// The peer may answer when it is asked again.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Ask(error) if error.is_passing())
    }

    /// How long the peer is left alone.
    pub(crate) fn rest(&self) -> Duration {
        match self {
            Self::Ask(error) => error.rest(),
            _ => Duration::ZERO,
        }
    }

    /// The peer does not have the shard that it claimed to hold.
    pub(crate) fn is_lack(&self) -> bool {
        match self {
            Self::Ask(AskError::Refused { refusal, .. }) => {
                matches!(refusal, Refusal::NotFound | Refusal::Damaged)
            }
            Self::Ask(_) => false,
            Self::WrongBytes | Self::WrongProof | Self::WrongDescriptor | Self::WrongReceipt => {
                true
            }
        }
    }

    fn is_absence(&self) -> bool {
        matches!(self, Self::Ask(error) if error.is_absence())
    }
}

impl crate::Engine {
    /// Books a fault: for the peer's score, and for the view where the peer is absent.
    pub(crate) fn note_fault(&self, fault: &Fault) {
        tracing::debug!(%fault, "a peer failed in a transfer");
        self.scores.failed(&fault.node, fault.kind.is_false());
        if fault.kind.is_absence() {
            self.note_answer(&fault.node, true);
        }
    }
}
