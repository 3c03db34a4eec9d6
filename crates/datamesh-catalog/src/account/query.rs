//! Questions about one path, file or version.

use datamesh_core::catalog::{Change, Delete, Operation, Put};
use datamesh_core::{FileId, LogId, MeshPath, VersionId};
use rusqlite::Connection;

use crate::error::{CatalogError, Result, damaged, read};
use crate::index::{self, Step};

use super::fold::{path_state, put_now};
use super::record::{
    FILES, FileState, LIVE, PathState, Place, Standing, Tally, VERSION_IDS, file_key, load,
    purged_key, require, rewritten_key, tally_key, version_id_key, versions_prefix,
};
use super::{AccountDb, conflict, labels, operations};

/// Most versions that one call returns. A version may hold a manifest of 16 KiB.
const VERSIONS_MAX: usize = 256;

/// Fewest digits that name a file or version: names that are no ids, a year or a word of such letters, are
/// shorter, and one of a million files begins with eight given ones in one of four thousand accounts.
const DIGITS_MIN: usize = 8;

/// One version of a file, or a delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Place among the path's versions and delete markers by clock; 1 is the first. It grows where
    /// an older operation of another device arrives late; the version id does not change.
    pub number: u64,
    /// The log that brought it.
    pub log: LogId,
    /// Its place in that log.
    pub sequence: u64,
    /// Its hybrid clock.
    pub clock: u64,
    /// It was given up: its content is not to be had any more.
    pub purged: bool,
    /// It is a conflict: a version beside the current one, listed under a name of its own.
    pub conflict: bool,
    /// Its note; empty for none.
    pub note: String,
    /// What it is.
    pub entry: Entry,
}

impl Version {
    /// The put, unless this is a delete marker.
    pub fn put(&self) -> Option<&Put> {
        match &self.entry {
            Entry::Put(put) => Some(put),
            Entry::Delete(_) => None,
        }
    }

    /// The version's id; a delete marker has one too.
    pub fn id(&self) -> VersionId {
        match &self.entry {
            Entry::Put(put) => put.version,
            Entry::Delete(delete) => delete.version,
        }
    }
}

/// What a version is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A content.
    Put(Box<Put>),
    /// A delete marker.
    Delete(Delete),
}

impl Entry {
    pub(super) fn path(&self) -> &MeshPath {
        match self {
            Self::Put(put) => &put.path,
            Self::Delete(delete) => &delete.path,
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A path that is or was there.
    Path(MeshPath),
    /// A file, with the path its newest operation names.
    File(FileId, MeshPath),
    /// One version, with its path.
    Version(VersionId, MeshPath),
}

/// Counts over the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Files that are not deleted.
    pub files: u64,
    /// Empty folders that are not deleted.
    pub folders: u64,
    /// Paths that were deleted.
    pub deleted: u64,
    /// Versions of all files, delete markers not counted.
    pub versions: u64,
    /// Bytes of plaintext in the current versions of the files that are not deleted.
    pub bytes: u64,
    /// Bytes of plaintext in all versions.
    pub version_bytes: u64,
    /// Operations of all logs.
    pub operations: u64,
    /// Shards that are owed.
    pub owed: u64,
}

impl AccountDb {
    /// The current version of `path`: a put, or a delete marker where it was deleted. Nothing where
    /// the path was never there.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn lookup(&self, path: &MeshPath) -> Result<Option<Version>> {
        self.query(|connection| match path_state(connection, path)? {
            None => Ok(None),
            Some(state) => current(connection, path, &state).map(Some),
        })
    }

