//! The one task that owns the swarm: listens, dials, and turns the swarm's events into entries of
//! the peer book and the counters.
//!
//! No message passes through here; a slow turn of this task delays dials and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::TcpListener;
use std::num::NonZeroU8;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamesh_core::NodeId;
use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, ListenerId};
use libp2p::identity::Keypair;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, NetworkBehaviour, SwarmEvent};
use libp2p::{
    Multiaddr, PeerId, Swarm, TransportError, connection_limits, identify,
    memory_connection_limits, ping,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::book::Book;
use crate::identity::{node_id, peer_id};
use crate::peers::Peers;
use crate::statistics::Counters;
use crate::{Limits, NetworkError, address, streams};

/// Says which protocol family this is when peers identify themselves.
const IDENTIFY_PROTOCOL: &str = "/datamesh/1";

/// How long listeners may take to report their addresses.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a changed peer book is written.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// How long connections may take to close in an orderly way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Addresses of one peer that are tried at once.
const DIALS_AT_ONCE: NonZeroU8 = NonZeroU8::new(4).expect("four is not zero");

/// Pings of one connection that may fail in a row.
const PING_FAILURES_MAX: u8 = 2;

/// A connection on which nothing ran any more closes this much later. The real idle time is
/// counted per exchange; this covers the moments in which a connection is set up.
const IDLE_GRACE: Duration = Duration::from_secs(10);

/// What the actor can be asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Connect to `node`, joining a dial that is under way.
    Dial { node: NodeId, addresses: Vec<Multiaddr>, done: oneshot::Sender<Result<(), String>> },
    /// Connect to whoever answers at `address`, and tell who it is.
    Meet { address: Multiaddr, done: oneshot::Sender<Result<NodeId, String>> },
}

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    connections: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    /// Last: see [`streams::Behaviour`].
    streams: streams::Behaviour,
}

impl Behaviour {
    pub(crate) fn new(keypair: &Keypair, limits: &Limits, streams: streams::Behaviour) -> Self {
        let connections = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(limits.inbound_handshakes_max))
            .with_max_pending_outgoing(Some(limits.outbound_handshakes_max))
            .with_max_established_incoming(Some(limits.inbound_connections_max))
            .with_max_established_outgoing(Some(limits.outbound_connections_max))
            .with_max_established_per_peer(Some(limits.peer_connections_max));
        // The cache would add addresses to dials without our check of them.
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), keypair.public())
            .with_agent_version(format!("datamesh/{}", env!("CARGO_PKG_VERSION")))
            .with_cache_size(0)
            .with_push_listen_addr_updates(true);
        let ping = ping::Config::new()
            .with_interval(limits.ping_interval)
            .with_timeout(limits.ping_timeout);
        Self {
            connections: connection_limits::Behaviour::new(connections),
            memory: memory_connection_limits::Behaviour::with_max_bytes(
                limits.process_memory_bytes_max,
            ),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            streams,
        }
    }
}

/// Where this node listens, as the actor last heard.
#[derive(Debug, Default)]
pub(crate) struct Listening(Mutex<BTreeMap<String, Multiaddr>>);

impl Listening {
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn add(&self, address: Multiaddr) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(address.to_string(), address);
    }

    fn remove(&self, address: &Multiaddr) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&address.to_string());
    }
}

/// Owns the swarm.
pub(crate) struct Actor {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    peers: Arc<Peers>,
    book: Arc<Book>,
    counters: Arc<Counters>,
    listening: Arc<Listening>,
    disconnect: CancellationToken,
    /// Who waits for a dial; a peer is here exactly while it is dialled.
    dials: BTreeMap<NodeId, Vec<oneshot::Sender<Result<(), String>>>>,
    /// Who waits to hear who answers at an address.
    meetings: HashMap<ConnectionId, oneshot::Sender<Result<NodeId, String>>>,
    ping_failures: HashMap<ConnectionId, u8>,
    /// A source of jitter; nothing secret depends on it.
    chance: RandomState,
    draws: u64,
}

