//! The seams for determinism: traits behind which the outside world lives.
//!
//! The real implementations are in `datamesh-net` (transport) and `datamesh-node` (clock, entropy,
//! executor); the simulation in `datamesh-testkit` implements the same traits from one seed and
//! runs blocking work inline, so that a whole mesh replays exactly.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::id::{MeshId, NodeId};
use crate::message::Link;
use crate::signature::{Context, PublicKey, Signature};

/// A future that can be sent between threads, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Milliseconds since 1970-01-01 UTC.
pub type Timestamp = u64;

/// Largest head of a [`Message`] in bytes: control data, read whole before anything is done.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Largest body of a [`Message`] in bytes: one shard of the largest segment (1+m keeps a segment
/// of 4 MiB in one shard) and room for proofs.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024 + 64 * 1024;

/// One request or one reply: a small encoded head and a bulk body, often empty.
///
/// A sender may give the body in several parts, which saves gathering them; a receiver gets one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Encoded control data, at most [`HEAD_BYTES_MAX`].
    pub head: Bytes,
    /// Bulk bytes, at most [`BODY_BYTES_MAX`].
    pub body: Bytes,
}

/// Why a peer did not answer. None of these says anything about what the peer stores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No address of the peer is known or none could be reached.
    #[error("peer {peer} cannot be reached: {reason}")]
    Unreachable {
        /// The peer.
        peer: NodeId,
        /// What the attempts ended with.
        reason: String,
    },
    /// The peer failed so often that it is left alone for a while; nothing was sent.
    #[error("peer {peer} failed again and again; next try in {} ms", .left.as_millis())]
    Resting {
        /// The peer.
        peer: NodeId,
        /// How long it is still left alone.
        left: Duration,
    },
    /// The answer did not come in time.
    #[error("peer {peer} did not answer within {} ms", .after.as_millis())]
    Timeout {
        /// The peer.
        peer: NodeId,
        /// How long was waited.
        after: Duration,
    },
    /// The connection ended in the middle of the exchange.
    #[error("peer {peer} ended the connection: {reason}")]
    Closed {
        /// The peer.
        peer: NodeId,
        /// What the connection ended with.
        reason: String,
    },
    /// The peer announced more bytes than a message may have.
    #[error("peer {peer} announced a message of {length} bytes, above the limit of {bound}")]
    TooLarge {
        /// The peer.
        peer: NodeId,
        /// The announced length.
        length: usize,
        /// The limit.
        bound: usize,
    },
    /// Too many exchanges are under way; nothing was sent.
    #[error("too many exchanges with peer {peer} are under way")]
    Busy {
        /// The peer.
        peer: NodeId,
    },
    /// This side is shutting down.
    #[error("the network is shut down")]
    Shutdown,
}

/// Sends requests to nodes and waits for their replies.
///
/// One exchange is one request and one reply. Exchanges with the same peer run side by side and
/// finish in any order. Dropping the future gives the exchange up; the peer may have acted on it.
/// The implementation dials a peer that is not connected, by addresses it has [learnt](Self::learn),
/// and enforces that the peer which answers holds the key named by `peer`.
pub trait Transport: Send + Sync {
    /// The id of this side.
    fn local(&self) -> NodeId;

    /// Sends `request` and waits for the reply until `deadline` has passed, and beside it the time
    /// that the bodies of both may take at the least rate of the network (16 KiB a second). A reply
    /// whose body is larger than `reply_max` is refused before anything is set aside for it: the peer
    /// chooses neither memory nor time.
    fn exchange(
        &self,
        peer: NodeId,
        request: Message,
        reply_max: usize,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Message, TransportError>>;

    /// The same for a reply of any size.
    fn call(
        &self,
        peer: NodeId,
        request: Message,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Message, TransportError>> {
        self.exchange(peer, request, BODY_BYTES_MAX, deadline)
    }

    /// Tells where a peer may be reached. Addresses are multiaddrs as text; invalid and surplus
    /// ones are ignored.
    fn learn(&self, peer: NodeId, addresses: &[String]);

    /// Peers with a live connection, in the order of their ids.
    fn connected(&self) -> Vec<NodeId>;

    /// Live connections and what is known of them, in the order of the peers' ids. The default knows
    /// nothing but who they lead to.
    fn links(&self) -> Vec<Link> {
        let known = |peer| Link { peer, round_trip_us: None, relayed: false };
        self.connected().into_iter().map(known).collect()
    }
}

/// Answers requests of peers. The transport authenticates `peer` by its key; whether that peer is
/// a member is the service's business.
///
/// A service that wraps another must hand on every method: the defaults are for services that are
/// shown to nobody but friends.
pub trait Service: Send + Sync {
    /// Answers one request.
    fn serve(&self, peer: NodeId, request: Message) -> BoxFuture<'_, Message>;

    /// Judges a request by its head, before memory is set aside for its body of `body` bytes and
    /// for the body of its reply. Called before each [`serve`](Self::serve); must neither block
    /// nor take long.
    ///
    /// Returns the most bytes that the body of the reply may have. The default admits everything.
    ///
    /// # Errors
    /// The reply to send instead. The request's body is then not kept, and the request not served.
    fn admit(&self, peer: NodeId, head: &Bytes, body: usize) -> Result<usize, Message> {
        let _everything_is_admitted = (peer, head, body);
        Ok(BODY_BYTES_MAX)
    }

    /// Whether `peer` is more than anybody with a key. Strangers together get a part of what there
    /// is, so that the others find room. Called often; must be quick. The default knows everybody.
    fn knows(&self, peer: NodeId) -> bool {
        let _everybody_is_known = peer;
        true
    }

    /// The answer to a request whose bodies would have to wait for too long, as more is asked of
    /// this node than its owner lets it move. Nothing: the exchange is broken off, which is the
    /// default.
    fn busy(&self) -> Option<Message> {
        None
    }
}

/// Tells the wall-clock time. It may jump; no correctness may rest on it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Gives random bytes fit for keys.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// Draws a fixed number of random bytes.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// On which side of a named step somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Nothing of it is done.
    Before,
    /// It is done, and nobody knows.
    After,
}

/// Runs tasks and blocking work.
pub trait Executor: Send + Sync {
    /// Starts a task that runs beside the caller.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Runs work that blocks or computes for long, away from the tasks. The simulation runs it
    /// inline.
    fn block(&self, work: Box<dyn FnOnce() + Send + 'static>);

    /// Tells that this process is about to take a named step towards something durable, or has taken
    /// it. Where there is a future it is waited for: a simulation may end the process there. Others do nothing.
    fn reached(&self, point: &'static str, moment: Moment) -> Option<BoxFuture<'static, ()>> {
        let _ = (point, moment);
        None
    }
}

/// Signs as this node. Only the node's own key is reachable this way.
pub trait Signer: Send + Sync {
    /// The public half of the node's key.
    fn public_key(&self) -> PublicKey;

    /// Signs `body` in `context` for one mesh.
    fn sign(&self, context: Context, mesh: &MeshId, body: &[u8]) -> Signature;
}
