//! The peers we are connected with, or are calling: their connections, idle streams and budgets.
//!
//! An entry exists while a connection is open or a call is under way, so strangers cannot grow the
//! table beyond the limits on connections.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_core::NodeId;
use datamesh_core::seam::BODY_BYTES_MAX;
use libp2p::Multiaddr;
use libp2p::swarm::{ConnectionId, Stream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Limits;
use crate::address;
use crate::breaker::Breaker;
use crate::bucket::Bucket;
use crate::statistics::{PeerStatus, Security};
use crate::streams::OpenStream;

/// Locks a table whose every change is complete in itself, so that a panic elsewhere while it was
/// held has not broken it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Semaphore permits count KiB, since they count in 32 bits.
pub(crate) fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// Whether a connection is used. It is kept open while exchanges run and for a while after.
#[derive(Debug)]
pub(crate) struct Usage {
    since: Instant,
    running: AtomicUsize,
    last_ms: AtomicU64,
    idle_timeout: Duration,
}

impl Usage {
    pub(crate) fn new(idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            since: Instant::now(),
            running: AtomicUsize::new(0),
            last_ms: AtomicU64::new(0),
            idle_timeout,
        })
    }

    /// Whether the connection should stay open.
    pub(crate) fn is_wanted(&self) -> bool {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.running.load(Ordering::Relaxed) > 0
            || self.since.elapsed().saturating_sub(last) < self.idle_timeout
    }

    /// Marks an exchange that runs until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InUse {
        self.running.fetch_add(1, Ordering::Relaxed);
        InUse(Arc::clone(self))
    }
}

/// An exchange that runs on a connection.
#[derive(Debug)]
pub(crate) struct InUse(Arc<Usage>);

impl Drop for InUse {
    fn drop(&mut self) {
        let now_ms = u64::try_from(self.0.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_ms.store(now_ms, Ordering::Relaxed);
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One live connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) streams: mpsc::Sender<OpenStream>,
    pub(crate) usage: Arc<Usage>,
    pub(crate) address: Multiaddr,
    pub(crate) inbound: bool,
    pub(crate) relayed: bool,
    pub(crate) since: Instant,
    pub(crate) security: Option<Security>,
    pub(crate) round_trip: Option<Duration>,
    /// Cancelled when the connection is gone, for the tasks of its inbound streams: the muxer does
    /// not wake who reads from a stream when this side closes the connection.
    pub(crate) gone: CancellationToken,
}

/// A stream that carries one exchange after the other.
#[derive(Debug)]
pub(crate) struct ExchangeStream {
    pub(crate) stream: Stream,
    pub(crate) connection: ConnectionId,
    pub(crate) usage: Arc<Usage>,
}

/// What is shared by everything that deals with one peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    links: Mutex<Links>,
    idle_streams_max: usize,
    /// Calls that hold the entry; changed only while the table is locked.
    leases: AtomicUsize,
    /// Exchanges we start.
    pub(crate) exchanges: Semaphore,
    exchanges_max: usize,
    /// Exchanges that wait for a permit of the above.
    pub(crate) waiting: AtomicUsize,
    /// Streams the peer opens.
    pub(crate) inbound_streams: Arc<Semaphore>,
    /// Bodies of the peer's requests, in [`permits`].
    pub(crate) request_bytes: Arc<Semaphore>,
    /// Bodies of the replies to them, in [`permits`].
    pub(crate) served_bytes: Arc<Semaphore>,
    /// Requests a second.
    pub(crate) requests_bucket: Mutex<Bucket>,
    /// Bytes a second.
    pub(crate) bytes_bucket: Mutex<Bucket>,
    breaker: Mutex<Breaker>,
}

#[derive(Debug, Default)]
struct Links {
    /// Those straight to the peer before those through relays, and then the oldest first, but for
    /// those that did not answer; the first carries the exchanges.
    connections: Vec<Connection>,
    /// Most recently used last, so that surplus ones age.
    idle: Vec<ExchangeStream>,
}

