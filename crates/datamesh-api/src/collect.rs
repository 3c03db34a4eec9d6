//! Requests about giving space back and taking deleted files back.

use datamesh_core::{MeshPath, NodeId, VersionId};
use serde::{Deserialize, Serialize};

/// What nodes did about segments that were released.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseReply {
    /// Segments that at least one node released.
    pub segments: u64,
    /// Shards that nodes put into the trash, or had there already.
    pub shards: u64,
    /// Their bytes. They come back when the nodes' time for the trash has passed.
    pub bytes: u64,
    /// Segments of which no node that answers has a shard.
    pub not_found: u64,
    /// Segments that another device renewed meanwhile; they are kept.
    pub renewed: u64,
    /// Nodes that did not answer; they hear of it from the others when they are back.
    pub unanswered: usize,
}

/// Give versions of files up.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PurgeRequest {
    /// Paths, or beginnings of ids.
    pub names: Vec<String>,
    /// Keep so many of the newest versions, the current one among them; at least that one.
    pub keep: Option<u64>,
    /// Keep versions that are younger than so many milliseconds.
    pub younger_than_ms: Option<u64>,
    /// Do not wait the 30 days in which a deleted file can be taken back.
    pub force: bool,
    /// Only tell what would be done.
    pub dry_run: bool,
}

/// What was given up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeReply {
    /// Versions.
    pub versions: u64,
    /// Versions that were kept, because their file is pinned.
    pub pinned: u64,
    /// Bytes of plaintext in those given up.
    pub bytes: u64,
    /// Segments that they share with versions that stay.
    pub shared: u64,
    /// Segments that nothing refers to any more.
    pub unreferenced: u64,
    /// What nodes did.
    pub released: ReleaseReply,
    /// Changes of the catalog that too few nodes have yet; nothing was released then.
    pub pending: u64,
}

/// Make a deleted or older version the current one again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UndeleteRequest {
    /// A path, or the beginning of an id.
    pub name: String,
    /// Which version; the newest that was not purged where there is none.
    pub version: Option<u64>,
}

/// What is current again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UndeleteReply {
    /// The path.
    pub path: MeshPath,
    /// The new version, with the content of the old one.
    pub version: VersionId,
    /// Changes of the catalog that too few nodes have yet.
    pub pending: u64,
}

/// What moving content to other segments did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewriteReply {
    /// Versions whose content is elsewhere now.
    pub versions: u64,
    /// Segments that were made.
    pub made: u64,
    /// Bytes of ciphertext in them.
    pub made_bytes: u64,
    /// Segments that nothing refers to any more.
    pub unreferenced: u64,
    /// What nodes did about these.
    pub released: ReleaseReply,
    /// Changes of the catalog that too few nodes have yet; nothing was released then.
    pub pending: u64,
}

/// Segments of which little is referred to, and small ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepackReply {
    /// Segments of which less than half was referred to.
    pub sparse: u64,
    /// Small ones that were merged.
    pub small: u64,
    /// Bytes of ciphertext in all of them.
    pub bytes: u64,
    /// Bytes of these that are referred to.
    pub live_bytes: u64,
    /// What came of it.
    pub rewritten: RewriteReply,
}

/// Content that was stored more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuplicatesReply {
    /// Parts of files whose content is stored elsewhere, too, and is referred to there now.
    pub slices: u64,
    /// Bytes of ciphertext in them.
    pub bytes: u64,
    /// Contents of which no copy could be renewed at enough nodes; they stay as they are.
    pub kept: u64,
    /// What came of it.
    pub rewritten: RewriteReply,
}

/// A file that is not as safe as its scheme promises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowFile {
    /// Its name.
    pub path: MeshPath,
    /// Shards above k that its worst segment had; negative where it could not be read, nothing where
    /// nobody who answers had any of it.
    pub margin: Option<i32>,
    /// The same after the nodes were asked to mend it.
    pub mended: Option<i32>,
    /// Why it could not be mended.
    pub reason: Option<String>,
}

/// Files that lack shards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowHealthReply {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub files: Vec<LowFile>,
    /// How many cannot be read now.
    pub unreadable: u64,
    /// Shards that were rebuilt.
    pub rebuilt: u64,
}

/// Give back what nothing refers to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CleanupRequest {
    /// Ask all nodes what they keep for this account.
    pub orphaned: bool,
    /// Bring content together that is stored more than once.
    pub duplicates: bool,
    /// Find files that lack shards, and have them mended.
    pub low_health: bool,
    /// Only tell what would be done.
    pub dry_run: bool,
    /// Do not wait the 30 days in which a deleted file can be taken back.
    pub force: bool,
}

/// What was given back.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CleanupReply {
    /// It was only looked at.
    pub dry_run: bool,
    /// Versions of files that were deleted long ago.
    pub deleted: PurgeReply,
    /// Content that was stored more than once.
    pub duplicates: DuplicatesReply,
    /// Files that lack shards.
    pub low_health: LowHealthReply,
    /// Segments that were repacked.
    pub repacked: RepackReply,
    /// Segments that broken-off puts of this device left.
    pub left: u64,
    /// Segments that nodes keep and nothing refers to.
    pub orphaned: u64,
    /// Their shards, as the nodes list them.
    pub orphaned_shards: u64,
    /// Bytes of these.
    pub orphaned_bytes: u64,
    /// What nodes did about those left and orphaned.
    pub released: ReleaseReply,
    /// Nodes that could not be asked what they keep.
    pub silent: Vec<NodeId>,
}
