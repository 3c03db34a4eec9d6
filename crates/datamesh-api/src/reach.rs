//! Requests about connections: how peers are found and reached, how what is sent is encrypted, and
//! who may connect.

use datamesh_core::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::state::Finding;

/// Tell how this home's node is connected.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TransportRequest {}

/// Whether peers can dial this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NatState {
    /// Nobody has found out.
    Unknown,
    /// They can.
    Reachable,
    /// They have tried and cannot.
    Unreachable,
}

/// What of the network runs. Where all listeners are on loopback that is less than the settings say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachSettings {
    /// The preset.
    pub preset: String,
    /// The distributed hash table (Kademlia).
    pub dht: bool,
    /// Search of the local network (mDNS).
    pub mdns: bool,
    /// A port from the router (UPnP).
    pub upnp: bool,
    /// Peers find out whether this node can be reached (AutoNAT).
    pub probe: bool,
    /// Relays where it cannot, and the way straight from there (DCUtR).
    pub relays: bool,
    /// It is a relay for others.
    pub serve_relay: bool,
}

/// Whether calls to a peer go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerInfo {
    /// They do.
    Closed,
    /// It failed again and again and is left alone for a while.
    Open,
    /// One call may try.
    HalfOpen,
}

/// A connected peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectionInfo {
    /// The peer.
    pub node: NodeId,
    /// Where it is, as this side sees it.
    pub addresses: Vec<String>,
    /// It opened the connection.
    pub inbound: bool,
    /// The connection leads through a relay.
    pub relayed: bool,
    /// `tls`, `noise` or `quic`; nothing where it was not noted.
    pub protocol: Option<String>,
    /// The cipher suite; nothing where it is not told, as with QUIC.
    pub cipher_suite: Option<String>,
    /// The key exchange; nothing where it is not told, as with QUIC.
    pub key_exchange: Option<String>,
    /// The key exchange withstands a quantum computer; nothing where it is not told.
    pub post_quantum: Option<bool>,
    /// Time of the newest ping and its answer in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// How long it has been connected, in milliseconds.
    pub connected_ms: u64,
    /// Whether calls to it go through.
    pub breaker: BreakerInfo,
}

/// What moved since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficStats {
    /// Bytes of messages received.
    pub bytes_in: u64,
    /// Bytes of messages sent.
    pub bytes_out: u64,
    /// Calls that ended with a reply.
    pub calls: u64,
    /// Calls that failed.
    pub calls_failed: u64,
    /// Requests of peers that were answered.
    pub served: u64,
    /// Dials.
    pub dials: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// Inbound connections refused or failed in the handshake.
    pub connections_refused: u64,
}

/// Limits on bandwidth as they count now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BandwidthLimits {
    /// Bytes a second sent; nothing for no limit.
    pub up: Option<u64>,
    /// Bytes a second received; nothing for no limit.
    pub down: Option<u64>,
    /// Bytes cost money now: only repair that cannot wait moves any.
    pub metered: bool,
}

/// How this home's node, or this command where no service runs, is connected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TransportReply {
    /// A service runs.
    pub service: bool,
    /// This side's id. A command without a service draws one for the occasion.
    pub node: NodeId,
    /// What runs.
    pub settings: ReachSettings,
    /// Where it listens.
    pub listening: Vec<String>,
    /// Where others are told that it is.
    pub announced: Vec<String>,
    /// Where it can be dialled from outside the local network.
    pub external: Vec<String>,
    /// Whether it can.
    pub nat: NatState,
    /// A router gave it a port.
    pub mapped: bool,
    /// Places that it keeps at relays.
    pub relayed: Vec<String>,
    /// Places that others keep here.
    pub reservations: usize,
    /// Connections of others that lead through here.
    pub circuits: usize,
    /// Peers that came through a relay and were then met straight.
    pub punched: u64,
    /// Limits on bandwidth.
    pub bandwidth: BandwidthLimits,
    /// Connected peers, in the order of ids.
    pub connections: Vec<ConnectionInfo>,
    /// What moved.
    pub traffic: TrafficStats,
}

/// Look for peers now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiscoverRequest {
    /// How long answers are waited for, in milliseconds.
    pub timeout_ms: u64,
}

/// How a peer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundBy {
    /// It is a member that this home knows.
    Member,
    /// It is on the list of bootstrap peers.
    Bootstrap,
    /// It answered on the local network.
    Mdns,
    /// The distributed hash table told of it.
    Dht,
}

/// A peer that was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FoundPeer {
    /// The peer.
    pub node: NodeId,
    /// The ways in which it was found.
    pub found_by: Vec<FoundBy>,
    /// Where it may be.
    pub addresses: Vec<String>,
    /// It is a member of this home's mesh.
    pub member: bool,
    /// It is connected now.
    pub connected: bool,
}

/// The peers that were found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DiscoverReply {
    /// In the order of ids.
    pub peers: Vec<FoundPeer>,
    /// Members that were not known before.
    pub fresh: usize,
}

/// The list of peers that a node turns to when it knows no better.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum BootstrapRequest {
    /// Show it.
    List,
    /// Add a peer, or change its priority and region.
    Add {
        /// Its multiaddr.
        address: String,
        /// Peers with a lower number are turned to first.
        priority: u8,
        /// Where it is, in the operator's words.
        region: Option<String>,
    },
    /// Take a peer off.
    Remove {
        /// Its multiaddr.
        address: String,
    },
    /// Turn to all of them now.
    Check,
}

/// A peer on the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootstrapPeer {
    /// Its multiaddr.
    pub address: String,
    /// Peers with a lower number are turned to first.
    pub priority: u8,
    /// Where it is, in the operator's words.
    pub region: Option<String>,
    /// Who answered there last.
    pub node: Option<NodeId>,
    /// When it last answered.
    #[serde(with = "crate::moment::option")]
    pub answered: Option<Timestamp>,
    /// How long connecting took then, in milliseconds.
    pub took_ms: Option<f64>,
    /// Times in a row that it did not answer.
    pub failures: u32,
    /// Why it did not answer the last time.
    pub last_error: Option<String>,
    /// When it is turned to again, if it failed.
    #[serde(with = "crate::moment::option")]
    pub next_try: Option<Timestamp>,
}

/// The list, in the order in which its peers are turned to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BootstrapReply {
    /// The peers.
    pub peers: Vec<BootstrapPeer>,
}

/// Look over what protects this home.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SecurityRequest {}

/// What the password is stretched with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeystoreInfo {
    /// The function.
    pub kdf: String,
    /// Its memory in KiB.
    pub memory_kib: u32,
    /// Its passes.
    pub passes: u32,
    /// Its lanes.
    pub lanes: u32,
}

/// A place where cryptography is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CryptographyUse {
    /// What for.
    pub purpose: String,
    /// With what.
    pub algorithm: String,
    /// It withstands a quantum computer.
    pub post_quantum: bool,
}

/// A bound on what peers may cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitInfo {
    /// What is bounded.
    pub name: String,
    /// The bound.
    pub value: u64,
    /// Its unit.
    pub unit: String,
}

/// What protects this home, and what does not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SecurityReply {
    /// What was looked at and how it is.
    pub findings: Vec<Finding>,
    /// Peers and networks that alone may connect; everybody where it is empty.
    pub allow: Vec<String>,
    /// Peers and networks that may not.
    pub deny: Vec<String>,
    /// Bounds on what peers may cause.
    pub limits: Vec<LimitInfo>,
    /// The keystore of the account; nothing in a home without one.
    pub keystore: Option<KeystoreInfo>,
    /// Where cryptography is used.
    pub cryptography: Vec<CryptographyUse>,
}
