//! The world: its nodes, what lies between them, and what a scenario may do to both.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_core::{
    Clock, Entropy, Executor, Hash, Message, NodeId, Service, Timestamp, Transport,
};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;
use super::exchange::SimTransport;
use super::life::Life;
use super::limits::Limits;
use super::link::{Link, NetFault};
use super::run::Failure;
use super::seams::{SimClock, SimEntropy, SimExecutor};
use super::steps::Steps;
use super::trace::{Event, Trace, What};
use crate::random::{Dice, SeededEntropy};

/// 2026-01-01 00:00 UTC, when every world begins.
const BEGINNING: Timestamp = 1_767_225_600_000;

/// Addresses remembered of one peer.
const ADDRESSES_MAX: usize = 8;

/// BLAKE3 derive-key context of the nodes' streams of chance.
const ENTROPY_CONTEXT: &str = "datamesh testkit node entropy";

/// A simulated world. Clones are the same world.
///
/// Methods that name a node which never joined panic: that is a mistake in the scenario.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    seed: u64,
    start: Instant,
    state: Mutex<State>,
    /// Woken when a way between nodes may have become free.
    freed: Notify,
    /// Woken when a process ends at a named step.
    crashed: Notify,
    failure: Arc<Failure>,
    /// Ends with the world; its tasks are the world's own.
    life: Arc<Life>,
}

pub(super) struct State {
    dice: Dice,
    nodes: BTreeMap<NodeId, Node>,
    connections: BTreeMap<(NodeId, NodeId), Arc<Connection>>,
    /// Nodes of different groups do not hear each other. Nodes without one are a group.
    groups: BTreeMap<NodeId, usize>,
    /// Ways, from and to, that are cut.
    cuts: BTreeSet<(NodeId, NodeId)>,
    link: Link,
    limits: Limits,
    addresses_needed: bool,
    trace: Trace,
    steps: Steps,
    ended: bool,
}

struct Node {
    name: usize,
    life: Arc<Life>,
    up: bool,
    joined: bool,
    service: Option<Arc<dyn Service>>,
    serving: Arc<Semaphore>,
    turns: BTreeMap<NodeId, Arc<Turns>>,
    known: BTreeMap<NodeId, Vec<String>>,
    link: Link,
    fault: NetFault,
    clock_offset: i64,
    entropy: Arc<SeededEntropy>,
    sending_until: Instant,
    receiving_until: Instant,
}

/// A node's exchanges with one peer.
pub(super) struct Turns {
    pub(super) places: Semaphore,
    pub(super) waiting: Semaphore,
}

/// A node's service at work.
pub(super) struct Served {
    pub(super) life: Arc<Life>,
    pub(super) service: Option<Arc<dyn Service>>,
    pub(super) places: Arc<Semaphore>,
}

/// What becomes of a message that is carried.
pub(super) struct Passage {
    pub(super) lost: bool,
    pub(super) reset: bool,
    /// A second copy follows after this time.
    pub(super) duplicate: Option<Duration>,
}

impl World {
    /// A world without nodes. [`run`](super::run) makes one for its scenario.
    ///
    /// # Panics
    /// Outside a current-thread Tokio runtime. Its time must be paused.
    pub fn new(seed: u64) -> Self {
        let flavour = Handle::try_current().map(|handle| handle.runtime_flavor());
        assert!(
            matches!(flavour, Ok(RuntimeFlavor::CurrentThread)),
            "a world lives inside a current-thread runtime"
        );
        let state = State {
            dice: Dice::new(seed),
            nodes: BTreeMap::new(),
            connections: BTreeMap::new(),
            groups: BTreeMap::new(),
            cuts: BTreeSet::new(),
            link: Link::default(),
            limits: Limits::default(),
            addresses_needed: false,
            trace: Trace::default(),
            steps: Steps::default(),
            ended: false,
        };
        Self(Arc::new(Inner {
            seed,
            start: Instant::now(),
            state: Mutex::new(state),
            freed: Notify::new(),
            crashed: Notify::new(),
            failure: Arc::default(),
            life: Arc::default(),
        }))
    }

