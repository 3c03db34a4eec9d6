//! Why the store did not do what it was asked.

use datamesh_core::wire::WireError;
use datamesh_core::{GrantId, NodeId, SegmentId};

use crate::disk::DiskError;

/// What is wrong with stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The record's header or the hashed part of its body is not what was written there.
    Record,
    /// The cells do not have the root that the descriptor names.
    Cells,
    /// The disk cannot read the bytes.
    Unreadable,
    /// The file ends before the record does, or is not there.
    Missing,
    /// It was found damaged before.
    Known,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Record => "its record is not what was written there",
            Self::Cells => "its cells do not have their root",
            Self::Unreadable => "the disk cannot read it",
            Self::Missing => "its file ends before it does",
            Self::Known => "it was found damaged before",
        })
    }
}

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The shard is not held.
    #[error("shard {shard} of segment {segment} is not held here")]
    NotFound {
        /// The segment.
        segment: SegmentId,
        /// The shard.
        shard: u8,
    },
    /// No shard of the segment is held.
    #[error("no shard of segment {segment} is held here")]
    SegmentNotFound {
        /// The segment.
        segment: SegmentId,
    },
    /// The segment's owner ended its lease.
    #[error("segment {segment} was released by its owner")]
    Released {
        /// The segment.
        segment: SegmentId,
    },
    /// The grant is not known here.
    #[error("grant {grant} is not known here")]
    GrantNotFound {
        /// The grant.
        grant: GrantId,
    },
    /// The stored bytes are not what was acknowledged; they are never served.
    #[error("shard {shard} of segment {segment} is damaged: {damage}")]
    Damaged {
        /// The segment.
        segment: SegmentId,
        /// The shard.
        shard: u8,
        /// What is wrong.
        damage: Damage,
    },
    /// A record other than a shard is not what was written.
    #[error("a {record} record is damaged: {damage}")]
    RecordDamaged {
        /// What the record is.
        record: &'static str,
        /// What is wrong.
        damage: Damage,
    },
    /// The slot of a head is being written by somebody else, or what it holds cannot be read.
    #[error("another head of this log is being stored")]
    HeadBusy,
    /// The store keeps as many heads as it can.
    #[error("the store keeps as many heads of logs as it can")]
    HeadsFull,
    /// More was given to one call than it takes.
    #[error("{count} changes of leases at once, the bound is {bound}")]
    TooMany {
        /// How many.
        count: usize,
        /// The bound.
        bound: usize,
    },
    /// More cells were asked for than the shard has.
    #[error("cells {first} to {end} of shard {shard} were asked for, it has {cells}")]
    Range {
        /// The shard.
        shard: u8,
        /// First cell asked for.
        first: u32,
        /// One after the last.
        end: u32,
        /// How many there are.
        cells: u32,
    },
    /// The parts of a write do not belong together.
    #[error("the shard to store is inconsistent: {field} does not fit the descriptor")]
    Inconsistent {
        /// The part that does not fit.
        field: &'static str,
    },
    /// The store has reached its capacity or the reserve of its file system. It still answers.
    #[error("the store is full: {free} bytes are free, {needed} are needed")]
    Full {
        /// Bytes that may still be used.
        free: u64,
        /// Bytes that the write needs.
        needed: u64,
    },
    /// The grant allows no more bytes on this node.
    #[error(
        "grant {grant} is used up: {used} of {bound} bytes are in use, {needed} more are needed"
    )]
    GrantUsedUp {
        /// The grant.
        grant: GrantId,
        /// Bytes in use, including writes under way.
        used: u64,
        /// The grant's bound.
        bound: u64,
        /// Bytes of the shard.
        needed: u64,
    },
    /// Writing failed too often; the store answers reads until it is opened again.
    #[error("the store takes no writes until it is opened again: {reason}")]
    ReadOnly {
        /// What went wrong.
        reason: String,
    },
    /// The directory has no identity although it should have one.
    #[error(
        "the store's identity file is missing: is the disk mounted at the right place? \
         nothing is served, and nothing counts as lost"
    )]
    IdentityMissing,
    /// The identity file cannot be read.
    #[error("the store's identity file is damaged")]
    IdentityDamaged(#[source] WireError),
    /// The directory belongs to another node.
    #[error("the store belongs to node {node}")]
    OtherNode {
        /// That node.
        node: NodeId,
    },
    /// The directory has another store of the same node.
    #[error("the directory has another store of this node: is the right disk mounted?")]
    OtherStore,
    /// A new store needs an empty directory.
    #[error("the directory is not empty: it has {name}, and a new store needs an empty one")]
    DirectoryNotEmpty {
        /// One of its files.
        name: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