    /// The file that `path` is or was, so that a new version of it names the same file, and the
    /// current version or delete marker, which that one replaces.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn current_at(&self, path: &MeshPath) -> Result<Option<(FileId, VersionId)>> {
        self.query(|connection| {
            Ok(path_state(connection, path)?.map(|state| (state.file, state.version)))
        })
    }

    /// The file that a new version of `path` is one of: the one that stands there, or stood there until it
    /// was deleted. Nothing where the path was never there, and where its file has another name since:
    /// what comes then is another file, and nobody with whom the first is shared gets to see it.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn file_at(&self, path: &MeshPath) -> Result<Option<FileId>> {
        self.query(|connection| {
            let Some(state) = path_state(connection, path)? else { return Ok(None) };
            if state.standing == Standing::Deleted {
                let known: Option<FileState> = load(connection, &file_key(&state.file), "a file")?;
                if known.is_some_and(|known| known.path != *path) {
                    return Ok(None);
                }
            }
            Ok(Some(state.file))
        })
    }

    /// The version of `path` with this number.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn version(&self, path: &MeshPath, number: u64) -> Result<Option<Version>> {
        let Some(before) = number.checked_sub(1) else {
            return Ok(None);
        };
        Ok(self.versions(path, before, 1)?.pop())
    }

    /// The version with this id.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn version_by_id(&self, version: &VersionId) -> Result<Option<Version>> {
        self.query(|connection| {
            let key = version_id_key(version);
            let Some(place) = load::<Place>(connection, &key, "a version")? else {
                return Ok(None);
            };
            let found = versioned(connection, operations::at(connection, &place)?, 0, true)?;
            if found.id() != *version {
                return Err(damaged("a version", "its operation makes another one"));
            }
            let path = found.entry.path().clone();
            let mut number = 0;
            index::walk_prefix(connection, &versions_prefix(&path), &[], |_, value| {
                number += 1;
                Ok(if read::<Place>("a version", value)? == place { Step::Stop } else { Step::On })
            })?;
            Ok(Some(Version { number, ..found }))
        })
    }

    /// Versions and delete markers of `path` after the one numbered `after`, by number, at most
    /// `limit` and 256.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn versions(&self, path: &MeshPath, after: u64, limit: usize) -> Result<Vec<Version>> {
        self.versions_after(path, after, limit.min(VERSIONS_MAX))
    }

    /// All versions and delete markers of `path`, by number.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn all_versions(&self, path: &MeshPath) -> Result<Vec<Version>> {
        self.versions_after(path, 0, usize::MAX)
    }

    fn versions_after(&self, path: &MeshPath, after: u64, limit: usize) -> Result<Vec<Version>> {
        self.query(|connection| {
            let Some(state) = path_state(connection, path)? else {
                return Ok(Vec::new());
            };
            let (mut number, mut found) = (0, Vec::new());
            if limit == 0 || after >= state.versions {
                return Ok(found);
            }
            if state.standing == Standing::Conflict {
                return Ok(vec![current(connection, path, &state)?]);
            }
            let rivals = conflict::rivals(connection, path)?;
            index::walk_prefix(connection, &versions_prefix(path), &[], |_, value| {
                number += 1;
                if number > after {
                    let place = read("a version", value)?;
                    let operation = operations::at(connection, &place)?;
                    let version = at_path(connection, operation, (number, true), path)?;
                    let conflict = rivals.0.iter().any(|rival| rival.version == version.id());
                    found.push(Version { conflict, ..version });
                }
                Ok(if found.len() < limit { Step::On } else { Step::Stop })
            })?;
            if found.len() < limit && number != state.versions {
                return Err(damaged("a path", "its number of versions is not what it says"));
            }
            Ok(found)
        })
    }

    /// Which of these versions were purged, in the order given.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn purged(&self, versions: &[VersionId]) -> Result<Vec<bool>> {
        self.query(|connection| {
            let purged = |version| Ok(index::get(connection, &purged_key(version))?.is_some());
            versions.iter().map(purged).collect()
        })
    }

    /// The notes of these versions, empty for none, in the order given.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn notes(&self, versions: &[VersionId]) -> Result<Vec<String>> {
        self.query(|connection| {
            versions.iter().map(|version| labels::note(connection, version)).collect()
        })
    }

    /// For each of these versions the log and sequence of the operation that says where its content is
    /// now; nothing where that is its put. In the order given.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn rewritten(&self, versions: &[VersionId]) -> Result<Vec<Option<(LogId, u64)>>> {
        self.query(|connection| {
            let rewritten = |version| {
                let key = rewritten_key(version);
                let Some(place) = load::<Place>(connection, &key, "a rewritten version")? else {
                    return Ok(None);
                };
                let operation = operations::at(connection, &place)?;
                Ok(Some((operation.log, operation.sequence)))
            };
            versions.iter().map(rewritten).collect()
        })
    }

    /// What `name` stands for: a path, or at least four hexadecimal digits that begin the id of
    /// exactly one file or version. A path goes before an id.
    ///
    /// # Errors
    /// [`CatalogError::Ambiguous`] where several ids begin so.
    pub fn resolve(&self, name: &str) -> Result<Option<Named>> {
        self.query(|connection| {
            if let Ok(path) = name.parse::<MeshPath>()
                && path_state(connection, &path)?.is_some()
            {
                return Ok(Some(Named::Path(path)));
            }
            let digits = name.len() >= DIGITS_MIN
                && name.len() <= 2 * FileId::SIZE
                && name.bytes().all(|digit| digit.is_ascii_hexdigit());
            // Whoever names a folder does not mean a file whose id begins alike.
            if !digits || is_folder(connection, name)? {
                return Ok(None);
            }
            let ambiguous = || Err(CatalogError::Ambiguous { digits: name.to_owned() });
            let file = by_digits(connection, FILES, name)?;
            let version = by_digits(connection, VERSION_IDS, name)?;
            match (file, version) {
                (Found::None, Found::None) => Ok(None),
                (Found::One(id, value), Found::None) => {
                    let state: FileState = read("a file", &value)?;
                    Ok(Some(Named::File(FileId(id), state.path)))
                }
                (Found::None, Found::One(id, value)) => {
                    let place = read("a version", &value)?;
                    let found =
                        versioned(connection, operations::at(connection, &place)?, 0, true)?;
                    Ok(Some(Named::Version(VersionId(id), found.entry.path().clone())))
                }
                _ => ambiguous(),
            }
        })
    }

    /// Whether files lie below this name now.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn is_folder(&self, name: &str) -> Result<bool> {
        self.query(|connection| is_folder(connection, name))
    }

    /// Counts over the catalog; kept with every operation, so asking costs nothing.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the counts cannot be proved.
    pub fn totals(&self) -> Result<Totals> {
        self.query(|connection| {
            let tally: Tally = require(connection, &tally_key(), "the counts")?;
            Ok(Totals {
                files: tally.files,
                folders: tally.folders,
                deleted: tally.deleted,
                versions: tally.versions,
                bytes: tally.bytes,
                version_bytes: tally.version_bytes,
                operations: tally.operations,
                owed: tally.owed,
            })
        })
    }
}