    /// The seed that everything is drawn from.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// A number below `bound`, 0 where that is 0: the scenario's own draws.
    pub fn draw(&self, bound: u64) -> u64 {
        self.state().dice.below(bound)
    }

    /// Virtual time since the world began.
    pub fn elapsed(&self) -> Duration {
        Instant::now() - self.0.start
    }

    // Nodes.

    /// Brings a node up that answers with `service`.
    ///
    /// # Panics
    /// If the node is up.
    pub fn join(&self, node: NodeId, service: Arc<dyn Service>) -> Arc<dyn Transport> {
        let transport = self.attach(node);
        self.serve(node, service);
        transport
    }

    /// Brings a node up that answers nothing: a client, or a node whose service needs the
    /// transport first and is given by [`serve`](Self::serve). Requests to it end as closed.
    ///
    /// # Panics
    /// If the node is up.
    pub fn attach(&self, node: NodeId) -> Arc<dyn Transport> {
        let life = {
            let mut state = self.state();
            self.meet(&mut state, node);
            let entry = state.node_mut(node);
            assert!(!entry.up, "node {node} is up already");
            entry.up = true;
            let what = if entry.joined { What::Revive } else { What::Join };
            entry.joined = true;
            let life = Arc::clone(&entry.life);
            self.log(&mut state, Some(node), None, what, 0);
            life
        };
        Arc::new(SimTransport { world: self.clone(), local: node, life })
    }

    /// Gives a node that is up its service, or another one. Exchanges under way keep the old one.
    pub fn serve(&self, node: NodeId, service: Arc<dyn Service>) {
        let old = self.state().node_mut(node).service.replace(service);
        // Only now, outside the lock: a service may hold a transport of this world.
        drop(old);
    }

    /// Ends a node's process: its tasks are dropped, its connections break, its calls fail, its
    /// service is let go. Peers that dial it are refused. Nothing happens to a node that is down.
    ///
    /// Drops every task before it returns, but for one that itself calls this. Tasks of
    /// [`executor`](Self::executor) are ended even if the node never joined.
    pub fn kill(&self, node: NodeId) {
        let (life, service, connections) = {
            let mut state = self.state();
            self.meet(&mut state, node);
            let entry = state.node_mut(node);
            let was_up = entry.up;
            entry.up = false;
            entry.turns.clear();
            let life = std::mem::take(&mut entry.life);
            let service = entry.service.take();
            let ended = |ends: &(NodeId, NodeId)| ends.0 == node || ends.1 == node;
            let connections: Vec<_> =
                state.connections.extract_if(.., |ends, _| ended(ends)).collect();
            if was_up {
                self.log(&mut state, Some(node), None, What::Kill, 0);
            }
            (life, service, connections)
        };
        for (_, connection) in connections {
            connection.close("the peer's process ended");
        }
        life.finish();
        drop(service);
        self.0.freed.notify_waiters();
    }

    /// Brings a killed node up again, with its link, faults, clock and learnt addresses.
    ///
    /// # Panics
    /// If the node is up or never was.
    pub fn revive(&self, node: NodeId, service: Arc<dyn Service>) -> Arc<dyn Transport> {
        assert!(
            self.state().nodes.get(&node).is_some_and(|entry| entry.joined),
            "node {node} never joined"
        );
        self.join(node, service)
    }