impl Peer {
    fn new(id: NodeId, limits: &Limits) -> Self {
        let now = Instant::now();
        let request_bytes = (limits.request_bytes_max / 4).max(BODY_BYTES_MAX);
        let served_bytes = limits.peer_served_bytes_max.max(BODY_BYTES_MAX);
        Self {
            id,
            links: Mutex::default(),
            idle_streams_max: limits.peer_idle_streams_max,
            leases: AtomicUsize::new(0),
            exchanges: Semaphore::new(limits.peer_exchanges_max.max(1)),
            exchanges_max: limits.peer_exchanges_max.max(1),
            waiting: AtomicUsize::new(0),
            inbound_streams: Arc::new(Semaphore::new(limits.peer_inbound_streams_max)),
            request_bytes: Arc::new(Semaphore::new(permits(request_bytes) as usize)),
            served_bytes: Arc::new(Semaphore::new(permits(served_bytes) as usize)),
            requests_bucket: Mutex::new(Bucket::new(
                f64::from(limits.peer_requests_per_second),
                now,
            )),
            bytes_bucket: Mutex::new(Bucket::new(limits.peer_bytes_per_second as f64, now)),
            breaker: Mutex::default(),
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        !lock(&self.links).connections.is_empty()
    }

    /// The way to open a stream: the first connection that still takes requests.
    pub(crate) fn opener(&self) -> Option<(ConnectionId, mpsc::Sender<OpenStream>, Arc<Usage>)> {
        let links = lock(&self.links);
        let connection = links.connections.iter().find(|it| !it.streams.is_closed())?;
        Some((connection.id, connection.streams.clone(), Arc::clone(&connection.usage)))
    }

    /// Takes the idle stream that was used last.
    pub(crate) fn take_idle(&self) -> Option<ExchangeStream> {
        lock(&self.links).idle.pop()
    }

    /// Puts a stream back on which an exchange ended well. Dropped, that is reset, if there are
    /// enough or its connection is gone.
    pub(crate) fn put_idle(&self, stream: ExchangeStream) {
        let mut links = lock(&self.links);
        // A relayed connection is left to end as soon as there is a better one.
        let best = links.connections.first().is_some_and(|it| !it.relayed);
        let live =
            links.connections.iter().any(|it| it.id == stream.connection && (!best || !it.relayed));
        if live && links.idle.len() < self.idle_streams_max {
            links.idle.push(stream);
        }
    }

    /// Lets the next connection of the same kind carry the exchanges, if there is one: after an
    /// exchange that was not answered in time. A connection may be dead without anybody knowing,
    /// where the peer has moved and come again.
    pub(crate) fn prefer_next(&self) {
        let dropped: Vec<ExchangeStream> = {
            let mut links = lock(&self.links);
            let straight = links.connections.iter().take_while(|it| !it.relayed).count();
            let alike = if straight > 0 { straight } else { links.connections.len() };
            if alike < 2 {
                return;
            }
            let first = links.connections[0].id;
            links.connections[..alike].rotate_left(1);
            links.idle.extract_if(.., |it| it.connection == first).collect()
        };
        drop(dropped);
    }

    /// How long one more request of `bytes` must wait for the peer's buckets.
    pub(crate) fn charge(&self, requests: u32, bytes: u64) -> Duration {
        let now = Instant::now();
        let by_requests = lock(&self.requests_bucket).take(f64::from(requests), now);
        let by_bytes = lock(&self.bytes_bucket).take(bytes as f64, now);
        by_requests.max(by_bytes)
    }

    /// The breaker of calls to the peer. It lasts as long as the entry: a peer to which there is
    /// neither a connection nor a call must be dialled first, and dials have pauses of their own.
    pub(crate) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        lock(&self.breaker)
    }

    fn status(&self) -> Option<PeerStatus> {
        let links = lock(&self.links);
        let first = links.connections.first()?;
        Some(PeerStatus {
            peer: self.id,
            addresses: links.connections.iter().map(|it| it.address.to_string()).collect(),
            inbound: first.inbound,
            relayed: first.relayed,
            connected_for: first.since.elapsed(),
            round_trip: first.round_trip,
            security: first.security.clone(),
            exchanges: self.exchanges_max.saturating_sub(self.exchanges.available_permits()),
            breaker: self.breaker().state(Instant::now()),
        })
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Peers {
    limits: Limits,
    table: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
}

impl Peers {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, table: Mutex::default() }
    }

