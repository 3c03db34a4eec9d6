//! Requests about files and what comes of them.

use datamesh_core::catalog::EntryKind;
use datamesh_core::{FileId, Hash, MeshPath, NodeId, Scheme, SegmentId, Timestamp, VersionId};
use serde::{Deserialize, Serialize};

use crate::leases::LeaseState;
use crate::pins::PinTerms;

use crate::error::OperationError;
use crate::share::{SecretText, ShareInfo};

/// Store the entries of a stream.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PutRequest {
    /// Tags of every stored file.
    pub tags: Vec<String>,
    /// Another scheme than the one that suits the mesh.
    pub scheme: Option<Scheme>,
    /// Store even where there are too few failure domains.
    pub allow_degraded: bool,
    /// Most files under way at once; 0 for as many as memory is meant for.
    pub parallel: u16,
    /// The key of a person with whom each stored file is shared then.
    pub to: Option<String>,
}

/// A file that was stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its name.
    pub path: MeshPath,
    /// The file.
    pub file: FileId,
    /// The version.
    pub version: VersionId,
    /// Bytes of plaintext.
    pub size: u64,
    /// The scheme; nothing where the content lives in the catalog.
    pub scheme: Option<Scheme>,
    /// Shards above k that the worst segment had at the acknowledgement.
    pub margin: Option<u8>,
    /// Stored with `--allow-degraded` in a mesh too small for the scheme.
    pub degraded: bool,
    /// Shards that are still owed.
    pub owed: usize,
    /// Bytes of it that were not sent, because the account had stored the same content already.
    pub known_bytes: u64,
}

/// An entry that was not done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntryFailure {
    /// Its name.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// A peer that failed in a transfer that went on without it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerFault {
    /// The peer.
    pub node: NodeId,
    /// What it did.
    pub what: String,
}

/// What came of a put.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PutReply {
    /// What was stored.
    pub stored: Vec<StoredFile>,
    /// What was not.
    pub failed: Vec<EntryFailure>,
    /// Why the put ended before all entries were read; what is listed as stored stays. A put that
    /// had stored nothing by then fails with this error.
    pub stopped: Option<OperationError>,
    /// Peers that failed on the way.
    pub faults: Vec<PeerFault>,
    /// Bytes that an earlier transfer had stored already.
    pub resumed_bytes: u64,
    /// Bytes that were not sent, because the account had stored the same content already.
    pub known_bytes: u64,
    /// Changes of the catalog that too few nodes have yet: they are kept on this device and
    /// published as soon as nodes answer. 0 where all is committed on the mesh.
    pub pending: u64,
    /// What was shared.
    pub shares: Vec<ShareInfo>,
    /// Why not all that was stored was shared; what is listed as stored stays.
    pub unshared: Option<OperationError>,
}

/// Fetch files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum GetRequest {
    /// One file.
    File {
        /// A path, or the beginning of a file's or version's id.
        name: String,
        /// Which version, by number; the current one where there is none.
        version: Option<u64>,
        /// Bytes from the first up to, not including, the second.
        range: Option<(u64, u64)>,
    },
    /// Everything below a folder, by the names below it.
    Folder {
        /// The folder; empty for all files.
        name: String,
    },
    /// What somebody shares.
    Shared {
        /// The link, or the code where it is shared with this home's account.
        link: SecretText,
        /// Its password, where it has one.
        password: Option<SecretText>,
    },
    /// All files that are meant, by their whole names.
    Matching {
        /// Paths and patterns; see [`LabelRequest::patterns`](crate::LabelRequest::patterns).
        patterns: Vec<String>,
        /// Most files under way at once; 0 for as many as memory is meant for.
        parallel: u16,
    },
}

/// What came of a get.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct GetReply {
    /// Entries that arrived whole.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of these an earlier get had fetched already.
    pub resumed_bytes: u64,
    /// Entries that did not arrive.
    pub failed: Vec<EntryFailure>,
    /// Peers that failed on the way; others served in their place.
    pub faults: Vec<PeerFault>,
}

/// List files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ListRequest {
    /// Only below this folder.
    pub folder: Option<MeshPath>,
    /// To any depth.
    pub recursive: bool,
    /// Only files that one of these paths and patterns means, to any depth; see
    /// [`LabelRequest::patterns`](crate::LabelRequest::patterns). All where there are none.
    pub patterns: Vec<String>,
    /// Only files with all these tags.
    pub tags: Vec<String>,
    /// Most entries of the page.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub after: Option<Vec<u8>>,
}

/// One row of a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum ListEntry {
    /// A folder with files below it.
    Folder {
        /// Its name.
        path: MeshPath,
    },
    /// A file or an empty folder.
    Entry(FileVersion),
}

