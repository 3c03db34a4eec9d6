//! Requests about the ways between nodes: who is connected to whom, and what a way carries.

use datamesh_core::NodeId;
use serde::{Deserialize, Serialize};

use crate::mesh::PeerState;
use crate::reach::BandwidthLimits;

/// Ask nodes whom they are connected to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct NetworkRequest {
    /// 1 for what this side is connected to, 2 for what those are connected to as well, and so on.
    pub depth: u32,
}

impl NetworkRequest {
    /// The deepest that can be asked.
    pub const DEPTH_MAX: u32 = 16;
}

/// What a node said when it was asked whom it is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// It told.
    Told,
    /// It did not answer, or did not tell.
    Silent,
    /// It was not asked: it is as far away as was asked for, or known by its membership alone.
    NotAsked,
}

/// A node of the topology.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NetworkNode {
    /// The node.
    pub node: NodeId,
    /// What it fails together with; nothing for this side where it is no member.
    pub domain: Option<String>,
    /// How it stands; nothing for this side where it is no member.
    pub state: Option<PeerState>,
    /// It is this side.
    pub local: bool,
    /// Connections that lie between it and this side, by what was told; nothing where no way was found.
    pub distance: Option<u32>,
    /// Whether it told.
    pub asked: Asked,
    /// Members that it is connected to, where it told.
    pub connected: Option<u32>,
}

/// A connection that a node told of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NetworkLink {
    /// Who told.
    pub from: NodeId,
    /// Whom it leads to.
    pub to: NodeId,
    /// The newest round trip in milliseconds; nothing where none was measured.
    pub round_trip_ms: Option<f64>,
    /// It leads through a relay.
    pub relayed: bool,
}

/// The topology, as far as it was asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NetworkReply {
    /// The nodes, this side first, then by distance and id.
    pub nodes: Vec<NetworkNode>,
    /// The connections, each as the side saw it that told; two where both did.
    pub links: Vec<NetworkLink>,
    /// Nodes told of more connections than can be shown, or there are more nodes.
    pub more: bool,
}

/// Measure what moves between this node and others, or the way to one of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BandwidthRequest {
    /// The node to which the way is measured, or the beginning of its id; nothing for what this node moves
    /// by itself meanwhile.
    pub peer: Option<String>,
    /// For how long, in milliseconds.
    pub duration_ms: u64,
}

impl BandwidthRequest {
    /// The longest measurement in milliseconds.
    pub const DURATION_MAX_MS: u64 = 300_000;
}

/// What moved in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowInfo {
    /// Bytes.
    pub bytes: u64,
    /// Seconds that this took.
    pub seconds: f64,
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// Requests that brought no answer.
    pub lost: u64,
}

/// Round trips of empty requests, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// How many were measured.
    pub count: u64,
    /// Requests that brought no answer.
    pub lost: u64,
    /// The shortest.
    pub least: f64,
    /// Half were shorter.
    pub p50: f64,
    /// Nine of ten were shorter.
    pub p90: f64,
    /// 99 of a hundred were shorter.
    pub p99: f64,
    /// The longest.
    pub most: f64,
    /// The mean difference of two that followed each other.
    pub jitter: f64,
}

/// The way to a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WayInfo {
    /// The node.
    pub node: NodeId,
    /// What it fails together with.
    pub domain: String,
    /// The connection leads through a relay; nothing where there is none any more.
    pub relayed: Option<bool>,
    /// Round trips; nothing where no request was answered.
    pub round_trips: Option<RoundTrips>,
    /// From here to the node.
    pub up: FlowInfo,
    /// From the node to here.
    pub down: FlowInfo,
}

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BandwidthReply {
    /// The limits that count for all that this side moves.
    pub limits: BandwidthLimits,
    /// Everything that this side sent while it was measured.
    pub up: FlowInfo,
    /// Everything that it received.
    pub down: FlowInfo,
    /// The way to the node that was asked for.
    pub way: Option<WayInfo>,
}
