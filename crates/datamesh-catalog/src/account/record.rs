//! Keys and values of the derived map. Numbers in keys are big-endian, so that byte order is their
//! order; a path in a key that goes on ends with a zero byte, which no path holds.
//!
//! | key | value | |
//! |---|---|---|
//! | `a` | [`OwnerRecord`] | whose catalog this is |
//! | `b` log | nothing | a log of this device that it does not know all of by itself: it goes on in another |
//! | `c` | [`Tally`] | counts, and the highest clock seen |
//! | `d` path | [`PathState`] | a deleted path |
//! | `e` | an epochs record | the newest that was seen, as it came |
//! | `f` file id | [`FileState`] | the newest operation that names the file |
//! | `g` version id, clock, device | [`Place`] | a label of the version |
//! | `h` content tag | version id | a version that has the content |
//! | `i` version id | [`Place`] | the operation that made the version |
//! | `j` log | [`Count`] | up to which operation the contents of a log were told |
//! | `k` file id | [`Place`] | the newest pin of the file |
//! | `l` device | [`LogState`] | the end of a log |
//! | `m` share | [`ShareTold`] | what was published of a share |
//! | `n` path | [`Rivals`](super::conflict::Rivals) | versions beside the current one |
//! | `o` segment, shard | version id | a shard not yet stored |
//! | `p` path | [`PathState`] | a path that is not deleted, or the name of a conflict |
//! | `r` version id | nothing | a version that an operation replaces which did not find it current |
//! | `s` share | [`Place`] | the operation that made the share |
//! | `t` length, tag, path | nothing | a path whose current version has the tag |
//! | `u` segment | [`Count`] | operations that ever referred to the segment |
//! | `v` path, 0, clock, device | [`Place`] | a version or delete marker of a path |
//! | `w` version id | [`Place`] | the operation that says where the version's content is now, if not its put |
//! | `x` version id | nothing | a version that was purged, known or not |
//! | `y` segment | [`Promise`] | a segment to be renewed once an operation is published |
//! | `z` share | nothing | a share that was ended, known or not |

use datamesh_core::catalog::{EntryKind, Operation};
use datamesh_core::wire::{Decode, Encode, Reader, WireError, Writer};
use datamesh_core::{
    AccountId, ContentTag, FileId, Hash, LogId, MeshPath, PublicKey, SegmentId, VersionId, record,
};
use rusqlite::Connection;

use crate::error::{Result, damaged, read};
use crate::index;

/// Bits of an operation's row id that count within its log. Leaves room for 2²³ logs.
const SEQUENCE_BITS: u32 = 40;

/// Highest sequence that fits a row id.
pub(super) const SEQUENCE_MAX: u64 = (1 << SEQUENCE_BITS) - 1;

/// Most logs of an account.
pub(super) const LOGS_MAX: u64 = 1 << 16;

record! {
    /// Whose catalog this is.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct OwnerRecord {
        pub account: AccountId,
        /// The log that this device adds to.
        pub log: LogId,
        /// 1 where the catalog has all that the account ever committed, as far as it was told; 0
        /// while it is being restored.
        pub whole: u8,
    }
}

record! {
    /// Counts over the whole catalog.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Tally {
        pub logs: u64,
        pub operations: u64,
        pub files: u64,
        pub folders: u64,
        pub deleted: u64,
        pub versions: u64,
        pub bytes: u64,
        pub version_bytes: u64,
        pub owed: u64,
        pub clock: u64,
    }
}

record! {
    /// The end of a log.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LogState {
        pub number: u64,
        pub key: PublicKey,
        pub sequence: u64,
        pub hash: Hash,
        pub clock: u64,
    }
}

impl LogState {
    /// A log without operations.
    pub(super) fn first(number: u64, key: PublicKey) -> Self {
        Self { number, key, sequence: 0, hash: Hash([0; 32]), clock: 0 }
    }

    /// Row id of the log's operation `sequence`.
    pub(super) fn row(&self, sequence: u64) -> u64 {
        self.number << SEQUENCE_BITS | sequence
    }
}

record! {
    /// Where an operation is, its hash, and its rank among the operations of the account.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Place {
        pub row: u64,
        pub hash: Hash,
        pub clock: u64,
        pub log: LogId,
    }
}