/// The current version of a path.
pub(super) fn current(
    connection: &Connection,
    path: &MeshPath,
    state: &PathState,
) -> Result<Version> {
    let operation = operations::at(connection, &state.place)?;
    if state.standing != Standing::Conflict {
        return at_path(connection, operation, (state.versions, state.tags.labelled), path);
    }
    let version = versioned(connection, operation, state.versions, state.tags.labelled)?;
    match version.entry {
        Entry::Put(put) => {
            let entry = Entry::Put(Box::new(Put { path: path.clone(), ..*put }));
            Ok(Version { conflict: true, entry, ..version })
        }
        Entry::Delete(_) => Err(damaged("a conflict", "its operation puts no file")),
    }
}

fn at_path(
    connection: &Connection,
    operation: Operation,
    (number, labelled): (u64, bool),
    path: &MeshPath,
) -> Result<Version> {
    let version = versioned(connection, operation, number, labelled)?;
    if version.entry.path() == path {
        Ok(version)
    } else {
        Err(damaged("a version", "its operation names another path"))
    }
}

/// The version that an operation made; `labelled` where it may have labels.
pub(super) fn versioned(
    connection: &Connection,
    operation: Operation,
    number: u64,
    labelled: bool,
) -> Result<Version> {
    let Operation { log, sequence, clock, change, .. } = operation;
    let mut note = String::new();
    let entry = match change {
        Change::Put(put) => {
            let mut put = put_now(connection, put)?;
            if labelled {
                (*put, note) = labels::apply(connection, *put)?;
            }
            Entry::Put(put)
        }
        Change::Delete(delete) => Entry::Delete(delete),
        Change::Purge(_)
        | Change::Rewrite(_)
        | Change::Label(_)
        | Change::Pin(_)
        | Change::Share(_)
        | Change::Unshare(_)
        | Change::Unknown { .. } => {
            return Err(damaged("a version", "its operation makes no version"));
        }
    };
    let (purged, conflict) = (false, false);
    let version = Version { number, log, sequence, clock, purged, conflict, note, entry };
    let purged = index::get(connection, &purged_key(&version.id()))?.is_some();
    Ok(Version { purged, ..version })
}

/// Whether files lie below a name.
fn is_folder(connection: &Connection, name: &str) -> Result<bool> {
    let (below, mut found) = (format!("{name}/"), false);
    index::walk_prefix(connection, LIVE, below.as_bytes(), |path, _| {
        found = path.starts_with(below.as_bytes());
        Ok(Step::Stop)
    })?;
    Ok(found)
}

enum Found {
    None,
    One([u8; 16], Vec<u8>),
    Several,
}

/// Ids under `prefix` that begin with hexadecimal digits.
fn by_digits(connection: &Connection, prefix: &[u8], digits: &str) -> Result<Found> {
    let digits = digits.to_ascii_lowercase();
    // The lowest id that begins so: the digits, then zeros.
    let lowest: FileId = format!("{digits:0<32}")
        .parse()
        .map_err(|_| damaged("a name", "its digits are not hexadecimal"))?;
    let mut found = Found::None;
    index::walk_prefix(connection, prefix, &lowest.0, |id, value| {
        let id: [u8; 16] = id.try_into().map_err(|_| damaged("an id", "its length is wrong"))?;
        if !FileId(id).to_string().starts_with(&digits) {
            return Ok(Step::Stop);
        }
        if matches!(found, Found::One(..)) {
            found = Found::Several;
            return Ok(Step::Stop);
        }
        found = Found::One(id, value.to_vec());
        Ok(Step::On)
    })?;
    Ok(found)
}
