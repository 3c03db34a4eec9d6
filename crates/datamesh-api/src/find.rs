//! Requests that find files: by words, patterns, tags, types, sizes and dates, and by how often they were
//! fetched.

use datamesh_core::{MeshPath, Timestamp};
use serde::{Deserialize, Serialize};

use crate::files::{EntryFailure, FileVersion};

/// What narrows a search; all that is given must hold. The [grammar](crate::grammar) reads what people type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Only below this folder.
    pub folder: Option<MeshPath>,
    /// All these tags.
    pub tags: Vec<String>,
    /// One of these extensions, in small letters; any where there are none.
    pub extensions: Vec<String>,
    /// Bytes, from the first up to and with the second.
    pub size: Option<(u64, u64)>,
    /// When the version was stored, from the first up to and with the second, in ms since 1970.
    pub stored: Option<(Timestamp, Timestamp)>,
    /// A regular expression that fits somewhere in the path.
    pub pattern: Option<String>,
}

/// The order of what is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// What fits the words best first; by name where there are none.
    #[default]
    Fit,
    /// By name.
    Name,
    /// The smallest first.
    Size,
    /// What was stored first.
    Date,
}

/// Find files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SearchRequest {
    /// Words of names, folders, tags and notes: each must begin a word there; words in double quotes follow
    /// each other; a word behind a minus must not be there.
    pub words: Option<String>,
    /// What narrows it.
    pub filter: Filter,
    /// The order.
    pub sort: Sort,
    /// The other way round.
    pub reverse: bool,
    /// Files that are passed over first: those of the pages before.
    pub skip: usize,
    /// Most files, up to 10,000.
    pub limit: usize,
}

impl SearchRequest {
    /// Most files of one reply.
    pub const LIMIT_MAX: usize = 10_000;
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SearchReply {
    /// The files, in order.
    pub files: Vec<FileVersion>,
    /// There are more than these.
    pub more: bool,
}

/// Name the files that were fetched most often on this device.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PopularRequest {
    /// Fetches from the day of this time on, in UTC; at most 400 days are remembered.
    pub since: Timestamp,
    /// Which of them.
    pub filter: Filter,
    /// Most files, up to 10,000.
    pub limit: usize,
}

/// A file that was fetched.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PopularFile {
    /// The file as it is now.
    pub file: FileVersion,
    /// How often it was fetched whole on this device.
    pub fetches: u64,
    /// When last.
    #[serde(with = "crate::moment")]
    pub last_fetched: Timestamp,
}

/// The files that were fetched most often.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PopularReply {
    /// Those that are still there, the most popular first.
    pub files: Vec<PopularFile>,
}

/// Change tags and notes of files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LabelRequest {
    /// Paths, or patterns in which `*` stands for anything within a name, `**` for any folders, `?` for one
    /// character, `[ab]` for one of these and `{a,b}` for one of these words.
    pub patterns: Vec<String>,
    /// Tags to add.
    pub add: Vec<String>,
    /// Tags to take away.
    pub remove: Vec<String>,
    /// Another note; an empty one takes it away.
    pub note: Option<String>,
    /// Only tell what would be done.
    pub dry_run: bool,
}

/// A file that was labelled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabelledFile {
    /// Its name.
    pub path: MeshPath,
    /// Its tags now.
    pub tags: Vec<String>,
    /// Its note now.
    pub note: String,
    /// It is as it was.
    pub unchanged: bool,
}

/// What came of labelling.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LabelReply {
    /// The files.
    pub files: Vec<LabelledFile>,
    /// Files that were not labelled, and why.
    pub failed: Vec<EntryFailure>,
    /// Nothing was done, as that was asked for.
    pub dry_run: bool,
    /// Changes of the catalog that too few nodes have yet; see [`PutReply::pending`](crate::PutReply::pending).
    pub pending: u64,
}
