//! The handle of the network: cloneable, cheap, and the only public way in.

use std::sync::Arc;
use std::time::Duration;

use datamesh_core::{BoxFuture, Message, NodeId, Transport, TransportError};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::actor::{Actor, Behaviour, Listening, Parts};
use crate::body::Bodies;
use crate::book::{self, Book};
use crate::exchange::{Caller, reply_budget};
use crate::peers::Peers;
use crate::security::{Agreed, Encryption};
use crate::serve::Server;
use crate::statistics::Counters;
use crate::{
    NetworkConfig, NetworkError, PeerStatus, Statistics, address, heap, identity, streams,
    transport,
};

/// Dials that wait for the actor.
const COMMANDS_MAX: usize = 256;

/// A running network. Clones are handles to the same one; it ends when the last is dropped, in an
/// orderly way only by [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

struct Inner {
    local: NodeId,
    caller: Caller,
    listening: Arc<Listening>,
    /// Inbound streams.
    serving: TaskTracker,
    /// The actor and the connections.
    tasks: TaskTracker,
    abandon: CancellationToken,
    disconnect: CancellationToken,
    /// End everything when the last handle goes.
    _guards: [DropGuard; 3],
}

impl Network {
    /// Starts the network and returns once every listener has its address.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad key, a bad address, a port that is in use.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(config: NetworkConfig) -> Result<Self, NetworkError> {
        let NetworkConfig { secret_key, listen, service, peer_book, limits } = config;
        heap::keep_freed_buffers();
        let keypair = identity::keypair(&secret_key)?;
        let peer = keypair.public().to_peer_id();
        let local = identity::node_id(&peer).ok_or(NetworkError::Key)?;