    /// The entry of a peer that is called, made if need be.
    pub(crate) fn lease(self: &Arc<Self>, id: NodeId) -> Lease {
        let mut table = lock(&self.table);
        let peer = table.entry(id).or_insert_with(|| Arc::new(Peer::new(id, &self.limits)));
        peer.leases.fetch_add(1, Ordering::Relaxed);
        Lease { peers: Arc::clone(self), peer: Arc::clone(peer) }
    }

    /// Adds a connection and returns the peer's entry.
    pub(crate) fn connected(&self, id: NodeId, connection: Connection) -> Arc<Peer> {
        let mut table = lock(&self.table);
        let peer = table.entry(id).or_insert_with(|| Arc::new(Peer::new(id, &self.limits)));
        let peer = Arc::clone(peer);
        let surplus: Vec<ExchangeStream> = {
            let mut links = lock(&peer.links);
            if connection.relayed {
                links.connections.push(connection);
                Vec::new()
            } else {
                let place = links.connections.iter().take_while(|it| !it.relayed).count();
                let relayed: Vec<ConnectionId> =
                    links.connections[place..].iter().map(|it| it.id).collect();
                links.connections.insert(place, connection);
                links.idle.extract_if(.., |it| relayed.contains(&it.connection)).collect()
            }
        };
        drop(table);
        drop(surplus);
        peer
    }

    /// Removes a connection with its idle streams and ends its inbound ones.
    pub(crate) fn disconnected(&self, id: NodeId, connection: ConnectionId) {
        let mut table = lock(&self.table);
        let Some(peer) = table.get(&id) else { return };
        let dropped: Vec<ExchangeStream> = {
            let mut links = lock(&peer.links);
            for gone in links.connections.extract_if(.., |it| it.id == connection) {
                gone.gone.cancel();
            }
            links.idle.extract_if(.., |it| it.connection == connection).collect()
        };
        Self::prune(&mut table, id);
        drop(table);
        drop(dropped);
    }

    /// Notes the time of a ping.
    pub(crate) fn round_trip(&self, id: NodeId, connection: ConnectionId, time: Duration) {
        let table = lock(&self.table);
        let Some(peer) = table.get(&id) else { return };
        let mut links = lock(&peer.links);
        if let Some(found) = links.connections.iter_mut().find(|it| it.id == connection) {
            found.round_trip = Some(time);
        }
    }

    /// The IP address at the other end of a connection.
    pub(crate) fn remote_ip(&self, id: &NodeId, connection: ConnectionId) -> Option<IpAddr> {
        let table = lock(&self.table);
        let links = lock(&table.get(id)?.links);
        address::ip(&links.connections.iter().find(|it| it.id == connection)?.address)
    }

    /// Peers with a live connection, in the order of their ids.
    pub(crate) fn connected_ids(&self) -> Vec<NodeId> {
        let table = lock(&self.table);
        table.iter().filter(|(_, peer)| peer.is_connected()).map(|(id, _)| *id).collect()
    }

    pub(crate) fn is_connected(&self, id: &NodeId) -> bool {
        lock(&self.table).get(id).is_some_and(|peer| peer.is_connected())
    }

    /// The state of every connected peer, in the order of their ids.
    pub(crate) fn statuses(&self) -> Vec<PeerStatus> {
        lock(&self.table).values().filter_map(|peer| peer.status()).collect()
    }

    /// Forgets a peer that is neither connected nor called. Streams that still run keep their
    /// copy of the entry, which is of no use to anyone else.
    fn prune(table: &mut BTreeMap<NodeId, Arc<Peer>>, id: NodeId) {
        let is_used =
            |peer: &Arc<Peer>| peer.leases.load(Ordering::Relaxed) > 0 || peer.is_connected();
        if table.get(&id).is_some_and(|peer| !is_used(peer)) {
            table.remove(&id);
        }
    }
}

