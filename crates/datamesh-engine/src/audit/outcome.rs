//! What one challenge of an audit came to.

use datamesh_core::TransportError;
use datamesh_core::message::Refusal;

use crate::ask::AskError;

/// What one challenge came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The cell came, and its proof holds.
    Ok,
    /// The answer was false: the proof or the signature does not hold, or it was no answer.
    Corrupt,
    /// The node says that it does not have the shard.
    Missing,
    /// The node does not answer challenges.
    Refused,
    /// The node, or this one, had no time for it.
    Busy,
    /// No answer came in time.
    Timeout,
    /// The node could not be reached.
    Offline,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Corrupt,
        Self::Missing,
        Self::Refused,
        Self::Busy,
        Self::Timeout,
        Self::Offline,
    ];

    /// It says something about the shard, as opposed to the network or the moment.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Corrupt | Self::Missing | Self::Refused)
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Corrupt => "corrupt",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Offline => "offline",
        }
    }

    /// What it means that a request brought no answer.
    pub(super) fn of(error: &AskError) -> Self {
        match error {
            AskError::Transport(error) => match error {
                TransportError::Timeout { .. } => Self::Timeout,
                TransportError::Unreachable { .. }
                | TransportError::Resting { .. }
                | TransportError::Closed { .. } => Self::Offline,
                // Nothing was sent: it says nothing about the node.
                TransportError::Busy { .. } | TransportError::Shutdown => Self::Busy,
                TransportError::TooLarge { .. } => Self::Corrupt,
            },
            AskError::Garbage { .. } | AskError::OffTopic { .. } => Self::Corrupt,
            // A node whose view is behind ours does not know yet that this one is a member.
            AskError::Refused { refusal: Refusal::Busy | Refusal::NotAdmitted, .. } => Self::Busy,
            AskError::Refused { .. } => Self::Refused,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
