//! The one task that owns the swarm: listens, dials, and turns the swarm's events into entries of
//! the peer book and the counters.
//!
//! No message passes through here; a slow turn of this task delays dials and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::num::NonZeroU8;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamesh_core::{NodeId, Service};
use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, ListenerId};
use libp2p::identity::Keypair;
use libp2p::kad::store::MemoryStore;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, NetworkBehaviour, SwarmEvent};
use libp2p::{
    Multiaddr, PeerId, Swarm, TransportError, autonat, connection_limits, dcutr, identify, kad,
    mdns, memory_connection_limits, ping, relay, upnp,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::address::{Listenable, Way};
use crate::book::Book;
use crate::candidates::Bounded;
use crate::dial_failure::reason;
use crate::dialling::{Diallings, Next};
use crate::discovery::{Found, Lookup, Queries, Sightings};
use crate::identity::{node_id, peer_id};
use crate::peers::Peers;
use crate::reach::{Nat, Reach, Reached, Relays};
use crate::statistics::Counters;
use crate::{Limits, NetworkError, access, address, discovery, reach, streams};

/// Says which protocol family this is when peers identify themselves.
const IDENTIFY_PROTOCOL: &str = "/datamesh/1";

/// How long listeners may take to report their addresses.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a changed peer book is written.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// How long connections may take to close in an orderly way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often it is looked whether this node needs relays.
const RELAY_INTERVAL: Duration = Duration::from_secs(2);

/// How long it may stay unknown whether this node can be reached before it looks for relays.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);

/// Addresses that are believed of what one peer tells of itself.
const ADDRESSES_BELIEVED_MAX: usize = 8;

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
    /// Connect to whoever answers at `address`, or only to the peer `named`, and tell who it is.
    Meet {
        address: Multiaddr,
        named: Option<NodeId>,
        done: oneshot::Sender<Result<NodeId, String>>,
    },
    /// Look something up in the distributed hash table.
    Find { lookup: Lookup, done: Found },
    /// Point to this node under a key.
    Point { key: [u8; 32] },
    /// Fill the routing table anew.
    Refresh,
}

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    /// First: nothing else is asked about who is kept out.
    access: access::Behaviour,
    connections: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    relay_client: relay::client::Behaviour,
    relay: Toggle<relay::Behaviour>,
    hole_punch: Toggle<Bounded<dcutr::Behaviour>>,
    probe: Toggle<Bounded<autonat::v2::client::Behaviour>>,
    probed: Toggle<autonat::v2::server::Behaviour>,
    dht: Toggle<kad::Behaviour<MemoryStore>>,
    mdns: Toggle<mdns::tokio::Behaviour>,
    upnp: Toggle<upnp::tokio::Behaviour>,
    /// Last: see [`streams::Behaviour`].
    streams: streams::Behaviour,
}

/// What the behaviours are made of.
pub(crate) struct BehaviourParts<'a> {
    pub(crate) keypair: &'a Keypair,
    pub(crate) limits: &'a Limits,
    pub(crate) reach: &'a Reach,
    pub(crate) access: Access,
    pub(crate) service: Arc<dyn Service>,
    pub(crate) relay_client: relay::client::Behaviour,
    pub(crate) streams: streams::Behaviour,
    /// This node listens.
    pub(crate) listens: bool,
}

