//! Requests about how things are stored: more densely, more evenly, in another scheme, and what would be
//! worth doing.

use datamesh_core::Scheme;
use serde::{Deserialize, Serialize};

use crate::collect::{RepackReply, RewriteReply};

/// Which files to code anew, and how.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ReschemeRequest {
    /// Paths, or beginnings of ids; all files where there are none.
    pub names: Vec<String>,
    /// The scheme; the one that suits the mesh now where there is none.
    pub scheme: Option<Scheme>,
}

/// Which content to compress.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct CompressRequest {
    /// What was neither stored nor fetched on this device in the last so many days.
    pub unread_days: u32,
}

/// Store things better. What is asked for is done in the order of the fields.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OptimizeRequest {
    /// Measure, and tell what would be worth doing.
    pub analyze: bool,
    /// Code files anew.
    pub rescheme: Option<ReschemeRequest>,
    /// Compress content that is read seldom, with more effort than a put can take.
    pub compress: Option<CompressRequest>,
    /// Empty segments of which little is referred to, merge small ones, and rewrite packs of this node of
    /// which little is live.
    pub defrag: bool,
    /// Have this node look at once for shards that nodes with more room should hold.
    pub rebalance: bool,
    /// Only tell what would be done.
    pub dry_run: bool,
}

/// What was coded anew, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReschemeReply {
    /// The scheme.
    pub scheme: Scheme,
    /// Versions that were stored with another, or degraded.
    pub versions: u64,
    /// Their segments.
    pub segments: u64,
    /// Bytes of ciphertext in these.
    pub bytes: u64,
    /// Bytes that their shards took.
    pub stored_before: u64,
    /// Bytes that they take in the new scheme.
    pub stored_after: u64,
    /// What came of it.
    pub rewritten: RewriteReply,
}

/// What compressing did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompressReply {
    /// Versions that are read seldom.
    pub versions: u64,
    /// Bytes of ciphertext of their content.
    pub bytes: u64,
    /// Of a dry run: parts of files that were read and compressed.
    pub sampled: u64,
    /// Bytes of ciphertext of these.
    pub sampled_bytes: u64,
    /// Bytes that those of them which are worth it would take less.
    pub sampled_saved: u64,
    /// What came of it.
    pub rewritten: RewriteReply,
}

/// What rewriting this node's packs gave back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacksReply {
    /// Bytes of packs.
    pub used: u64,
    /// Bytes in them that are no shard which something rests on: removed ones, and what packs have beside
    /// shards, marks and tables.
    pub dead: u64,
    /// Bytes that were given back.
    pub returned: u64,
    /// Why nothing was, where that is so.
    pub refused: Option<String>,
}

/// What defragmentation did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefragReply {
    /// Segments of the account; nothing without one.
    pub segments: Option<RepackReply>,
    /// Packs of this node; nothing where none runs.
    pub packs: Option<PacksReply>,
}

/// What rebalancing found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebalanceReply {
    /// The node looked at all its segments meanwhile: otherwise it goes on in the background, and `waiting` is
    /// what was known before.
    pub looked: bool,
    /// Segments of which this node is to move a shard to one with more room.
    pub waiting: u64,
    /// Shards that it moved meanwhile.
    pub moved: u64,
    /// Bytes that it fetched and sent meanwhile, those of repair with them.
    pub bytes: u64,
}

/// Something that is worth doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// What it is about.
    pub subject: String,
    /// What was measured.
    pub measured: String,
    /// Bytes on the disks of nodes that it would give back, where that is known.
    pub bytes: Option<u64>,
    /// The command that does it.
    pub command: String,
}

/// What was measured, and what follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnalysisReply {
    /// What is worth doing, the largest gain first.
    pub advice: Vec<Advice>,
    /// What was looked at and is as it should be.
    pub fine: Vec<String>,
    /// What could not be looked at, and why.
    pub skipped: Vec<String>,
}

/// What was done, part by part; nothing for those that were not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptimizeReply {
    /// Nothing was changed, as that was asked for.
    pub dry_run: bool,
    /// What was measured.
    pub analysis: Option<AnalysisReply>,
    /// What was coded anew.
    pub rescheme: Option<ReschemeReply>,
    /// What was compressed.
    pub compress: Option<CompressReply>,
    /// What was defragmented.
    pub defrag: Option<DefragReply>,
    /// What was rebalanced.
    pub rebalance: Option<RebalanceReply>,
}