/// What the actor is made of.
pub(crate) struct Parts {
    pub(crate) transport: Boxed<(PeerId, StreamMuxerBox)>,
    pub(crate) behaviour: Behaviour,
    pub(crate) local: PeerId,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) book: Arc<Book>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) listening: Arc<Listening>,
    pub(crate) disconnect: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Actor {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { tasks, .. } = &parts;
        let (tasks, runtime) = (tasks.clone(), tokio::runtime::Handle::current());
        let config = libp2p::swarm::Config::with_executor(move |task| {
            tasks.spawn_on(task, &runtime);
        })
        .with_idle_connection_timeout(IDLE_GRACE)
        .with_dial_concurrency_factor(DIALS_AT_ONCE);
        Self {
            swarm: Swarm::new(parts.transport, parts.behaviour, parts.local, config),
            commands: parts.commands,
            peers: parts.peers,
            book: parts.book,
            counters: parts.counters,
            listening: parts.listening,
            disconnect: parts.disconnect,
            dials: BTreeMap::new(),
            meetings: HashMap::new(),
            ping_failures: HashMap::new(),
            chance: RandomState::new(),
            draws: 0,
        }
    }

    /// Starts the listeners and waits until each has an address.
    pub(crate) async fn listen(&mut self, texts: &[String]) -> Result<(), NetworkError> {
        let mut pending: HashMap<ListenerId, String> = HashMap::new();
        for text in texts {
            let id = self.listen_on(text)?;
            pending.insert(id, text.clone());
        }
        let all = async {
            while !pending.is_empty() {
                match self.swarm.select_next_some().await {
                    SwarmEvent::NewListenAddr { listener_id, address } => {
                        pending.remove(&listener_id);
                        self.listening.add(address);
                    }
                    SwarmEvent::ListenerClosed { listener_id, reason: Err(source), .. }
                    | SwarmEvent::ListenerError { listener_id, error: source } => {
                        if let Some(text) = pending.remove(&listener_id) {
                            return Err(listen_error(text, source));
                        }
                    }
                    event => self.on_event(event),
                }
            }
            Ok(())
        };
        let seconds = LISTEN_TIMEOUT.as_secs();
        timeout(LISTEN_TIMEOUT, all).await.unwrap_or(Err(NetworkError::NotListening { seconds }))
    }

    fn listen_on(&mut self, text: &str) -> Result<ListenerId, NetworkError> {
        let (address, ip, port) = address::listenable(text)?;
        // libp2p's listeners share a port with each other, so that a second node on it would
        // start and take half of the first one's peers. A plain socket does not share.
        if port != 0 {
            TcpListener::bind((ip, port)).map_err(|error| listen_error(text.to_owned(), error))?;
        }
        self.swarm.listen_on(address).map_err(|error| match error {
            TransportError::MultiaddrNotSupported(_) => NetworkError::Address {
                address: text.to_owned(),
                reason: "not supported".to_owned(),
            },
            TransportError::Other(source) => listen_error(text.to_owned(), source),
        })
    }

    /// Runs until the network closes, then ends every connection.
    pub(crate) async fn run(mut self) {
        let mut save = interval(SAVE_INTERVAL);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.disconnect.cancelled() => break,
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                _ = save.tick() => {
                    let book = Arc::clone(&self.book);
                    // A save that fails has been reported by the book.
                    let _ended = tokio::task::spawn_blocking(move || book.save());
                }
            }
        }
        self.commands.close();
        self.dials.clear();
        self.meetings.clear();
        for peer in self.swarm.connected_peers().copied().collect::<Vec<_>>() {
            let _already_gone = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.network_info().num_peers() > 0 {
                let event = self.swarm.select_next_some().await;
                self.on_event(event);
            }
        };
        if timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::debug!("some connections were cut, not closed");
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial { node, addresses, done } => self.dial(node, addresses, done),
            Command::Meet { address, done } => self.meet(address, done),
        }
    }

    /// Dials an address whose peer is not known: whoever answers there proves its own key and no
    /// more, so this is only for a first contact that the user named.
    fn meet(&mut self, address: Multiaddr, done: oneshot::Sender<Result<NodeId, String>>) {
        let options = DialOpts::unknown_peer_id().address(address).allocate_new_port().build();
        self.counters.dials.add(1);
        self.meetings.insert(options.connection_id(), done);
        let connection = options.connection_id();
        if let Err(error) = self.swarm.dial(options) {
            self.met(connection, Err(reason(&error)));
        }
    }

    fn met(&mut self, connection: ConnectionId, who: Result<NodeId, String>) {
        if let Some(done) = self.meetings.remove(&connection) {
            let _caller_gone = done.send(who);
        }
    }

    fn dial(
        &mut self,
        node: NodeId,
        addresses: Vec<Multiaddr>,
        done: oneshot::Sender<Result<(), String>>,
    ) {
        if self.peers.is_connected(&node) {
            let _caller_gone = done.send(Ok(()));
            return;
        }
        if let Some(waiting) = self.dials.get_mut(&node) {
            waiting.push(done);
            return;
        }
        let Some(peer) = peer_id(&node) else {
            let _caller_gone = done.send(Err("the id is not a key".to_owned()));
            return;
        };
        // A port of its own for each dial: the listener's port would make two nodes that dial
        // each other at once share one pair of addresses.
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(addresses)
            .allocate_new_port()
            .build();
        self.counters.dials.add(1);
        self.dials.insert(node, vec![done]);
        if let Err(error) = self.swarm.dial(options) {
            self.dial_failed(node, &reason(&error));
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, connection_id, .. } => {
                self.counters.connections_opened.add(1);
                let Some(node) = node_id(&peer_id) else {
                    self.met(connection_id, Err("what answers there is no node".to_owned()));
                    return;
                };
                self.met(connection_id, Ok(node));
                match &endpoint {
                    ConnectedPoint::Dialer { address, .. } => {
                        let address = address::clean(address).unwrap_or_else(|| address.clone());
                        self.book.succeeded(node, &address);
                    }
                    ConnectedPoint::Listener { .. } => self.book.came(node),
                }
                for done in self.dials.remove(&node).into_iter().flatten() {
                    let _caller_gone = done.send(Ok(()));
                }
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                self.counters.connections_closed.add(1);
                self.ping_failures.remove(&connection_id);
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, connection_id } => {
                self.met(connection_id, Err(reason(&error)));
                if let Some(node) = peer_id.and_then(|peer| node_id(&peer)) {
                    self.dial_failed(node, &reason(&error));
                }
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                self.counters.connections_refused.add(1);
                tracing::debug!(%error, "inbound connection refused");
            }
            SwarmEvent::NewListenAddr { address, .. } => self.listening.add(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.listening.remove(&address),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                for address in &addresses {
                    self.listening.remove(address);
                }
                if let Err(error) = reason {
                    tracing::error!(%error, "a listener ended");
                }
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener could not accept");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            })) => self.on_identified(connection_id, &peer_id, &info.listen_addrs),
            _ => {}
        }
    }

    fn dial_failed(&mut self, node: NodeId, reason: &str) {
        // A second dial of a connected peer is of no interest to anyone.
        let Some(waiting) = self.dials.remove(&node) else { return };
        self.counters.dials_failed.add(1);
        tracing::debug!(peer = %node, reason, "dial failed");
        self.draws += 1;
        let chance = (self.chance.hash_one(self.draws) >> 11) as f64 / (1_u64 << 53) as f64;
        self.book.failed(node, reason, chance, Instant::now());
        for done in waiting {
            let _caller_gone = done.send(Err(reason.to_owned()));
        }
    }

    fn on_ping(&mut self, ping::Event { peer, connection, result }: ping::Event) {
        match result {
            Ok(time) => {
                self.ping_failures.remove(&connection);
                if let Some(node) = node_id(&peer) {
                    self.peers.round_trip(node, connection, time);
                }
            }
            Err(ping::Failure::Unsupported) => {}
            Err(error) => {
                let failures = self.ping_failures.entry(connection).or_default();
                *failures += 1;
                if *failures >= PING_FAILURES_MAX {
                    tracing::debug!(%peer, %error, "peer does not answer pings, closing");
                    self.ping_failures.remove(&connection);
                    self.swarm.close_connection(connection);
                }
            }
        }
    }

    /// A peer tells where it listens. Believed only for the IP address at which we see it: a peer
    /// must not be able to make us dial elsewhere, and a node behind loopback stays there.
    fn on_identified(&self, connection: ConnectionId, peer: &PeerId, told: &[Multiaddr]) {
        let Some(node) = node_id(peer) else { return };
        let Some(seen) = self.peers.remote_ip(&node, connection) else { return };
        let believed = told
            .iter()
            .filter_map(address::clean)
            .filter(|address| address::ip(address) == Some(seen));
        self.book.learn(node, believed);
    }
}

fn listen_error(address: String, source: io::Error) -> NetworkError {
    match source.kind() {
        io::ErrorKind::AddrInUse => NetworkError::PortInUse { address },
        _ => NetworkError::Listen { address, source },
    }
}

/// Why a dial failed, in one line.
fn reason(error: &DialError) -> String {
    match error {
        DialError::WrongPeerId { obtained, .. } => {
            format!("another peer answered there: {obtained}")
        }
        DialError::Transport(attempts) => {
            let line = |(address, error): &(Multiaddr, TransportError<io::Error>)| match error {
                TransportError::Other(error) => format!("{address}: {}", root(error)),
                TransportError::MultiaddrNotSupported(_) => format!("{address}: not supported"),
            };
            attempts.iter().map(line).collect::<Vec<_>>().join(", ")
        }
        DialError::Denied { cause } => format!("refused on this side: {cause}"),
        other => other.to_string(),
    }
}

/// The innermost cause: libp2p wraps errors in several layers that say nothing.
fn root(error: &io::Error) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