        let book = {
            let limits = limits.clone();
            let opened = tokio::task::spawn_blocking(move || Book::open(peer_book, &limits));
            Arc::new(opened.await.map_err(|_| NetworkError::PeerBook)?)
        };
        let counters = Arc::new(Counters::default());
        let bodies = Bodies::new(limits.buffer_bytes_kept_max);
        let peers = Arc::new(Peers::new(limits.clone()));
        let listening = Arc::new(Listening::default());
        let (serving, tasks) = (TaskTracker::new(), TaskTracker::new());
        // In the order in which they are cancelled: no new exchange; none that still runs; no
        // connection.
        let closing = CancellationToken::new();
        let abandon = CancellationToken::new();
        let disconnect = CancellationToken::new();
        let agreed = Agreed::default();
        let server = Arc::new(Server::new(
            service,
            limits.clone(),
            Arc::clone(&counters),
            Arc::clone(&bodies),
            serving.clone(),
            closing.clone(),
            abandon.clone(),
        ));
        let streams = streams::Behaviour::new(
            Arc::clone(&peers),
            server,
            agreed.clone(),
            limits.handshake_timeout,
            limits.connection_idle_timeout,
        );
        let (commands, requests) = mpsc::channel(COMMANDS_MAX);
        let mut actor = Actor::new(Parts {
            transport: transport::build(
                Encryption::new(&keypair, agreed)?,
                limits.handshake_timeout,
            ),
            behaviour: Behaviour::new(&keypair, &limits, streams),
            local: peer,
            commands: requests,
            peers: Arc::clone(&peers),
            book: Arc::clone(&book),
            counters: Arc::clone(&counters),
            listening: Arc::clone(&listening),
            disconnect: disconnect.clone(),
            tasks: tasks.clone(),
        });
        actor.listen(&listen).await?;
        tasks.spawn(actor.run());
        let caller = Caller {
            reply_bytes: reply_budget(&limits),
            limits,
            peers,
            book,
            counters,
            bodies,
            commands,
            closing: closing.clone(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                local,
                caller,
                listening,
                serving,
                tasks,
                abandon: abandon.clone(),
                disconnect: disconnect.clone(),
                _guards: [closing, abandon, disconnect].map(CancellationToken::drop_guard),
            }),
        })
    }

    /// The multiaddrs on which this node listens now, with the real ports, sorted.
    pub fn listening(&self) -> Vec<String> {
        self.inner.listening.addresses()
    }

    /// Connects to a peer by its known addresses and waits out pauses between dials, where
    /// [`call`](Transport::call) fails fast. Returns at once if there is a connection.
    ///
    /// # Errors
    /// How the last dial failed, when no address is known or `deadline` has passed.
    pub async fn connect(&self, peer: NodeId, deadline: Duration) -> Result<(), TransportError> {
        self.inner.caller.connect(peer, deadline).await
    }

    /// Connects to whoever answers at a multiaddr and tells who it is. Where the address ends with
    /// `/p2p/` and a peer id, nobody else will do.
    ///
    /// # Errors
    /// [`NetworkError::Address`] for an address that cannot be dialled, [`NetworkError::Meet`] where
    /// nobody answers in time or somebody else does.
    pub async fn meet(&self, address: &str, deadline: Duration) -> Result<NodeId, NetworkError> {
        let wrong = |reason: &str| NetworkError::Address {
            address: address.to_owned(),
            reason: reason.to_owned(),
        };
        let dialable = address::dialable(address)
            .ok_or_else(|| wrong("an IP address or a DNS name and a TCP port are needed"))?;
        let expected = match address.split_once("/p2p/") {
            Some((_, id)) => {
                Some(id.parse().map_err(|_| wrong("what follows /p2p/ is no peer id"))?)
            }
            None => None,
        };
        let failed = |reason: String| NetworkError::Meet { address: address.to_owned(), reason };
        let met = timeout(deadline, self.inner.caller.meet(dialable)).await;
        let node = met
            .unwrap_or_else(|_| Err(format!("no answer within {} s", deadline.as_secs())))
            .map_err(failed)?;
        if expected.is_some_and(|expected: NodeId| expected != node) {
            return Err(failed(format!("another peer answered there: {node}")));
        }
        Ok(node)
    }

    /// How long calls to a peer that is not connected fail without a dial, because dials have
    /// failed; zero if the next call dials, `None` if no address is known.
    pub fn retry_after(&self, peer: NodeId) -> Option<Duration> {
        self.inner.caller.book.pause(&peer, Instant::now())
    }

    /// The known addresses of a peer, the most useful first.
    pub fn addresses(&self, peer: NodeId) -> Vec<String> {
        self.inner.caller.book.addresses(&peer)
    }

    /// Totals since start.
    pub fn statistics(&self) -> Statistics {
        self.inner.caller.counters.read()
    }

    /// Connected peers, in the order of their ids.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.inner.caller.peers.statuses()
    }

    /// Ends the network: no request is accepted any more, those being served may finish within
    /// the grace of the limits, connections are closed, the peer book is written, and every task
    /// has ended when this returns. Calls under way fail with [`TransportError::Shutdown`].
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.serving.close();
        inner.caller.closing.cancel();
        if timeout(inner.caller.limits.shutdown_grace, inner.serving.wait()).await.is_err() {
            inner.abandon.cancel();
            inner.serving.wait().await;
        }
        inner.tasks.close();
        inner.disconnect.cancel();
        inner.tasks.wait().await;
        let book = Arc::clone(&inner.caller.book);
        if tokio::task::spawn_blocking(move || book.save()).await.is_err() {
            tracing::warn!("the peer book was not written");
        }
    }
}

impl Transport for Network {
    fn local(&self) -> NodeId {
        self.inner.local
    }

    fn call(
        &self,
        peer: NodeId,
        request: Message,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Message, TransportError>> {
        Box::pin(self.inner.caller.call(peer, request, deadline))
    }

    fn learn(&self, peer: NodeId, addresses: &[String]) {
        if peer != self.inner.local {
            self.inner.caller.book.learn(peer, book::parse(addresses));
        }
    }

    fn connected(&self) -> Vec<NodeId> {
        self.inner.caller.peers.connected_ids()
    }
}
