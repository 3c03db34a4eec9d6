//! Requests about what lies inside: for whoever looks into what goes wrong.

use datamesh_core::{DeviceId, GrantId, LogId, MeshPath, NodeId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::state::Finding;

/// What of it to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InternalsPart {
    /// The journal of puts.
    Journal,
    /// The store of shards.
    Store,
    /// The account's catalog on this device.
    Catalog,
    /// The proof of catalog, store and audit log, which takes time in proportion to their size.
    Checks,
}

/// Tell what lies inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternalsRequest {
    /// What.
    pub part: InternalsPart,
}

/// A put that is under way, or broke off and can be resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferState {
    /// What is read.
    pub source: String,
    /// Its bytes.
    pub size: u64,
    /// Where it goes.
    pub path: MeshPath,
    /// When it began.
    #[serde(with = "crate::moment")]
    pub started: Timestamp,
    /// What is read is no longer what it was, so that the put begins anew; nothing where that cannot be seen.
    pub changed: Option<bool>,
}

/// The journal of puts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalState {
    /// Puts that are under way or can be resumed.
    pub transfers: Vec<TransferState>,
    /// Segments that were sent for puts which never ended.
    pub orphans: u64,
    /// There are more orphans than were counted.
    pub more_orphans: bool,
    /// What it held was damaged and is lost: puts of before begin anew.
    pub lost: Option<String>,
}

/// What one grant uses on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantState {
    /// The grant.
    pub grant: GrantId,
    /// Bytes of shards.
    pub bytes: u64,
}

/// The store of shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreState {
    /// The node.
    pub node: NodeId,
    /// Pack files.
    pub packs: u64,
    /// Packs that could not be read at the start.
    pub unreadable_packs: Vec<u32>,
    /// Bytes of packs.
    pub used: u64,
    /// Bytes in them that something rests on.
    pub live: u64,
    /// Most bytes of packs.
    pub capacity: u64,
    /// Shards held.
    pub shards: u64,
    /// Shards known to be damaged.
    pub damaged: u64,
    /// Shards in the trash.
    pub trash: u64,
    /// Heads of accounts' logs.
    pub heads: u64,
    /// What grants use.
    pub grants: Vec<GrantState>,
    /// Why it takes no writes, if it does not.
    pub read_only: Option<String>,
}

/// A log of the account, as this device has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// The log.
    pub log: LogId,
    /// It is this device's own.
    pub own: bool,
    /// Its operations.
    pub operations: u64,
}

/// The catalog on this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogState {
    /// This device; nothing while the keys are closed.
    pub device: Option<DeviceId>,
    /// It has all that the account ever committed, as far as it was told.
    pub whole: bool,
    /// What is damaged, where something was found to be.
    pub damage: Option<String>,
    /// The logs.
    pub logs: Vec<LogState>,
    /// Shards that are owed.
    pub owed: u64,
    /// Bytes of the database files, the journal and the search index with them.
    pub files: Vec<FileBytes>,
}

/// A file of this home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileBytes {
    /// Its name in the home.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// What lies inside: the part that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternalsReply {
    /// The journal; nothing without an account.
    pub journal: Option<JournalState>,
    /// The store; nothing where no node runs.
    pub store: Option<StoreState>,
    /// The catalog; nothing without an account.
    pub catalog: Option<CatalogState>,
    /// What was proved, and what is damaged.
    pub checks: Vec<Finding>,
}
