//! Requests about the state of things.

use std::collections::BTreeMap;

use datamesh_core::{AccountId, MeshId, NodeId, Scheme};
use serde::{Deserialize, Serialize};

use crate::leases::LeaseState;
use crate::repair::RepairState;
use crate::upkeep::{AuditHealth, ScrubHealth, WorkerStats};

/// Counts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StatsRequest {}

/// The mesh as seen from here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MeshStats {
    /// The mesh.
    pub mesh: MeshId,
    /// Nodes that are alive.
    pub nodes_alive: usize,
    /// Nodes that are known.
    pub nodes: usize,
    /// Failure domains of the nodes that are not gone.
    pub domains: usize,
    /// Those of them that would take a shard now.
    pub domains_alive: usize,
    /// The scheme that follows; nothing below six domains.
    pub scheme: Option<Scheme>,
    /// All nodes are on this machine: nothing protects against the loss of the machine.
    pub one_machine: bool,
    /// Bytes that all known nodes offer.
    pub capacity: u64,
    /// Days after which a lease that nobody renews ends; 0 where none does.
    pub lease_days: u32,
}

/// The store of this node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoreStats {
    /// This node.
    pub node: NodeId,
    /// Most bytes.
    pub capacity: u64,
    /// Bytes on disk.
    pub used: u64,
    /// Bytes that may still be written.
    pub free: u64,
    /// Shards held.
    pub shards: u64,
    /// Bytes of their cells.
    pub shard_bytes: u64,
    /// Shards known to be damaged.
    pub damaged: u64,
    /// Shards in the trash whose lease ended.
    pub trash: u64,
    /// Bytes of their cells.
    pub trash_bytes: u64,
    /// Shards in the trash that other nodes have now.
    pub moved: u64,
    /// Bytes of their cells.
    pub moved_bytes: u64,
    /// Times since the start that a shard in the trash was asked for.
    pub trash_asked: u64,
    /// Shards that the collector removed since the start.
    pub removed: u64,
    /// Shards that had gone to other nodes and that it took back since the start, as nobody was seen
    /// to have them.
    pub taken_back: u64,
    /// Bytes of packs that it gave back since the start.
    pub returned_bytes: u64,
    /// Why its last pass removed nothing, where it could not.
    pub collection_refused: Option<String>,
    /// Why it takes no writes, if it does not.
    pub read_only: Option<String>,
}

/// The catalog of this home's account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CatalogStats {
    /// The account.
    pub account: AccountId,
    /// Files.
    pub files: u64,
    /// Versions.
    pub versions: u64,
    /// Bytes of plaintext in current versions.
    pub bytes: u64,
    /// Bytes of plaintext in all versions.
    pub version_bytes: u64,
    /// Paths that were deleted.
    pub deleted: u64,
    /// Shards that are owed.
    pub owed: u64,
}

/// Counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatsReply {
    /// The mesh; nothing in a home that has joined none.
    pub mesh: Option<MeshStats>,
    /// The store; nothing where no node runs.
    pub store: Option<StoreStats>,
    /// The catalog; nothing without an account.
    pub catalog: Option<CatalogStats>,
    /// Segments of which this node holds a shard, by margin; empty where no node runs.
    pub margins: BTreeMap<i32, u64>,
    /// The repair of this node; nothing where none runs.
    pub repair: Option<RepairState>,
    /// Leases of the account; nothing where leases do not end, or without an account.
    pub leases: Option<LeaseState>,
    /// Background work; none where no node runs.
    pub workers: Vec<WorkerStats>,
}

/// Judge the state of things.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HealthRequest {}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Works, but wants attention.
    Warning,
    /// Does not work, or is about not to.
    Critical,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// What to do, where something is to be done.
    pub hint: Option<String>,
}

/// The judgement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HealthReply {
    /// The worst of the findings.
    pub severity: Severity,
    /// What was looked at.
    pub findings: Vec<Finding>,
    /// The nodes of the mesh, as seen from here.
    pub peers: PeerCounts,
    /// Segments of which this node holds a shard, by margin; empty where no node runs.
    pub margins: BTreeMap<i32, u64>,
    /// The repair of this node; nothing where none runs.
    pub repair: Option<RepairState>,
    /// Leases of the account; nothing where leases do not end, or without an account.
    pub leases: Option<LeaseState>,
    /// Audits of other nodes; nothing where no node runs.
    pub audit: Option<AuditHealth>,
    /// The scrub of this node's store; nothing where no node runs.
    pub scrub: Option<ScrubHealth>,
}

/// Nodes, counted by how they stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCounts {
    /// All that are known.
    pub known: u64,
    /// Those that answer, the leaving ones included.
    pub alive: u64,
}