    /// Whether the node's process runs.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.state().nodes.get(&node).is_some_and(|entry| entry.up)
    }

    /// The node's wall clock. It follows virtual time from 2026-01-01 on, and jumps on command.
    pub fn clock(&self, node: NodeId) -> Arc<dyn Clock> {
        self.meet(&mut self.state(), node);
        Arc::new(SimClock { world: self.clone(), node })
    }

    /// The node's stream of chance, which depends on the seed and the node alone.
    pub fn entropy(&self, node: NodeId) -> Arc<dyn Entropy> {
        let mut state = self.state();
        self.meet(&mut state, node);
        Arc::new(SimEntropy(Arc::clone(&state.node_mut(node).entropy)))
    }

    /// Runs the node's tasks until the node is killed, and its blocking work inline. Ask again
    /// after a revival.
    pub fn executor(&self, node: NodeId) -> Arc<dyn Executor> {
        let mut state = self.state();
        self.meet(&mut state, node);
        let life = Arc::clone(&state.node_mut(node).life);
        Arc::new(SimExecutor { world: self.clone(), node, life })
    }

    /// The address under which the node can be dialled, a multiaddr as text.
    pub fn address(&self, node: NodeId) -> String {
        let mut state = self.state();
        self.meet(&mut state, node);
        address(state.node(node).name)
    }

    // What a scenario does to the world.

    /// Divides the network: nodes of different groups do not hear each other, and nodes that are
    /// in no group are one more. Takes the place of an earlier partition. Messages under way wait;
    /// connections break when pings have been missing long enough ([`Limits::ping_patience`]).
    pub fn partition(&self, groups: &[&[NodeId]]) {
        self.divide(|state| {
            state.groups.clear();
            for (number, group) in groups.iter().enumerate() {
                state.groups.extend(group.iter().map(|node| (*node, number)));
            }
        });
    }

    /// Cuts one direction: nothing from `from` reaches `to` any more.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.divide(|state| {
            state.cuts.insert((from, to));
        });
    }

    /// Mends one direction that was cut.
    pub fn mend(&self, from: NodeId, to: NodeId) {
        self.divide(|state| {
            state.cuts.remove(&(from, to));
        });
    }

    /// Ends every partition and mends every cut.
    pub fn heal(&self) {
        self.divide(|state| {
            state.groups.clear();
            state.cuts.clear();
        });
    }

    /// Sets what goes wrong at a node; [`NetFault::default`] is nothing.
    pub fn set_fault(&self, node: NodeId, fault: NetFault) {
        {
            let mut state = self.state();
            self.meet(&mut state, node);
            state.node_mut(node).fault = fault;
            self.log(&mut state, Some(node), None, What::Fault, 0);
        }
        self.0.freed.notify_waiters();
    }

    /// Sets a node's link.
    pub fn set_link(&self, node: NodeId, link: Link) {
        let mut state = self.state();
        self.meet(&mut state, node);
        state.node_mut(node).link = link;
        self.log(&mut state, Some(node), None, What::Fault, 0);
    }

    /// Sets the link of all nodes, those yet to come as well.
    pub fn set_links(&self, link: Link) {
        let mut state = self.state();
        for node in state.nodes.values_mut() {
            node.link = link.clone();
        }
        state.link = link;
    }

    /// Sets the bounds. Nodes that are there keep those on exchanges at once.
    pub fn set_limits(&self, limits: Limits) {
        self.state().limits = limits;
    }

    /// Whether a peer can be dialled only by an address that was [learnt](Transport::learn). Not
    /// so at first: then a node's id is enough.
    pub fn set_addresses_needed(&self, needed: bool) {
        self.state().addresses_needed = needed;
    }

    /// Lets a node's wall clock jump by that many milliseconds, forth or back.
    pub fn jump_clock(&self, node: NodeId, milliseconds: i64) {
        let mut state = self.state();
        self.meet(&mut state, node);
        let entry = state.node_mut(node);
        entry.clock_offset = entry.clock_offset.saturating_add(milliseconds);
        self.log(&mut state, Some(node), None, What::ClockJump, milliseconds);
    }

    /// Writes a line of the scenario into the trace, where the digest covers it.
    pub fn note(&self, text: impl Into<String>) {
        self.log(&mut self.state(), None, None, What::Note(text.into()), 0);
    }

    /// What happened so far.
    pub fn trace(&self) -> Trace {
        self.state().trace.clone()
    }

    // For the other parts of the simulation.

    pub(super) fn steps<T>(&self, work: impl FnOnce(&mut Steps, &mut Dice) -> T) -> T {
        let state = &mut *self.state();
        work(&mut state.steps, &mut state.dice)
    }

    pub(super) fn crash_notify(&self) -> &Notify {
        &self.0.crashed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failure(&self) -> Arc<Failure> {
        Arc::clone(&self.0.failure)
    }

    pub(super) fn limits(&self) -> Limits {
        self.state().limits.clone()
    }

    pub(super) fn wall_clock(&self, node: NodeId) -> Timestamp {
        let offset = self.state().nodes.get(&node).map_or(0, |entry| entry.clock_offset);
        (BEGINNING + self.elapsed().as_millis() as u64).saturating_add_signed(offset)
    }

    /// Ends all nodes without a trace of it.
    pub(super) fn end(&self) {
        let nodes: Vec<_> = {
            let mut state = self.state();
            state.ended = true;
            state.nodes.keys().copied().collect()
        };
        self.0.life.finish();
        for node in nodes {
            self.kill(node);
        }
    }

    /// Makes the node known, if it is not.
    fn meet(&self, state: &mut State, node: NodeId) {
        if state.nodes.contains_key(&node) {
            return;
        }
        let name = state.nodes.len();
        let mut hasher = blake3::Hasher::new_derive_key(ENTROPY_CONTEXT);
        hasher.update(&self.0.seed.to_le_bytes()).update(&node.0);
        let mut own_seed = [0; 8];
        hasher.finalize_xof().fill(&mut own_seed);
        state.trace.name(node, name);
        let entry = Node {
            name,
            life: Arc::default(),
            up: false,
            joined: false,
            service: None,
            serving: Arc::new(Semaphore::new(state.limits.exchanges_served_max)),
            turns: BTreeMap::new(),
            known: BTreeMap::new(),
            link: state.link.clone(),
            fault: NetFault::default(),
            clock_offset: 0,
            entropy: Arc::new(SeededEntropy::new(u64::from_le_bytes(own_seed))),
            sending_until: self.0.start,
            receiving_until: self.0.start,
        };
        state.nodes.insert(node, entry);
    }

    fn log(
        &self,
        state: &mut State,
        from: Option<NodeId>,
        to: Option<NodeId>,
        what: What,
        length: i64,
    ) {
        self.log_content(state, from, to, what, length, None);
    }

    fn log_content(
        &self,
        state: &mut State,
        from: Option<NodeId>,
        to: Option<NodeId>,
        what: What,
        length: i64,
        content: Option<Hash>,
    ) {
        if !state.ended {
            let at = self.elapsed().as_millis() as u64;
            state.trace.push(Event { at, from, to, what, length, content });
        }
    }

    /// Logs an event of an exchange.
    pub(super) fn exchange_event(&self, from: NodeId, to: NodeId, what: What) {
        self.log(&mut self.state(), Some(from), Some(to), what, 0);
    }

    /// Logs an event of an exchange with the message.
    pub(super) fn message_event(&self, from: NodeId, to: NodeId, what: What, message: &Message) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(message.head.len() as u64).to_le_bytes());
        hasher.update(&message.head).update(&message.body);
        let content = Some(Hash(*hasher.finalize().as_bytes()));
        let length = (message.head.len() + message.body.len()) as i64;
        self.log_content(&mut self.state(), Some(from), Some(to), what, length, content);
    }

    /// Changes the partitions and tells the connections.
    fn divide(&self, change: impl FnOnce(&mut State)) {
        let mut severed = Vec::new();
        {
            let mut state = self.state();
            change(&mut state);
            self.log(&mut state, None, None, What::Partition, 0);
            for connection in state.connections.values() {
                let (one, other) = connection.ends;
                let apart = state.apart(one, other) || state.apart(other, one);
                if let Some(severance) = connection.sever(apart) {
                    severed.push((Arc::clone(connection), severance));
                }
            }
        }
        for (connection, severance) in severed {
            self.ping(connection, severance);
        }
        self.0.freed.notify_waiters();
    }

    /// Closes a severed connection at both ends once pings have been missing long enough.
    fn ping(&self, connection: Arc<Connection>, severance: u64) {
        let world = self.clone();
        let end = Instant::now() + self.limits().ping_patience;
        let watch = async move {
            sleep_until(end).await;
            if connection.give_up(severance) {
                world.forget(&connection);
            }
        };
        self.0.life.spawn(&self.failure(), Box::pin(watch));
    }

    fn forget(&self, connection: &Arc<Connection>) {
        let mut state = self.state();
        let same = |known: &Arc<Connection>| Arc::ptr_eq(known, connection);
        if state.connections.get(&connection.ends).is_some_and(same) {
            state.connections.remove(&connection.ends);
        }
    }

    /// Breaks a connection; both ends are told.
    pub(super) fn reset(&self, connection: &Arc<Connection>) {
        self.forget(connection);
        connection.close("connection reset by peer");
    }

    /// Remembers addresses as a peer book does: the newest, a few.
    pub(super) fn learn(&self, node: NodeId, peer: NodeId, addresses: &[String]) {
        let mut state = self.state();
        let known = state.node_mut(node).known.entry(peer).or_default();
        for address in addresses.iter().take(ADDRESSES_MAX) {
            known.retain(|other| other != address);
            known.push(address.clone());
        }
        let surplus = known.len().saturating_sub(ADDRESSES_MAX);
        known.drain(..surplus);
    }

    /// Whether `node` knows where to dial `peer`.
    pub(super) fn can_dial(&self, node: NodeId, peer: NodeId) -> bool {
        let state = self.state();
        let Some(there) = state.nodes.get(&peer) else { return false };
        let right = address(there.name);
        !state.addresses_needed
            || state.node(node).known.get(&peer).is_some_and(|known| known.contains(&right))
    }

    pub(super) fn connected(&self, node: NodeId) -> Vec<NodeId> {
        let state = self.state();
        let ends = state.connections.keys();
        let mut peers: Vec<_> = ends
            .filter_map(|&(one, other)| match () {
                () if one == node => Some(other),
                () if other == node => Some(one),
                () => None,
            })
            .collect();
        peers.sort_unstable();
        peers
    }

    pub(super) fn connection(&self, one: NodeId, other: NodeId) -> Option<Arc<Connection>> {
        self.state().connections.get(&Connection::key(one, other)).cloned()
    }

    /// Connects two nodes that are up, or finds their connection; nothing where one is not up.
    pub(super) fn connect(&self, from: NodeId, to: NodeId) -> Option<Arc<Connection>> {
        let (connection, severance) = {
            let mut state = self.state();
            if !state.node(from).up || !state.nodes.get(&to)?.up {
                return None;
            }
            let key = Connection::key(from, to);
            if let Some(connection) = state.connections.get(&key) {
                return Some(Arc::clone(connection));
            }
            let connection = Arc::new(Connection::between(from, to));
            // A cut may have come while the last message of the handshake was under way.
            let apart = state.apart(from, to) || state.apart(to, from);
            let severance = connection.sever(apart);
            state.connections.insert(key, Arc::clone(&connection));
            self.log(&mut state, Some(from), Some(to), What::Connect, 0);
            (connection, severance)
        };
        if let Some(severance) = severance {
            self.ping(Arc::clone(&connection), severance);
        }
        Some(connection)
    }

    pub(super) fn turns(&self, node: NodeId, peer: NodeId) -> Arc<Turns> {
        let mut state = self.state();
        let limits = state.limits.clone();
        let turns = state.node_mut(node).turns.entry(peer).or_insert_with(|| {
            Arc::new(Turns {
                places: Semaphore::new(limits.peer_exchanges_max),
                waiting: Semaphore::new(limits.peer_exchanges_waiting_max),
            })
        });
        Arc::clone(turns)
    }

    /// What answers at a node; nothing where it is not up.
    pub(super) fn served(&self, node: NodeId) -> Option<Served> {
        let state = self.state();
        let entry = state.nodes.get(&node).filter(|entry| entry.up)?;
        Some(Served {
            life: Arc::clone(&entry.life),
            service: entry.service.clone(),
            places: Arc::clone(&entry.serving),
        })
    }

    /// Waits until the way from one node to another is free.
    pub(super) async fn way(&self, from: NodeId, to: NodeId) {
        loop {
            let mut freed = pin!(self.0.freed.notified());
            freed.as_mut().enable();
            if !self.state().blocked(from, to) {
                return;
            }
            freed.await;
        }
    }

    /// Travels from one node to another once, without weight. Says whether it arrived.
    pub(super) async fn signal(&self, from: NodeId, to: NodeId) -> bool {
        self.way(from, to).await;
        let (latency, lost) = {
            let mut state = self.state();
            (state.draw_latency(from, to), state.strikes(from, to, |fault| fault.loss))
        };
        sleep_until(Instant::now() + latency).await;
        self.way(from, to).await;
        !lost
    }

    /// Carries a message of that many bytes from one node to another.
    pub(super) async fn carry(&self, from: NodeId, to: NodeId, bytes: usize) -> Passage {
        self.way(from, to).await;
        let (passage, first, last) = {
            let mut state = self.state();
            let mut latency = state.draw_latency(from, to);
            for node in [from, to] {
                let delay = state.node(node).fault.delay;
                latency += state.draw_duration(Duration::ZERO, delay);
            }
            let duplicate = state.strikes(from, to, |fault| fault.duplicate);
            let passage = Passage {
                lost: state.strikes(from, to, |fault| fault.loss),
                reset: state.strikes(from, to, |fault| fault.reset),
                duplicate: duplicate
                    .then(|| state.draw_duration(Duration::ZERO, Duration::from_secs(1))),
            };
            let sender = state.node_mut(from);
            let begin = sender.sending_until.max(Instant::now());
            sender.sending_until = begin + sending_time(bytes, sender.link.bandwidth);
            (passage, begin + latency, sender.sending_until + latency)
        };
        sleep_until(first).await;
        self.way(from, to).await;
        // The receiver takes messages one after the other too, while they are still being sent.
        let received = {
            let mut state = self.state();
            let receiver = state.node_mut(to);
            let begin = receiver.receiving_until.max(Instant::now());
            receiver.receiving_until = begin + sending_time(bytes, receiver.link.bandwidth);
            receiver.receiving_until
        };
        sleep_until(received.max(last)).await;
        self.way(from, to).await;
        passage
    }
}