impl Behaviour {
    pub(crate) fn new(parts: BehaviourParts<'_>) -> Result<Self, NetworkError> {
        let BehaviourParts { keypair, limits, reach, .. } = parts;
        let local = keypair.public().to_peer_id();
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
        let mdns = match reach.mdns {
            true => {
                let mdns = mdns::tokio::Behaviour::new(mdns::Config::default(), local)
                    .map_err(|source| NetworkError::Mdns { source })?;
                Some(mdns)
            }
            false => None,
        };
        Ok(Self {
            access: access::Behaviour(parts.access),
            connections: connection_limits::Behaviour::new(connections),
            memory: memory_connection_limits::Behaviour::with_max_bytes(
                limits.process_memory_bytes_max,
            ),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            relay_client: parts.relay_client,
            relay: reach
                .serve_relay
                .then(|| relay::Behaviour::new(local, reach::relay_limits(parts.service)))
                .into(),
            hole_punch: reach.relays.then(|| Bounded::new(dcutr::Behaviour::new(local))).into(),
            probe: reach
                .probe
                .then(|| Bounded::new(autonat::v2::client::Behaviour::default()))
                .into(),
            probed: reach.probe.then(autonat::v2::server::Behaviour::default).into(),
            dht: reach.dht.then(|| discovery::dht(local, parts.listens)).into(),
            mdns: mdns.into(),
            upnp: reach.upnp.then(upnp::tokio::Behaviour::default).into(),
            streams: parts.streams,
        })
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
    reach: Reach,
    reached: Arc<Reached>,
    relays: Relays,
    sightings: Arc<Sightings>,
    queries: Queries,
    service: Arc<dyn Service>,
    since: Instant,
    dials: Diallings,
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
    pub(crate) reach: Reach,
    pub(crate) reached: Arc<Reached>,
    pub(crate) sightings: Arc<Sightings>,
    pub(crate) service: Arc<dyn Service>,
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
            reach: parts.reach,
            reached: parts.reached,
            relays: Relays::default(),
            sightings: parts.sightings,
            queries: Queries::default(),
            service: parts.service,
            since: Instant::now(),
            dials: Diallings::default(),
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
        let Listenable { address, ip, port, way } = address::listenable(text)?;
        // libp2p's listeners share a port with each other, so that a second node on it would
        // start and take half of the first one's peers. A plain socket does not share.
        let taken = match way {
            _ if port == 0 => Ok(()),
            Way::Tcp => TcpListener::bind((ip, port)).map(drop),
            Way::Quic | Way::Relay => UdpSocket::bind((ip, port)).map(drop),
        };
        taken.map_err(|error| listen_error(text.to_owned(), error))?;
        self.swarm.listen_on(address).map_err(|error| match error {
            TransportError::MultiaddrNotSupported(_) => NetworkError::Address {
                address: text.to_owned(),
                reason: "not supported".to_owned(),
            },
            TransportError::Other(source) => listen_error(text.to_owned(), source),
        })
    }

    /// Tells what the operator says about where this node can be reached.
    pub(crate) fn announce(&mut self, external: Vec<Multiaddr>) {
        for address in external {
            self.reached.named(&address);
            self.swarm.add_external_address(address);
        }
    }