/// A version of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileVersion {
    /// Its name.
    pub path: MeshPath,
    /// File or empty folder; nothing for a delete marker.
    pub kind: Option<EntryKind>,
    /// The file.
    pub file: FileId,
    /// The version.
    pub version: VersionId,
    /// Its number among the path's versions.
    pub number: u64,
    /// Bytes of plaintext.
    pub size: u64,
    /// BLAKE3 of the plaintext; nothing for a delete marker.
    pub hash: Option<Hash>,
    /// When the version was made.
    #[serde(with = "crate::moment")]
    pub created: Timestamp,
    /// When the source was last changed; 0 where unknown.
    #[serde(with = "crate::moment")]
    pub modified: Timestamp,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its note; empty for none.
    pub note: String,
    /// The scheme; nothing where the content lives in the catalog.
    pub scheme: Option<Scheme>,
    /// Stored with `--allow-degraded`.
    pub degraded: bool,
    /// A delete marker.
    pub deleted: bool,
    /// It was given up: its content is not to be had any more.
    pub purged: bool,
}

/// A page of a listing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ListReply {
    /// The rows.
    pub entries: Vec<ListEntry>,
    /// Where the next page begins.
    pub next: Option<Vec<u8>>,
}

/// Everything about one file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InfoRequest {
    /// A path, or the beginning of an id.
    pub name: String,
    /// Which version; the current one where there is none.
    pub version: Option<u64>,
}

/// A shard and its holder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShardInfo {
    /// Which shard.
    pub shard: u8,
    /// Who holds it.
    pub node: NodeId,
    /// The holder's failure domain, where it is known.
    pub domain: Option<String>,
}

/// A segment and where it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SegmentInfo {
    /// The segment.
    pub segment: SegmentId,
    /// Shards that holders have confirmed just now.
    pub shards: Vec<ShardInfo>,
    /// Confirmed distinct shards above k; negative where the segment cannot be read now.
    pub margin: Option<i32>,
}

/// Everything about one file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InfoReply {
    /// The version.
    pub version: FileVersion,
    /// How many versions the path has.
    pub versions: u64,
    /// Its segments; empty where the content lives in the catalog.
    pub segments: Vec<SegmentInfo>,
    /// The least margin of its segments now.
    pub margin: Option<i32>,
    /// Shards of it that are owed.
    pub owed: usize,
    /// Bytes that its put did not send, because the account had stored the same content already.
    pub known_bytes: u64,
    /// Leases of the account; nothing where leases do not end.
    pub leases: Option<LeaseState>,
    /// How the file is pinned; nothing where it is not.
    pub pin: Option<PinTerms>,
    /// Its shares, those that have ended too; without links.
    pub shares: Vec<ShareInfo>,
}

/// All versions of a path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VersionsRequest {
    /// A path, or the beginning of a file's id.
    pub name: String,
}

/// All versions of a path, the newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VersionsReply {
    /// The versions and delete markers.
    pub versions: Vec<FileVersion>,
}

/// Mark files as deleted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemoveRequest {
    /// Paths, or beginnings of ids.
    pub names: Vec<String>,
    /// Everything below the names, which are folders.
    pub recursive: bool,
}

/// What was marked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemoveReply {
    /// The paths, in order.
    pub removed: Vec<MeshPath>,
    /// Their versions stay, and so does the space that they take.
    pub space_freed: u64,
    /// Changes of the catalog that too few nodes have yet; see [`PutReply::pending`].
    pub pending: u64,
}

/// Give the content of a file, or of all files below a folder, another name too.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DuplicateRequest {
    /// A path, or the beginning of an id; with `recursive` a folder.
    pub name: String,
    /// The other name.
    pub to: MeshPath,
    /// Which version; the current one where there is none.
    pub version: Option<u64>,
    /// Everything below the folder `name`.
    pub recursive: bool,
    /// What has the other name already gets a new version.
    pub replace: bool,
}

/// Give a file, or a folder with everything below it, another name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenameRequest {
    /// A path, or the beginning of a file's id.
    pub name: String,
    /// The new name.
    pub to: MeshPath,
    /// What has that name already gets a new version.
    pub replace: bool,
}

/// A file and where it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedFile {
    /// The name that it had, or that it was duplicated from.
    pub from: MeshPath,
    /// The other name.
    pub to: MeshPath,
}

/// What has another name now. No byte of content was moved.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PlacedReply {
    /// The files, in the order of their old names.
    pub files: Vec<PlacedFile>,
    /// Changes of the catalog that too few nodes have yet; see [`PutReply::pending`].
    pub pending: u64,
}
