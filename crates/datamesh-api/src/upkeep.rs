//! Background work, and what it found.

use std::collections::BTreeMap;

use datamesh_core::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};

/// How a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It runs.
    Running,
    /// It failed, and is started again in a while.
    Resting,
    /// It is done.
    Ended,
}

/// What a worker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkUnit {
    /// Bytes.
    Bytes,
    /// Segments.
    Segments,
}

/// How far a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerProgress {
    /// What is done.
    pub done: u64,
    /// All that there is.
    pub total: u64,
    /// What these count.
    pub unit: WorkUnit,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStats {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: WorkerState,
    /// Since when.
    #[serde(with = "crate::moment")]
    pub since: Timestamp,
    /// How often it failed and was started again.
    pub restarts: u64,
    /// What it failed with the last time.
    pub last_failure: Option<String>,
    /// What bounds it.
    pub throttle: String,
    /// How far it is, where its work has an end.
    pub progress: Option<WorkerProgress>,
}

/// What audits and scrubs found since the service began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingCounts {
    /// Shards of this node that are damaged.
    pub damaged: u64,
    /// Shards that other nodes claim to hold and could not prove, twice.
    pub unproven: u64,
    /// Shards whose loss other nodes admitted.
    pub admitted: u64,
}

/// A node that cannot prove what it claims to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlaggedPeer {
    /// The node.
    pub node: NodeId,
    /// Shards that it proved, ever.
    pub ok: u64,
    /// Answers that were false, ever.
    pub corrupt: u64,
    /// Shards that it claimed and did not have, ever.
    pub missing: u64,
    /// Challenges that it refused, ever.
    pub refused: u64,
    /// When it was last audited.
    #[serde(with = "crate::moment")]
    pub last: Timestamp,
}

/// How audits go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditHealth {
    /// When this service began to audit; nothing before it is counted here.
    #[serde(with = "crate::moment")]
    pub since: Timestamp,
    /// When a node was last challenged.
    #[serde(with = "crate::moment::option")]
    pub last: Option<Timestamp>,
    /// Seconds in which each segment has its turn.
    pub period_s: f64,
    /// The part of a period by which this node is behind.
    pub behind: f64,
    /// Segments that this node audited in the last period.
    pub segments: u64,
    /// Challenges of the last period by what they came to.
    pub outcomes: BTreeMap<String, u64>,
    /// Losses that nodes admitted in the last period.
    pub admitted: u64,
    /// Peers of which anything is known.
    pub peers: usize,
    /// Nodes that cannot prove what they claim to hold.
    pub flagged: Vec<FlaggedPeer>,
    /// What was found since the service began.
    pub findings: FindingCounts,
}

/// A scrub that was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubPass {
    /// When it ended.
    #[serde(with = "crate::moment")]
    pub ended: Timestamp,
    /// Bytes that it read.
    pub bytes: u64,
    /// Shards that it found damaged.
    pub damaged: u64,
}

/// How the scrub goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScrubHealth {
    /// When the pass began.
    #[serde(with = "crate::moment")]
    pub started: Timestamp,
    /// All was read; the next pass waits for its time.
    pub complete: bool,
    /// Bytes of packs behind the pass.
    pub done: u64,
    /// Bytes of packs.
    pub total: u64,
    /// Bytes that the pass read.
    pub bytes: u64,
    /// Shards that it verified.
    pub shards: u64,
    /// Shards that it found damaged.
    pub damaged: u64,
    /// Other records found damaged since the service began.
    pub damaged_records: u64,
    /// Seconds until the pass is complete, at the speed measured since the service began.
    pub left_s: Option<f64>,
    /// The pass before.
    pub last: Option<ScrubPass>,
}
