//! Listings, page by page, in the byte order of paths.
//!
//! A page is complete: between its first and its last row nothing that belongs there is missing.
//! Pages are read at different times, so a file that appears or goes meanwhile may be in or out.

use datamesh_core::catalog::{Change, Delete, EntryKind, Protection, Put};
use datamesh_core::{FileId, Hash, MeshPath, Timestamp, VersionId};
use rusqlite::Connection;

use crate::error::{CatalogError, Result, damaged, read};
use crate::index::{self, Step};

use super::fold::put_now;
use super::record::{DELETED, LIVE, PathState, Standing, live_key, load, tag_prefix};
use super::{AccountDb, conflict, labels, operations};

/// Most rows of a page.
pub const PAGE_ROWS_MAX: usize = 10_000;

/// A page ends after about this many bytes of names and tags.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Files looked at for one page: a page of a rare combination of tags may be short, or even empty,
/// with more to come.
const PAGE_VISITS_MAX: usize = 50_000;

/// Which files to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Only what is below this folder; everything where there is none.
    pub folder: Option<MeshPath>,
    /// Everything below, to any depth; otherwise what is directly in the folder, with the folders
    /// there named once each.
    pub recursive: bool,
    /// Only files that have all these tags. The first is looked up, the others are compared, so
    /// the rarest should be the first.
    pub tags: Vec<String>,
    /// Most rows, up to [`PAGE_ROWS_MAX`]; none stands for that many.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub after: Option<Cursor>,
}

/// Where a page ended; means nothing outside of a query with the same folder, tags and depth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

impl Cursor {
    /// The cursor's bytes, to be handed to a caller who will bring them back.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A cursor that was handed out. Any bytes are a valid place in the order of paths.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`] for more bytes than a path may have.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bound = MeshPath::BYTES_MAX + 1;
        if bytes.len() > bound {
            return Err(CatalogError::TooMany { what: "cursor bytes", count: bytes.len(), bound });
        }
        Ok(Self(bytes.to_vec()))
    }
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Listed>,
    /// Where the next page begins; nothing where there is no more.
    pub next: Option<Cursor>,
}

/// One row of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// A file, or an empty folder.
    Entry(Box<Summary>),
    /// A folder that exists by the files below it.
    Folder(MeshPath),
}

impl Listed {
    /// Its path.
    pub fn path(&self) -> &MeshPath {
        match self {
            Self::Entry(summary) => &summary.path,
            Self::Folder(path) => path,
        }
    }
}

/// The current version of a path without its key and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The name.
    pub path: MeshPath,
    /// The file.
    pub file: FileId,
    /// The version.
    pub version: VersionId,
    /// How many versions and delete markers the path has; also the number of the current one.
    pub versions: u64,
    /// File or empty folder.
    pub kind: EntryKind,
    /// POSIX permission bits; 0 where unknown.
    pub mode: u32,
    /// When the source was last changed; 0 where unknown.
    pub modified: Timestamp,
    /// When the version was made.
    pub created: Timestamp,
    /// Bytes of plaintext.
    pub size: u64,
    /// BLAKE3 of the plaintext.
    pub hash: Hash,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its note; empty for none.
    pub note: String,
    /// How safely it was stored.
    pub protection: Option<Protection>,
}

impl Summary {
    fn of(put: Put, note: String, versions: u64) -> Self {
        let Put { path, file, version, kind, mode, modified, created, size, hash, .. } = put;
        let (tags, protection) = (put.tags, put.protection);
        Self {
            path,
            file,
            version,
            versions,
            kind,
            mode,
            modified,
            created,
            size,
            hash,
            tags,
            note,
            protection,
        }
    }
}

impl AccountDb {
    /// One page of the files that are not deleted.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where a row cannot be proved.
    pub fn list(&self, query: &ListQuery) -> Result<Page> {
        self.query(|connection| list(connection, query))
    }

    /// What a list says of this one path; nothing where no file or empty folder has it now.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn summary(&self, path: &MeshPath) -> Result<Option<Summary>> {
        self.query(|connection| match load::<PathState>(connection, &live_key(path), "a path")? {
            Some(state) => summary(connection, path, &state).map(Some),
            None => Ok(None),
        })
    }

    /// What a list says of a path and of the conflicts of its versions: those of them that are listed.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn listed_of(&self, path: &MeshPath) -> Result<Vec<Summary>> {
        self.query(|connection| {
            let mut paths = conflict::names(connection, path)?;
            paths.insert(0, path.clone());
            let mut found = Vec::new();
            for path in paths {
                if let Some(state) = load::<PathState>(connection, &live_key(&path), "a path")? {
                    found.push(summary(connection, &path, &state)?);
                }
            }
            Ok(found)
        })
    }

    /// Deleted paths and their delete markers after the path `after`, at most `limit` and 1000.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where a row cannot be proved.
    pub fn deleted(&self, after: Option<&MeshPath>, limit: usize) -> Result<Vec<Delete>> {
        const ROWS_MAX: usize = 1000;
        let limit = limit.min(ROWS_MAX);
        let from = after.map_or_else(Vec::new, |path| following(path.as_str().as_bytes()));
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.query(|connection| {
            index::walk_prefix(connection, DELETED, &from, |path, value| {
                let path = path_of(path)?;
                let state: PathState = read("a path", value)?;
                match operations::at(connection, &state.place)?.change {
                    Change::Delete(delete) if delete.path == path => found.push(delete),
                    _ => return Err(damaged("a path", "its operation does not delete it")),
                }
                Ok(if found.len() < limit { Step::On } else { Step::Stop })
            })
        })?;
        Ok(found)
    }
}