impl Place {
    pub(super) fn of(operation: &Operation, hash: Hash, row: u64) -> Self {
        Self { row, hash, clock: operation.clock, log: operation.log }
    }

    /// Of two operations on the same thing the one with the higher rank counts.
    pub(super) fn rank(&self) -> (u64, LogId) {
        (self.clock, self.log)
    }
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    File,
    Folder,
    Deleted,
    /// A version of another path, under the name of its conflict.
    Conflict,
}

impl From<EntryKind> for Standing {
    fn from(kind: EntryKind) -> Self {
        match kind {
            EntryKind::File => Self::File,
            EntryKind::Folder => Self::Folder,
        }
    }
}

impl Encode for Standing {
    fn encode(&self, out: &mut Writer) {
        out.u8(match self {
            Self::File => 1,
            Self::Folder => 2,
            Self::Deleted => 3,
            Self::Conflict => 4,
        });
    }
}

impl Decode for Standing {
    fn decode(from: &mut Reader<'_>) -> std::result::Result<Self, WireError> {
        match from.u8()? {
            1 => Ok(Self::File),
            2 => Ok(Self::Folder),
            3 => Ok(Self::Deleted),
            4 => Ok(Self::Conflict),
            _ => Err(WireError::Invalid { field: "standing" }),
        }
    }
}

/// How many tags the current version of a path has, and whether it has labels. Two bytes: the highest bit says
/// the latter, which catalogs of before there were labels have not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TagCount {
    pub(super) count: u16,
    pub(super) labelled: bool,
}

impl TagCount {
    const LABELLED: u16 = 1 << 15;

    /// Of these tags.
    pub(super) fn of(tags: &[String], labelled: bool) -> Self {
        Self { count: tags.len() as u16, labelled }
    }
}

impl Encode for TagCount {
    fn encode(&self, out: &mut Writer) {
        out.u16(self.count | if self.labelled { Self::LABELLED } else { 0 });
    }
}

impl Decode for TagCount {
    fn decode(from: &mut Reader<'_>) -> std::result::Result<Self, WireError> {
        let bits = from.u16()?;
        Ok(Self { count: bits & !Self::LABELLED, labelled: bits & Self::LABELLED != 0 })
    }
}

record! {
    /// A path: its current version and what the counts need of it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PathState {
        pub place: Place,
        pub file: FileId,
        pub version: VersionId,
        pub standing: Standing,
        pub size: u64,
        pub tags: TagCount,
        pub versions: u64,
    }
}

record! {
    /// A count.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Count {
        pub count: u64,
    }
}

record! {
    /// The newest operation of this device that refers to a segment which was there before.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Promise {
        pub log: LogId,
        pub sequence: u64,
    }
}

record! {
    /// What this device published of a share, or saw published.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ShareTold {
        first: u64,
        second: u64,
    }
}

impl ShareTold {
    /// With this mark.
    pub(super) fn of(mark: [u8; 16]) -> Self {
        let number = u128::from_le_bytes(mark);
        Self { first: number as u64, second: (number >> 64) as u64 }
    }

    /// The mark.
    pub(super) fn mark(&self) -> [u8; 16] {
        (u128::from(self.second) << 64 | u128::from(self.first)).to_le_bytes()
    }
}

record! {
    /// A file: where its newest operation put it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FileState {
        pub place: Place,
        pub path: MeshPath,
    }
}

pub(super) fn owner_key() -> Vec<u8> {
    vec![b'a']
}

pub(super) fn tally_key() -> Vec<u8> {
    vec![b'c']
}

pub(super) fn epochs_key() -> Vec<u8> {
    vec![b'e']
}

pub(super) fn log_key(log: &LogId) -> Vec<u8> {
    [b"l", &log.0[..]].concat()
}

pub(super) const LOGS: &[u8] = b"l";
pub(super) const LIVE: &[u8] = b"p";
pub(super) const DELETED: &[u8] = b"d";
pub(super) const FILES: &[u8] = b"f";
pub(super) const VERSION_IDS: &[u8] = b"i";
pub(super) const OWED: &[u8] = b"o";

pub(super) fn live_key(path: &MeshPath) -> Vec<u8> {
    [LIVE, path.as_str().as_bytes()].concat()
}

pub(super) fn deleted_key(path: &MeshPath) -> Vec<u8> {
    [DELETED, path.as_str().as_bytes()].concat()
}

