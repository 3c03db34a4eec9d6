//! Requests about repair and about where shards are.

use std::collections::BTreeMap;

use datamesh_core::{NodeId, SegmentId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::files::PeerFault;
use crate::leases::LeaseRun;

/// Check segments and mend those that need it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RepairRequest {
    /// Only this file: a path, or the beginning of an id.
    pub name: Option<String>,
    /// All files of the account; and the node of this home looks at all that it holds.
    pub auto: bool,
    /// Read every shard whole and compare it with its root.
    pub verify_all: bool,
    /// Mend segments with this margin or less; whatever is not whole where there is none.
    pub threshold: Option<i32>,
    /// Renew the leases of all that the account keeps.
    pub renew: bool,
}

/// A segment that is not as it should be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SegmentProblem {
    /// The segment.
    pub segment: SegmentId,
    /// What is wrong.
    pub reason: String,
}

/// What a repair found and did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RepairReply {
    /// Segments that were checked by asking every member.
    pub segments: u64,
    /// Those segments by margin, as they were found.
    pub margins: BTreeMap<i32, u64>,
    /// Shards that were missing.
    pub missing: u64,
    /// Shards that were rebuilt, placed and read back.
    pub rebuilt: u64,
    /// Shards that were copied, placed and read back.
    pub copied: u64,
    /// Bytes fetched for that.
    pub read_bytes: u64,
    /// Bytes handed to new holders.
    pub sent_bytes: u64,
    /// Shards read whole and found right.
    pub verified: u64,
    /// Bytes read for that.
    pub verified_bytes: u64,
    /// Segments that wait for failure domains.
    pub waiting: Vec<SegmentProblem>,
    /// Segments that could not be mended.
    pub failed: Vec<SegmentProblem>,
    /// Peers that failed on the way.
    pub faults: Vec<PeerFault>,
    /// The renewal of leases, where that was asked for.
    pub renewal: Option<LeaseRun>,
    /// The repair of this home's node; nothing where none runs.
    pub worker: Option<RepairState>,
}

/// How the repair of a node stands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RepairState {
    /// Segments that it is to mend and has not begun.
    pub queued: u64,
    /// Segments that it is mending.
    pub active: u64,
    /// Bytes to fetch and send for both.
    pub bytes_left: u64,
    /// Segments that cannot be mended.
    pub dead_letter: u64,
    /// Segments that wait for failure domains.
    pub waiting: u64,
    /// Segments whose loss is waited out, or that another holder mends.
    pub later: u64,
    /// Segments that cannot be mended, and why; at most a thousand.
    pub dead_letters: Vec<SegmentProblem>,
    /// Shards placed since the start of the node.
    pub shards_placed: u64,
    /// Segments of which a shard is to go from this node to one that is less full.
    pub moves_left: u64,
    /// Shards that went from this node to others since the start.
    pub shards_moved: u64,
    /// Bytes fetched and sent since then.
    pub bytes_moved: u64,
    /// Bytes a second over the last minute.
    pub bytes_per_second: f64,
    /// Seconds that what is left takes at that rate; nothing where nothing moves.
    pub seconds_left: Option<f64>,
    /// More than a fifth of the members fell silent together: only segments without margin are
    /// mended.
    pub storm: bool,
    /// When it last looked at all segments; nothing before the first time.
    #[serde(with = "crate::moment::option")]
    pub looked: Option<Timestamp>,
    /// How far the node has come in leaving; nothing where it stays.
    pub drain: Option<DrainState>,
}

/// How far a node has come in leaving.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainState {
    /// Shards that it holds.
    pub shards: u64,
    /// Those that no other node holds yet.
    pub left: u64,
    /// Each was proved by another node.
    pub finished: bool,
}

/// Where shards are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DistributionRequest {
    /// Only this file: a path, or the beginning of an id.
    pub name: Option<String>,
}

/// Shards at one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeShards {
    /// The node.
    pub node: NodeId,
    /// Its failure domain.
    pub domain: String,
    /// Shards that it says it holds.
    pub shards: u64,
}

/// Shards in one failure domain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DomainShards {
    /// The failure domain.
    pub domain: String,
    /// Nodes in it.
    pub nodes: u64,
    /// Shards that they say they hold.
    pub shards: u64,
}

/// Where shards are, as their holders say now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DistributionReply {
    /// Segments asked about.
    pub segments: u64,
    /// Shards that are held, copies included.
    pub shards: u64,
    /// Segments by margin.
    pub margins: BTreeMap<i32, u64>,
    /// Every node that is not gone, the one with the most shards first.
    pub nodes: Vec<NodeShards>,
    /// Every failure domain, the one with the most shards first.
    pub domains: Vec<DomainShards>,
}