/// A peer's entry for the time of a call.
#[derive(Debug)]
pub(crate) struct Lease {
    peers: Arc<Peers>,
    peer: Arc<Peer>,
}

impl std::ops::Deref for Lease {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut table = lock(&self.peers.table);
        self.peer.leases.fetch_sub(1, Ordering::Relaxed);
        Peers::prune(&mut table, self.peer.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(id: usize) -> Connection {
        Connection {
            id: ConnectionId::new_unchecked(id),
            streams: mpsc::channel(1).0,
            usage: Usage::new(Duration::from_secs(1)),
            address: Multiaddr::empty(),
            inbound: true,
            relayed: false,
            since: Instant::now(),
            security: None,
            round_trip: None,
            gone: CancellationToken::new(),
        }
    }

    #[test]
    fn an_entry_lives_as_long_as_a_connection_or_a_call_and_no_longer() {
        let peers = Arc::new(Peers::new(Limits::default()));
        let count = || lock(&peers.table).len();
        let id = NodeId([1; 32]);
        let held = peers.connected(id, connection(1));
        let also = peers.connected(id, connection(2));
        assert!(Arc::ptr_eq(&held, &also));
        peers.disconnected(id, ConnectionId::new_unchecked(1));
        assert!(peers.is_connected(&id));
        let lease = peers.lease(id);
        peers.disconnected(id, ConnectionId::new_unchecked(2));
        assert_eq!((count(), peers.is_connected(&id)), (1, false));
        // A call that reconnects finds its connection in the entry it holds.
        peers.connected(id, connection(3));
        assert!(lease.is_connected());
        peers.disconnected(id, ConnectionId::new_unchecked(3));
        let other = peers.lease(id);
        drop(lease);
        assert_eq!(count(), 1);
        drop(other);
        assert_eq!(count(), 0);
        drop(held);
    }

    #[test]
    fn a_connection_straight_to_the_peer_comes_before_one_through_a_relay() {
        let peers = Arc::new(Peers::new(Limits::default()));
        let id = NodeId([1; 32]);
        let relayed = |n| Connection { relayed: true, ..connection(n) };
        let peer = peers.connected(id, relayed(1));
        assert!(peer.status().is_some_and(|status| status.relayed));
        peers.connected(id, connection(2));
        peers.connected(id, relayed(3));
        peers.connected(id, connection(4));
        let order: Vec<ConnectionId> =
            lock(&peer.links).connections.iter().map(|it| it.id).collect();
        assert_eq!(order, [2, 4, 1, 3].map(ConnectionId::new_unchecked));
        assert!(peer.status().is_some_and(|status| !status.relayed));
        peer.prefer_next();
        let order: Vec<ConnectionId> =
            lock(&peer.links).connections.iter().map(|it| it.id).collect();
        assert_eq!(order, [4, 2, 1, 3].map(ConnectionId::new_unchecked));
    }

    #[test]
    fn what_runs_on_a_connection_hears_that_it_is_gone_and_others_do_not() {
        let peers = Peers::new(Limits::default());
        let id = NodeId([1; 32]);
        let (one, two) = (connection(1), connection(2));
        let gone = [one.gone.clone(), two.gone.clone()];
        peers.connected(id, one);
        peers.connected(id, two);
        peers.disconnected(id, ConnectionId::new_unchecked(1));
        assert_eq!(gone.map(|gone| gone.is_cancelled()), [true, false]);
    }

    #[test]
    fn a_connection_is_wanted_while_used_and_for_the_idle_time_after() {
        let usage = Usage::new(Duration::ZERO);
        assert!(!usage.is_wanted());
        let (one, two) = (usage.begin(), usage.begin());
        drop(one);
        assert!(usage.is_wanted());
        drop(two);
        assert!(!usage.is_wanted());
        let patient = Usage::new(Duration::from_secs(3600));
        drop(patient.begin());
        assert!(patient.is_wanted());
    }
}