pub(super) fn file_key(file: &FileId) -> Vec<u8> {
    [FILES, &file.0].concat()
}

pub(super) fn version_id_key(version: &VersionId) -> Vec<u8> {
    [VERSION_IDS, &version.0].concat()
}

/// Before the labels of a version.
pub(super) fn labels_prefix(version: &VersionId) -> Vec<u8> {
    [b"g", &version.0[..]].concat()
}

pub(super) fn label_key(version: &VersionId, clock: u64, log: &LogId) -> Vec<u8> {
    [&labels_prefix(version)[..], &clock.to_be_bytes(), &log.0].concat()
}

pub(super) const PINS: &[u8] = b"k";

pub(super) fn pin_key(file: &FileId) -> Vec<u8> {
    [PINS, &file.0].concat()
}

pub(super) fn rewritten_key(version: &VersionId) -> Vec<u8> {
    [b"w", &version.0[..]].concat()
}

pub(super) fn purged_key(version: &VersionId) -> Vec<u8> {
    [b"x", &version.0[..]].concat()
}

pub(super) fn rivals_key(path: &MeshPath) -> Vec<u8> {
    [b"n", path.as_str().as_bytes()].concat()
}

pub(super) fn seen_key(version: &VersionId) -> Vec<u8> {
    [b"r", &version.0[..]].concat()
}

pub(super) fn owed_key(segment: &SegmentId, shard: u8) -> Vec<u8> {
    [OWED, &segment.0, &[shard]].concat()
}

pub(super) fn content_key(tag: &ContentTag) -> Vec<u8> {
    [b"h", &tag.0[..]].concat()
}

pub(super) fn indexed_key(log: &LogId) -> Vec<u8> {
    [b"j", &log.0[..]].concat()
}

pub(super) fn uses_key(segment: &SegmentId) -> Vec<u8> {
    [b"u", &segment.0[..]].concat()
}

pub(super) const BEHIND: &[u8] = b"b";

pub(super) fn behind_key(log: &LogId) -> Vec<u8> {
    [BEHIND, &log.0].concat()
}

pub(super) const PROMISES: &[u8] = b"y";

pub(super) fn promise_key(segment: &SegmentId) -> Vec<u8> {
    [PROMISES, &segment.0].concat()
}

pub(super) const SHARES: &[u8] = b"s";
pub(super) const SHARES_TOLD: &[u8] = b"m";

pub(super) fn share_key(share: &PublicKey) -> Vec<u8> {
    [SHARES, &share.0].concat()
}

pub(super) fn share_told_key(share: &PublicKey) -> Vec<u8> {
    [SHARES_TOLD, &share.0].concat()
}

pub(super) fn unshared_key(share: &PublicKey) -> Vec<u8> {
    [b"z", &share.0[..]].concat()
}

/// Before the paths that have a tag. The length keeps one tag from beginning another.
pub(super) fn tag_prefix(tag: &str) -> Vec<u8> {
    [b"t", &(tag.len() as u16).to_be_bytes()[..], tag.as_bytes()].concat()
}

pub(super) fn tag_key(tag: &str, path: &MeshPath) -> Vec<u8> {
    [&tag_prefix(tag), path.as_str().as_bytes()].concat()
}

/// Before the versions of a path.
pub(super) fn versions_prefix(path: &MeshPath) -> Vec<u8> {
    [b"v", path.as_str().as_bytes(), &[0]].concat()
}

pub(super) fn version_key(path: &MeshPath, clock: u64, log: &LogId) -> Vec<u8> {
    [&versions_prefix(path)[..], &clock.to_be_bytes(), &log.0].concat()
}

/// The record at `key`.
pub(super) fn load<T: Decode>(
    connection: &Connection,
    key: &[u8],
    what: &'static str,
) -> Result<Option<T>> {
    index::get(connection, key)?.map(|value| read(what, &value)).transpose()
}

/// The record at `key`, which must be there.
pub(super) fn require<T: Decode>(
    connection: &Connection,
    key: &[u8],
    what: &'static str,
) -> Result<T> {
    load(connection, key, what)?.ok_or_else(|| damaged(what, "it is missing"))
}

/// Sets the record at `key`.
pub(super) fn save(connection: &Connection, key: &[u8], value: &impl Encode) -> Result<()> {
    index::put(connection, key, &value.to_bytes())
}
