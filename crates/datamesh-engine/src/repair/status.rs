//! What a repairer knows and does, for people: counted and measured, nothing estimated but where
//! the name says so.

use std::collections::BTreeMap;

use datamesh_core::{SegmentId, Timestamp};

/// A segment that cannot be mended, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The segment.
    pub segment: SegmentId,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
}

/// How far a node that leaves has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainProgress {
    /// Shards held here.
    pub shards: u64,
    /// Those of them that no other node holds.
    pub left: u64,
    /// Every one of them was found on another node, which proved it.
    pub finished: bool,
}

/// What a repairer knows and does.
#[derive(Debug, Clone, Default)]
pub struct RepairStatus {
    /// Segments of which this node holds a shard, by margin, as the last look found them.
    pub margins: BTreeMap<i32, u64>,
    /// When the last look ended, by this node's clock; nothing before the first.
    pub looked: Option<Timestamp>,
    /// Segments that this node is to mend and has not begun.
    pub queued: u64,
    /// Segments that it is mending.
    pub active: u64,
    /// Bytes to fetch and to send for both.
    pub bytes_left: u64,
    /// Segments whose loss is not yet acted on, or that another holder is to mend.
    pub later: u64,
    /// Segments with shards for which there is no failure domain.
    pub waiting: u64,
    /// Segments that cannot be mended, at most a thousand of them.
    pub dead_letters: Vec<DeadLetter>,
    /// How many there are of these.
    pub dead_letter: u64,
    /// Shards placed since the start.
    pub shards_placed: u64,
    /// Segments of which this node is to move a shard to a node that is less full, as far as the last
    /// look found them.
    pub moves_left: u64,
    /// Shards that other nodes got in place of this one since the start.
    pub shards_moved: u64,
    /// Bytes fetched and sent since the start.
    pub bytes_moved: u64,
    /// Bytes fetched and sent a second over the last minute.
    pub bytes_per_second: f64,
    /// More than a fifth of the members fell silent together: only segments without margin are
    /// mended.
    pub storm: bool,
    /// This node is leaving.
    pub drain: Option<DrainProgress>,
}