    /// Runs until the network closes, then ends every connection.
    pub(crate) async fn run(mut self) {
        let mut save = interval(SAVE_INTERVAL);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut keep = interval(RELAY_INTERVAL);
        keep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wave = self.dials.due();
            let wave = async {
                match wave {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.disconnect.cancelled() => break,
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                () = wave => {
                    for next in self.dials.tick(Instant::now()) {
                        self.go_on(next);
                    }
                }
                _ = keep.tick() => self.keep_relays(),
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
            Command::Meet { address, named, done } => self.meet(address, named, done),
            Command::Find { lookup, done } => {
                self.queries.start(self.swarm.behaviour_mut().dht.as_mut(), &lookup, done);
            }
            Command::Point { key } => {
                if let Some(dht) = self.swarm.behaviour_mut().dht.as_mut()
                    && let Err(error) = dht.start_providing(key.to_vec().into())
                {
                    tracing::warn!(?error, "no pointer to the mesh was left");
                }
            }
            Command::Refresh => {
                if let Some(dht) = self.swarm.behaviour_mut().dht.as_mut() {
                    // Without a peer in the table there is nobody to ask.
                    let _nobody_known = dht.bootstrap();
                }
            }
        }
    }

    /// Dials an address that the user named. Where no peer is named too, whoever answers there
    /// proves its own key and no more, so this is only for a first contact.
    fn meet(
        &mut self,
        address: Multiaddr,
        named: Option<NodeId>,
        done: oneshot::Sender<Result<NodeId, String>>,
    ) {
        let options = match named.and_then(|node| peer_id(&node)) {
            Some(peer) => DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(vec![address])
                .allocate_new_port()
                .build(),
            None => DialOpts::unknown_peer_id().address(address).allocate_new_port().build(),
        };
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
        if let Some(next) = self.dials.begin(node, addresses, done, Instant::now()) {
            self.counters.dials.add(1);
            self.go_on(next);
        }
    }

    /// Does what the dials of a peer need next.
    fn go_on(&mut self, next: Next) {
        let mut next = Some(next);
        while let Some(step) = next.take() {
            match step {
                Next::Failed(node, reason) => self.dial_failed(node, &reason),
                Next::Dial(node, addresses) => {
                    let Some(peer) = peer_id(&node) else {
                        return self.dial_failed(node, "the id is not a key");
                    };
                    let options = DialOpts::peer_id(peer).condition(PeerCondition::Always);
                    let quic = addresses.iter().all(|it| address::way(it) == Way::Quic);
                    let options = options.addresses(addresses);
                    // TCP: a port of its own for each dial; the listener's port would make two
                    // nodes that dial each other at once share one pair of addresses. QUIC: the
                    // listener's port, so that the mapping of a NAT stays alive for peers.
                    let options =
                        if quic { options.build() } else { options.allocate_new_port().build() };
                    let connection = options.connection_id();
                    self.dials.started(node, connection);
                    if let Err(error) = self.swarm.dial(options) {
                        let reason = reason(&error);
                        next = self.dials.failed(node, connection, reason, Instant::now());
                    }
                }
            }
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
                for done in self.dials.end(&node) {
                    let _caller_gone = done.send(Ok(()));
                }
            }
            SwarmEvent::ConnectionClosed { connection_id, peer_id, num_established, .. } => {
                self.counters.connections_closed.add(1);
                self.ping_failures.remove(&connection_id);
                if num_established == 0 {
                    self.relays.left(&peer_id);
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, connection_id } => {
                self.met(connection_id, Err(reason(&error)));
                let node = peer_id.and_then(|peer| node_id(&peer));
                let next = node.and_then(|node| {
                    self.dials.failed(node, connection_id, reason(&error), Instant::now())
                });
                if let Some(next) = next {
                    self.go_on(next);
                }
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                self.counters.connections_refused.add(1);
                tracing::debug!(%error, "inbound connection refused");
            }
            SwarmEvent::NewListenAddr { listener_id, address } if address::is_relayed(&address) => {
                match self.relays.told(&listener_id) {
                    Some(asked) => self.reached.circuit(&asked, true),
                    None => drop(self.swarm.remove_listener(listener_id)),
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => self.listening.add(address),
            // The place stays for as long as its listener.
            SwarmEvent::ExpiredListenAddr { address, .. } if address::is_relayed(&address) => {}
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listening.remove(&address);
                self.left_network(&address);
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. }
                if self.relays.has(&listener_id) =>
            {
                if let Some(asked) = self.relays.address(&listener_id) {
                    self.reached.circuit(&asked, false);
                }
                self.relays.ended(listener_id, Instant::now());
                if let Err(error) = reason {
                    tracing::debug!(%error, "a place at a relay is lost");
                }
            }
            SwarmEvent::ListenerError { listener_id, error } if self.relays.has(&listener_id) => {
                tracing::debug!(%error, "a relay fails");
            }
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
            })) => self.on_identified(connection_id, &peer_id, &info),
            SwarmEvent::ExternalAddrConfirmed { address } => {
                if self.reached.confirmed(&address) {
                    tracing::info!(%address, "peers can dial this node");
                } else {
                    // Of no use to anyone outside, and it must not make this node a relay.
                    self.swarm.remove_external_address(&address);
                }
                self.set_dht_mode();
            }
            SwarmEvent::ExternalAddrExpired { address } => {
                self.reached.expired(&address);
                self.set_dht_mode();
            }
            SwarmEvent::Behaviour(event) => self.on_reach_event(event),
            _ => {}
        }
    }

    fn dial_failed(&mut self, node: NodeId, reason: &str) {
        // A second dial of a connected peer is of no interest to anyone.
        let waiting = self.dials.end(&node);
        if waiting.is_empty() {
            return;
        }
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

    /// Others must not be sent to a node that they cannot dial.
    fn set_dht_mode(&mut self) {
        let reachable = self.reached.read().nat != Nat::Unreachable;
        let mode = match reachable && !self.listening.addresses().is_empty() {
            true => kad::Mode::Server,
            false => kad::Mode::Client,
        };
        if let Some(dht) = self.swarm.behaviour_mut().dht.as_mut()
            && dht.mode() != mode
        {
            dht.set_mode(Some(mode));
        }
    }

    /// What the behaviours about being reached and finding others tell.
    fn on_reach_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Probe(event) => {
                // Only from members: whoever probes could say anything.
                let known = node_id(&event.server).is_some_and(|node| self.service.knows(node));
                match &event.result {
                    Ok(()) if !known => {
                        self.swarm.remove_external_address(&event.tested_addr);
                        self.reached.expired(&event.tested_addr);
                    }
                    Err(error) if known => {
                        tracing::debug!(address = %event.tested_addr, %error, "not to be dialled");
                        self.reached.in_vain(&event.tested_addr);
                    }
                    _ => {}
                }
                self.set_dht_mode();
            }
            BehaviourEvent::Relay(event) => self.reached.on_relay(&event),
            BehaviourEvent::HolePunch(event) => match event.result {
                Ok(_) => self.reached.punched(),
                Err(error) => tracing::debug!(
                    peer = %event.remote_peer_id, %error, "no way straight to the peer"
                ),
            },
            BehaviourEvent::Upnp(event) => match event {
                upnp::Event::NewExternalAddr { .. } => self.reached.mapped(true),
                upnp::Event::ExpiredExternalAddr { .. } => self.reached.mapped(false),
                upnp::Event::GatewayNotFound | upnp::Event::NonRoutableGateway => {
                    tracing::debug!("no router gives a port");
                }
            },
            BehaviourEvent::Mdns(event) => {
                let book = &self.book;
                discovery::on_mdns(event, &self.sightings, |node, address| {
                    book.learn(node, [address]);
                });
                if let Some(mdns) = self.swarm.behaviour_mut().mdns.as_mut() {
                    discovery::bound_mdns(mdns);
                }
            }
            BehaviourEvent::Dht(event) => {
                let book = &self.book;
                if let Some(dht) = self.swarm.behaviour_mut().dht.as_mut() {
                    self.queries.on_event(dht, event, &self.sightings, |node, addresses| {
                        book.learn(node, addresses);
                    });
                }
            }
            _ => {}
        }
    }

    /// Ends the connections of a node whose last address outside its machine is gone: they are dead,
    /// and whoever waits for them to be found so waits a minute.
    fn left_network(&mut self, gone: &Multiaddr) {
        let is_elsewhere =
            |text: &String| text.parse().is_ok_and(|address| !reach::is_loopback(&address));
        if reach::is_loopback(gone) || self.listening.addresses().iter().any(is_elsewhere) {
            return;
        }
        tracing::info!("this node has no address any more; its connections are ended");
        for peer in self.swarm.connected_peers().copied().collect::<Vec<_>>() {
            let _already_gone = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// Keeps places at relays while this node cannot be reached otherwise.
    fn keep_relays(&mut self) {
        if !self.reach.relays {
            return;
        }
        let wanted = match self.reached.read().nat {
            Nat::Reachable => false,
            Nat::Unreachable => true,
            // Whoever never asks, or gets no answer, takes what it can get.
            Nat::Unknown => !self.reach.probe || self.since.elapsed() > PROBE_PATIENCE,
        };
        if !wanted {
            for listener in self.relays.listeners() {
                self.swarm.remove_listener(listener);
            }
            return;
        }
        let now = Instant::now();
        while let Some((relay, address)) = self.relays.next(now, |node| self.service.knows(node)) {
            match self.swarm.listen_on(address.clone()) {
                Ok(listener) => self.relays.asked(listener, relay, address),
                Err(error) => {
                    tracing::debug!(%relay, %error, "no place at a relay");
                    self.relays.refused(relay, now);
                }
            }
        }
    }

    /// A peer tells where it listens. Believed only for the IP address at which we see it: a peer
    /// must not be able to make us dial elsewhere, and a node behind loopback stays there.
    fn on_identified(&mut self, connection: ConnectionId, peer: &PeerId, info: &identify::Info) {
        let Some(node) = node_id(peer) else { return };
        let Some(seen) = self.peers.remote_ip(&node, connection) else { return };
        let believed: Vec<Multiaddr> = info
            .listen_addrs
            .iter()
            .filter_map(address::clean)
            .filter(|address| address::ip(address) == Some(seen))
            .take(ADDRESSES_BELIEVED_MAX)
            .collect();
        if info.protocols.contains(&discovery::DHT_PROTOCOL)
            && let Some(dht) = self.swarm.behaviour_mut().dht.as_mut()
        {
            if !believed.is_empty() {
                // In place of what it told before: the table does not bound addresses of a peer.
                dht.remove_peer(peer);
            }
            for address in &believed {
                dht.add_address(peer, address.clone());
            }
        }
        if info.protocols.contains(&relay::HOP_PROTOCOL_NAME)
            && let Some(place) = believed.first()
        {
            self.relays.offered(*peer, place.clone());
        }
        self.book.learn(node, believed);
    }
}

fn listen_error(address: String, source: io::Error) -> NetworkError {
    match source.kind() {
        io::ErrorKind::AddrInUse => NetworkError::PortInUse { address },
        _ => NetworkError::Listen { address, source },
    }
}
