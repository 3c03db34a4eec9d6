//! The handle of the network: cloneable, cheap, and the only public way in.

use std::sync::Arc;
use std::time::Duration;

use datamesh_core::message::Link;
use datamesh_core::{BoxFuture, Message, NodeId, Transport, TransportError};
use libp2p::relay;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::actor::{Actor, Behaviour, BehaviourParts, Command, Listening, Parts};
use crate::body::Bodies;
use crate::book::Book;
use crate::discovery::{Lookup, Sighting, Sightings};
use crate::exchange::{Caller, reply_budget};
use crate::peers::Peers;
use crate::reach::{Reach, Reachability, Reached};
use crate::security::{Agreed, Encryption};
use crate::serve::{Server, ServerParts};
use crate::statistics::Counters;
use crate::throttle::{Bandwidth, Throttle};
use crate::{
    NetworkConfig, NetworkError, PeerStatus, Statistics, address, book, heap, identity, reach,
    streams, transport,
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
    reach: Reach,
    reached: Arc<Reached>,
    sightings: Arc<Sightings>,
    /// Inbound streams.
    serving: TaskTracker,
    /// The actor and the connections.
    tasks: TaskTracker,
    /// The actor panicked.
    failed: CancellationToken,
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
    pub fn start(config: NetworkConfig) -> BoxFuture<'static, Result<Self, NetworkError>> {
        Box::pin(async move {
            let NetworkConfig { secret_key, listen, service, peer_book, mut reach, access, limits } =
                config;
            heap::keep_freed_buffers();
            let keypair = identity::keypair(&secret_key)?;
            let peer = keypair.public().to_peer_id();
            let local = identity::node_id(&peer).ok_or(NetworkError::Key)?;
            if !listen.is_empty() && reach::only_on_loopback(&listen) {
                // Nobody elsewhere could come, so nothing is sent there.
                (reach.mdns, reach.upnp, reach.probe, reach.relays) = (false, false, false, false);
            }
            let external = reach
                .external
                .iter()
                .map(|text| address::parse_dial(text).map(|(address, _)| address))
                .collect::<Result<Vec<_>, _>>()?;

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
            let throttle = Arc::new(Throttle::default());
            let reached = Arc::new(Reached::default());
            let sightings = Arc::new(Sightings::default());
            let server = Arc::new(Server::new(ServerParts {
                service: Arc::clone(&service),
                limits: limits.clone(),
                counters: Arc::clone(&counters),
                bodies: Arc::clone(&bodies),
                throttle: Arc::clone(&throttle),
                tasks: serving.clone(),
                closing: closing.clone(),
                abandon: abandon.clone(),
            }));
            let streams = streams::Behaviour::new(
                Arc::clone(&peers),
                server,
                agreed.clone(),
                limits.handshake_timeout,
                limits.connection_idle_timeout,
            );
            let (commands, requests) = mpsc::channel(COMMANDS_MAX);
            let (through_relays, relay_client) = relay::client::new(peer);
            let encryption = Encryption::new(&keypair, agreed)?;
            let timeout = limits.handshake_timeout;
            let mut actor = Actor::new(Parts {
                transport: transport::build(&keypair, &encryption, through_relays, timeout)?,
                behaviour: Behaviour::new(BehaviourParts {
                    keypair: &keypair,
                    limits: &limits,
                    reach: &reach,
                    access,
                    service: Arc::clone(&service),
                    relay_client,
                    streams,
                    listens: !listen.is_empty(),
                })?,
                local: peer,
                commands: requests,
                peers: Arc::clone(&peers),
                book: Arc::clone(&book),
                counters: Arc::clone(&counters),
                listening: Arc::clone(&listening),
                reach: reach.clone(),
                reached: Arc::clone(&reached),
                sightings: Arc::clone(&sightings),
                service,
                disconnect: disconnect.clone(),
                tasks: tasks.clone(),
            });
            actor.listen(&listen).await?;
            actor.announce(external);
            let failed = CancellationToken::new();
            let running = tasks.spawn(actor.run());
            tasks.spawn(cancel_on_panic(running, failed.clone()));
            let caller = Caller {
                reply_bytes: reply_budget(&limits),
                limits,
                peers,
                book,
                counters,
                bodies,
                throttle,
                commands,
                closing: closing.clone(),
            };
            Ok(Self {
                inner: Arc::new(Inner {
                    local,
                    caller,
                    listening,
                    reach,
                    reached,
                    sightings,
                    serving,
                    tasks,
                    failed,
                    abandon: abandon.clone(),
                    disconnect: disconnect.clone(),
                    _guards: [closing, abandon, disconnect].map(CancellationToken::drop_guard),
                }),
            })
        })
    }

    /// The multiaddrs on which this node listens now, with the real ports, sorted.
    pub fn listening(&self) -> Vec<String> {
        self.inner.listening.addresses()
    }

    /// Where others are told that this node is, the most useful first: external addresses, places
    /// at relays, listeners. Loopback only where there is nothing else.
    pub fn announced(&self) -> Vec<String> {
        let Reachability { external, relayed, .. } = self.reachability();
        let (loopback, local): (Vec<String>, Vec<String>) = self
            .listening()
            .into_iter()
            .partition(|text| text.parse().is_ok_and(|address| reach::is_loopback(&address)));
        let local = local.into_iter().filter(|address| !external.contains(address));
        let mut all: Vec<String> = external.iter().cloned().chain(relayed).chain(local).collect();
        if all.is_empty() {
            all = loopback;
        }
        all
    }

    /// The ways to be found and reached that are on: less than was asked for where all listeners are
    /// on loopback.
    pub fn reach(&self) -> &Reach {
        &self.inner.reach
    }

    /// How this node is reached, as far as it is known.
    pub fn reachability(&self) -> Reachability {
        self.inner.reached.read()
    }

    /// Peers that were found on the local network and in the distributed hash table, in the order
    /// of ids. At most 1024, those found last.
    pub fn sightings(&self) -> Vec<Sighting> {
        self.inner.sightings.read()
    }

    /// Looks the addresses of a peer up in the distributed hash table; what is found is learnt.
    /// Returns whether anything was.
    ///
    /// # Errors
    /// [`NetworkError::Lookup`] where the table is off, too many look-ups run, or nothing came of it
    /// within `deadline`.
    pub fn find(
        &self,
        peer: NodeId,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<bool, NetworkError>> {
        Box::pin(async move {
            let found = self.look_up(Lookup::Peer(peer), deadline).await?;
            Ok(!found.is_empty())
        })
    }

    /// Peers that point to `key` in the distributed hash table. Where they are is looked up with
    /// [`find`](Self::find).
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn pointers(
        &self,
        key: [u8; 32],
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Vec<NodeId>, NetworkError>> {
        Box::pin(async move { self.look_up(Lookup::Pointers(key), deadline).await })
    }

    async fn look_up(
        &self,
        lookup: Lookup,
        deadline: Duration,
    ) -> Result<Vec<NodeId>, NetworkError> {
        let failed = |reason: String| NetworkError::Lookup { reason };
        let closing = || failed("the network is closing".to_owned());
        let (done, found) = oneshot::channel();
        let command = Command::Find { lookup, done };
        self.inner.caller.commands.send(command).await.map_err(|_| closing())?;
        match timeout(deadline, found).await {
            Ok(Ok(found)) => found.map_err(failed),
            Ok(Err(_)) => Err(closing()),
            Err(_) => Err(failed(format!("no answer within {} s", deadline.as_secs()))),
        }
    }

    /// Points to this node under `key` in the distributed hash table, for as long as it runs.
    /// Nothing happens where the table is off.
    pub fn point(&self, key: [u8; 32]) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _closing = self.inner.caller.commands.send(Command::Point { key }).await;
        })
    }

    /// Fills the routing table of the distributed hash table anew. Nothing happens where it is off
    /// or nobody in it is known.
    pub fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _closing = self.inner.caller.commands.send(Command::Refresh).await;
        })
    }

    /// Limits what this node sends and receives, all peers together, from now on.
    pub fn limit(&self, bandwidth: Bandwidth) {
        self.inner.caller.throttle.set(bandwidth);
    }

    /// The limits that count now.
    pub fn bandwidth(&self) -> Bandwidth {
        self.inner.caller.throttle.limits()
    }

    /// Connects to a peer by its known addresses and waits out pauses between dials, where
    /// [`call`](Transport::call) fails fast. Returns at once if there is a connection.
    ///
    /// # Errors
    /// How the last dial failed, when no address is known or `deadline` has passed.
    pub fn connect(
        &self,
        peer: NodeId,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move { self.inner.caller.connect(peer, deadline).await })
    }

    /// Connects to whoever answers at a multiaddr and tells who it is. Where the address ends with
    /// `/p2p/` and a peer id, nobody else will do.
    ///
    /// # Errors
    /// [`NetworkError::Address`] for an address that cannot be dialled, [`NetworkError::Meet`] where
    /// nobody answers in time or somebody else does.
    pub fn meet<'a>(
        &'a self,
        address: &'a str,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<NodeId, NetworkError>> {
        Box::pin(async move {
            let (dialable, expected) = address::parse_dial(address)?;
            let failed =
                |reason: String| NetworkError::Meet { address: address.to_owned(), reason };
            let met = timeout(deadline, self.inner.caller.meet(dialable, expected)).await;
            let node = met
                .unwrap_or_else(|_| Err(format!("no answer within {} s", deadline.as_secs())))
                .map_err(failed)?;
            if expected.is_some_and(|expected: NodeId| expected != node) {
                return Err(failed(format!("another peer answered there: {node}")));
            }
            Ok(node)
        })
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

    /// Returns if the network broke down, and never otherwise: then nothing is sent or received any more.
    pub fn failed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.inner.failed.cancelled())
    }

    /// Ends the network: no request is accepted any more, those being served may finish within
    /// the grace of the limits, connections are closed, the peer book is written, and every task
    /// has ended when this returns. Calls under way fail with [`TransportError::Shutdown`].
    pub fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
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
        })
    }
}

/// Waits for a task and tells where it panicked: it was dropped then, and what it did is done by nobody.
async fn cancel_on_panic(task: JoinHandle<()>, failed: CancellationToken) {
    if task.await.is_err_and(|error| error.is_panic()) {
        failed.cancel();
    }
}

impl Transport for Network {
    fn local(&self) -> NodeId {
        self.inner.local
    }

    fn exchange(
        &self,
        peer: NodeId,
        request: Message,
        reply_max: usize,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Message, TransportError>> {
        Box::pin(self.inner.caller.call(peer, request, reply_max, deadline))
    }

    fn learn(&self, peer: NodeId, addresses: &[String]) {
        if peer != self.inner.local {
            self.inner.caller.book.learn(peer, book::parse(addresses));
        }
    }

    fn connected(&self) -> Vec<NodeId> {
        self.inner.caller.peers.connected_ids()
    }

    fn links(&self) -> Vec<Link> {
        let link = |status: PeerStatus| Link {
            peer: status.peer,
            round_trip_us: status
                .round_trip
                .map(|time| u32::try_from(time.as_micros()).unwrap_or(u32::MAX)),
            relayed: status.relayed,
        };
        self.peers().into_iter().map(link).collect()
    }
}