impl State {
    fn node(&self, node: NodeId) -> &Node {
        match self.nodes.get(&node) {
            Some(entry) => entry,
            None => panic!("node {node} never joined"),
        }
    }

    fn node_mut(&mut self, node: NodeId) -> &mut Node {
        match self.nodes.get_mut(&node) {
            Some(entry) => entry,
            None => panic!("node {node} never joined"),
        }
    }

    /// Whether a partition or cut keeps messages from one node to another.
    fn apart(&self, from: NodeId, to: NodeId) -> bool {
        self.groups.get(&from) != self.groups.get(&to) || self.cuts.contains(&(from, to))
    }

    fn blocked(&self, from: NodeId, to: NodeId) -> bool {
        self.apart(from, to) || self.node(from).fault.stall || self.node(to).fault.stall
    }

    fn draw_duration(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros() as u64;
        if span == 0 { least } else { least + Duration::from_micros(self.dice.below(span + 1)) }
    }

    fn draw_latency(&mut self, from: NodeId, to: NodeId) -> Duration {
        [from, to]
            .map(|node| self.node(node).link.latency.clone())
            .iter()
            .fold(Duration::ZERO, |sum, range| {
                sum + self.draw_duration(*range.start(), *range.end())
            })
    }

    /// Whether a fault of either node hits, with a chance per mille.
    fn strikes(&mut self, from: NodeId, to: NodeId, chance: impl Fn(&NetFault) -> u32) -> bool {
        let mut hit = false;
        for node in [from, to] {
            let chance = chance(&self.node(node).fault);
            // Nothing is drawn for what cannot happen: a run without faults is not disturbed.
            hit |= chance > 0 && self.dice.below(1000) < u64::from(chance);
        }
        hit
    }
}

/// The multiaddr of the node that came as number `name`.
fn address(name: usize) -> String {
    format!("/ip4/10.{}.{}.{}/tcp/4001", (name >> 16) & 255, (name >> 8) & 255, name & 255)
}

fn sending_time(bytes: usize, bandwidth: u64) -> Duration {
    let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(bandwidth.max(1));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}
