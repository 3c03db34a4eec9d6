//! Requests about pins: files that are not swept, and are mended before others.

use datamesh_core::{FileId, MeshPath, Timestamp};
use serde::{Deserialize, Serialize};

use crate::files::EntryFailure;

/// How a file is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinTerms {
    /// 1 to 10: of segments that are equally near to being lost, those of the higher priority are mended
    /// first.
    pub priority: u8,
    /// When the pin ends; null where it does not.
    #[serde(with = "crate::moment")]
    pub until: Timestamp,
}

/// Pin files, or pin them no longer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PinRequest {
    /// Paths and patterns; see [`LabelRequest::patterns`](crate::LabelRequest::patterns).
    pub patterns: Vec<String>,
    /// The priority, 1 to 10; nothing for files that are to be pinned no longer.
    pub priority: Option<u8>,
    /// After how many milliseconds the pin ends; 0 for never.
    pub term_ms: u64,
}

/// A file whose pin changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PinnedPath {
    /// Its name.
    pub path: MeshPath,
    /// It is as it was.
    pub unchanged: bool,
}

/// What came of pinning.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PinReply {
    /// The files.
    pub files: Vec<PinnedPath>,
    /// Paths where no file is.
    pub failed: Vec<EntryFailure>,
    /// Segments whose holders were to be told: of these files, and of others of which they had not been
    /// told.
    pub segments: u64,
    /// Those of which enough holders know it now. A running service goes on telling the others.
    pub told: u64,
    /// Versions whose segments are not known, because their manifest cannot be read now.
    pub unread: u64,
    /// Changes of the catalog that too few nodes have yet; see [`PutReply::pending`](crate::PutReply::pending).
    pub pending: u64,
}

/// List what is pinned.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PinsRequest {}

/// A file that is pinned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PinnedFile {
    /// The file.
    pub file: FileId,
    /// Its name; nothing where this device has not heard of it yet.
    pub path: Option<MeshPath>,
    /// It was removed.
    pub deleted: bool,
    /// How it is pinned.
    #[serde(flatten)]
    pub terms: PinTerms,
    /// Since when.
    #[serde(with = "crate::moment")]
    pub since: Timestamp,
}

/// What is pinned.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PinsReply {
    /// The files, in the order of their names.
    pub pins: Vec<PinnedFile>,
}
