//! Requests about the mesh and its nodes.

use datamesh_core::{AccountId, MeshId, NodeId, Timestamp};
use serde::{Deserialize, Serialize};

/// Make an invite.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InviteRequest {
    /// How many homes may use it.
    pub uses: u32,
    /// Milliseconds until it expires.
    pub expires_ms: u64,
    /// It admits nodes that store.
    pub node: bool,
    /// It permits accounts to store.
    pub account: bool,
    /// Bytes that an account invited by it may store on each node.
    pub bytes_per_node: u64,
}

/// The invite.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InviteReply {
    /// The ticket: one line, to be kept secret.
    pub ticket: String,
    /// When it expires.
    #[serde(with = "crate::moment")]
    pub expires: Timestamp,
    /// How many homes may use it.
    pub uses: u32,
}

/// Enter a mesh.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The ticket.
    pub ticket: String,
}

/// What joining brought.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinReply {
    /// The mesh.
    pub mesh: MeshId,
    /// The node that redeems the ticket.
    pub issuer: NodeId,
    /// The account that may store now; nothing in a home without an account.
    pub account: Option<AccountId>,
    /// The first `service` in this home will ask for its node's certificate.
    pub node_pending: bool,
}

/// List the nodes of the mesh.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PeersRequest {}

/// How a node stands, as seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// Heard of lately.
    Alive,
    /// Not heard of lately, or it did not answer.
    Silent,
    /// Leaving.
    Draining,
    /// Not heard of for 30 days.
    Gone,
}

/// A node of the mesh.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerInfo {
    /// The node.
    pub node: NodeId,
    /// It is the one that answers.
    pub local: bool,
    /// How it stands.
    pub state: PeerState,
    /// Its failure domain.
    pub domain: String,
    /// Who answers for it.
    pub operator: String,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Bytes it offers.
    pub capacity: u64,
    /// How much of that is free, in sixteenths.
    pub free_sixteenths: u8,
    /// Version of its program.
    pub release: String,
    /// When it was last heard of.
    #[serde(with = "crate::moment")]
    pub heard: Timestamp,
    /// Measured time of small exchanges in milliseconds; nothing before the first.
    pub latency_ms: Option<f64>,
    /// Measured bytes per second of large exchanges; nothing before the first.
    pub goodput: Option<f64>,
    /// Exchanges that went well.
    pub successes: u64,
    /// Exchanges that did not.
    pub failures: u64,
    /// Answers that were false.
    pub wrong: u64,
}

/// The nodes of the mesh.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PeersReply {
    /// One entry for each known node, in the order of ids.
    pub peers: Vec<PeerInfo>,
}
