//! Typed requests to peers.

use std::time::Duration;

use bytes::Bytes;
use datamesh_core::message::{Refusal, Reply, Request};
use datamesh_core::wire::{self, WireError};
use datamesh_core::{BoxFuture, Message, NodeId, Transport, TransportError};

/// Why a request brought no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The peer did not answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The peer answered bytes that are no reply.
    #[error("peer {peer} answered garbage: {source}")]
    Garbage {
        /// The peer.
        peer: NodeId,
        /// What is wrong with the answer.
        source: WireError,
    },
    /// The peer answered something else than was asked.
    #[error("peer {peer} gave an answer to another question")]
    OffTopic {
        /// The peer.
        peer: NodeId,
    },
    /// The peer refused.
    #[error("peer {peer} refused: {refusal}{}", detail_text(.detail))]
    Refused {
        /// The peer.
        peer: NodeId,
        /// Why.
        refusal: Refusal,
        /// More for people.
        detail: String,
    },
}

fn detail_text(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

impl AskError {
    /// The same may succeed in a moment: a connection broke, or somebody has too much to do.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Transport(error) => matches!(
                error,
                TransportError::Unreachable { .. }
                    | TransportError::Resting { .. }
                    | TransportError::Timeout { .. }
                    | TransportError::Closed { .. }
                    | TransportError::Busy { .. }
            ),
            Self::Refused { refusal, .. } => *refusal == Refusal::Busy,
            Self::Garbage { .. } | Self::OffTopic { .. } => false,
        }
    }

    /// How long the peer is left alone, after it failed again and again.
    pub(crate) fn rest(&self) -> Duration {
        match self {
            Self::Transport(TransportError::Resting { left, .. }) => *left,
            _ => Duration::ZERO,
        }
    }

    /// The peer could not be reached at all, as opposed to answering badly.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Transport(
                TransportError::Unreachable { .. }
                    | TransportError::Resting { .. }
                    | TransportError::Timeout { .. }
            )
        )
    }
}

/// Sends a request and reads the reply. A refusal is an error.
///
/// # Errors
/// [`AskError`].
pub fn ask<'a>(
    transport: &'a dyn Transport,
    peer: NodeId,
    request: &'a Request,
    body: Bytes,
    deadline: Duration,
) -> BoxFuture<'a, Result<(Reply, Bytes), AskError>> {
    Box::pin(async move {
        let message = Message { head: request.to_head(), body };
        let answer = transport.exchange(peer, message, request.reply_max(), deadline).await?;
        match wire::decode(&answer.head) {
            Ok(Reply::Refused { refusal, detail }) => {
                // It is shown and logged, and a stranger wrote it.
                let detail = detail.replace(char::is_control, " ");
                Err(AskError::Refused { peer, refusal, detail })
            }
            Ok(reply) => Ok((reply, answer.body)),
            Err(source) => Err(AskError::Garbage { peer, source }),
        }
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    /// Refuses everything with these words.
    struct Refuses(&'static str);

    impl Transport for Refuses {
        fn local(&self) -> NodeId {
            NodeId([1; 32])
        }

        fn exchange(
            &self,
            _: NodeId,
            _: Message,
            _: usize,
            _: Duration,
        ) -> BoxFuture<'_, Result<Message, TransportError>> {
            let reply = Reply::Refused { refusal: Refusal::Busy, detail: self.0.to_owned() };
            Box::pin(async move { Ok(Message { head: reply.to_head(), body: Bytes::new() }) })
        }

        fn learn(&self, _: NodeId, _: &[String]) {}

        fn connected(&self) -> Vec<NodeId> {
            Vec::new()
        }
    }

    #[test]
    fn what_a_peer_says_steers_no_terminal_and_begins_no_line_of_a_log() {
        let says = Refuses("no\x1b]52;c;aGk=\x07\r\nroom\u{9b}");
        let (request, peer) = (Request::Links, NodeId([2; 32]));
        let asked = ask(&says, peer, &request, Bytes::new(), Duration::from_secs(1));
        let text = futures::executor::block_on(asked).unwrap_err().to_string();
        assert!(text.contains("room") && !text.contains(char::is_control), "{text:?}");
    }
}