/// The lowest bytes above `path`.
fn following(path: &[u8]) -> Vec<u8> {
    [path, &[0]].concat()
}

/// The lowest bytes above everything below the folder `path`: the byte after the slash.
fn past_folder(path: &str) -> Vec<u8> {
    [path.as_bytes(), b"0"].concat()
}

fn path_of(bytes: &[u8]) -> Result<MeshPath> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| damaged("a path", "it cannot be a path"))
}

fn list(connection: &Connection, query: &ListQuery) -> Result<Page> {
    let limit = query.limit.unwrap_or(PAGE_ROWS_MAX).min(PAGE_ROWS_MAX);
    let below = query.folder.as_ref().map_or_else(String::new, |folder| format!("{folder}/"));
    let prefix = query.tags.first().map_or_else(|| LIVE.to_vec(), |tag| tag_prefix(tag));
    let from = match &query.after {
        Some(Cursor(after)) => after.clone().max(below.clone().into_bytes()),
        None => below.clone().into_bytes(),
    };
    let mut page = Page { rows: Vec::new(), next: None };
    if limit == 0 {
        page.next = Some(Cursor(from));
        return Ok(page);
    }
    let (mut bytes, mut visits) = (0, 0);
    index::walk_prefix(connection, &prefix, &from, |path, value| {
        let path = path_of(path)?;
        let Some(rest) = path.as_str().strip_prefix(&below) else {
            return Ok(Step::Stop);
        };
        if page.rows.len() >= limit || bytes >= PAGE_BYTES_MAX || visits >= PAGE_VISITS_MAX {
            page.next = Some(Cursor(path.as_str().as_bytes().to_vec()));
            return Ok(Step::Stop);
        }
        visits += 1;
        let state = match query.tags.is_empty() {
            true => read("a path", value)?,
            false => load(connection, &live_key(&path), "a path")?
                .ok_or_else(|| damaged("a tag", "its path is missing"))?,
        };
        let inner = rest.split_once('/').map(|(name, _)| format!("{below}{name}"));
        let folder = inner.filter(|_| !query.recursive);
        // With one tag or none the index says all that a folder's row needs.
        if query.tags.len() > 1 || folder.is_none() {
            let summary = summary(connection, &path, &state)?;
            if !query.tags.iter().all(|tag| summary.tags.contains(tag)) {
                return Ok(Step::On);
            }
            if folder.is_none() {
                bytes += 256 + summary.path.as_str().len();
                bytes += summary.tags.iter().map(|tag| 24 + tag.len()).sum::<usize>();
                page.rows.push(Listed::Entry(Box::new(summary)));
                return Ok(Step::On);
            }
        }
        let Some(folder) = folder else {
            return Ok(Step::On);
        };
        let past = past_folder(&folder);
        let folder = path_of(folder.as_bytes())?;
        // A folder that was put by itself is a row of its own already, unless the tags exclude it.
        if !listed_by_itself(connection, &folder, query)? {
            bytes += 64 + folder.as_str().len();
            page.rows.push(Listed::Folder(folder));
        }
        Ok(Step::Seek(past))
    })?;
    Ok(page)
}

fn summary(connection: &Connection, path: &MeshPath, state: &PathState) -> Result<Summary> {
    let put = match operations::at(connection, &state.place)?.change {
        Change::Put(put) if put.path == *path => put,
        Change::Put(put) if state.standing == Standing::Conflict => {
            Box::new(Put { path: path.clone(), ..*put })
        }
        _ => return Err(damaged("a path", "its operation does not put it")),
    };
    let put = *put_now(connection, put)?;
    let (put, note) = match state.tags.labelled {
        false => (put, String::new()),
        true => labels::apply(connection, put)?,
    };
    Ok(Summary::of(put, note, state.versions))
}

fn listed_by_itself(connection: &Connection, folder: &MeshPath, query: &ListQuery) -> Result<bool> {
    match load::<PathState>(connection, &live_key(folder), "a path")? {
        Some(state) if state.standing == Standing::Folder => {
            let summary = summary(connection, folder, &state)?;
            Ok(query.tags.iter().all(|tag| summary.tags.contains(tag)))
        }
        _ => Ok(false),
    }
}
