//! Shares: who files are shared with, what each shows now, and what was published of it.
//!
//! A share follows its file through renames and new versions; an end counts whether it comes before or
//! after its share. What this device published of a share is kept beside it: it follows from no operation,
//! and a device that has forgotten it looks at the mesh again.

use datamesh_core::catalog::{Change, Put};
use datamesh_core::share::{Share, Unshare};
use datamesh_core::{FileId, MeshPath, PublicKey};
use rusqlite::Connection;

use crate::error::{CatalogError, Result, damaged, read};
use crate::index::{self, Step};
use crate::points;

use super::query::{Entry, current, versioned};
use super::record::{
    FileState, Place, SHARES, ShareTold, Standing, file_key, load, purged_key, save, share_key,
    share_told_key, unshared_key,
};
use super::{AccountDb, fold, operations};

/// Most shares that one call returns, at some 2 KiB each.
const PAGE_MAX: usize = 256;

/// A share of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownShare {
    /// As it was made.
    pub share: Share,
    /// It was ended.
    pub ended: bool,
    /// The mark of what this device last published of it, or saw published; nothing where it does not know.
    pub told: Option<[u8; 16]>,
}

/// What a shared file is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedFile {
    /// It has this version, under this name.
    Is(Box<Put>, MeshPath),
    /// It was deleted, or its version was given up.
    Deleted,
    /// Nothing is known of it yet: its operations are still to come.
    Unknown,
}

impl AccountDb {
    /// Shares in the order of their keys, those behind `after`, at most `limit` and 256.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn shares(&self, after: Option<&PublicKey>, limit: usize) -> Result<Vec<KnownShare>> {
        let limit = limit.min(PAGE_MAX);
        self.query(|connection| {
            let mut places: Vec<(PublicKey, Place)> = Vec::new();
            if limit == 0 {
                return Ok(Vec::new());
            }
            let from: &[u8] = after.map_or(&[], |after| &after.0);
            index::walk_prefix(connection, SHARES, from, |key, value| {
                let wrong =
                    |_| -> CatalogError { damaged("a share", "its key has a wrong length") };
                let key = PublicKey(key.try_into().map_err(wrong)?);
                if after.is_none_or(|after| *after < key) {
                    places.push((key, read("a share", value)?));
                }
                Ok(if places.len() < limit { Step::On } else { Step::Stop })
            })?;
            places.iter().map(|(key, place)| known(connection, key, place)).collect()
        })
    }

    /// The share with this key.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn share(&self, share: &PublicKey) -> Result<Option<KnownShare>> {
        self.query(|connection| {
            let place: Option<Place> = load(connection, &share_key(share), "a share")?;
            place.map(|place| known(connection, share, &place)).transpose()
        })
    }

    /// What a file is now, for those whom it is shared with.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn shared_file(&self, file: &FileId) -> Result<SharedFile> {
        self.query(|connection| {
            let Some(state) = load::<FileState>(connection, &file_key(file), "a file")? else {
                return Ok(SharedFile::Unknown);
            };
            let there = fold::path_state(connection, &state.path)?;
            let version = match there.filter(|there| there.file == *file) {
                Some(there) if there.standing == Standing::Deleted => {
                    return Ok(SharedFile::Deleted);
                }
                Some(there) => current(connection, &state.path, &there)?,
                // Another file has its name: its own newest version is still what is shared.
                None => {
                    let operation = operations::at(connection, &state.place)?;
                    versioned(connection, operation, 0, false)?
                }
            };
            let purged = index::get(connection, &purged_key(&version.id()))?.is_some();
            Ok(match version.entry {
                Entry::Put(put) if !purged => SharedFile::Is(put, state.path),
                _ => SharedFile::Deleted,
            })
        })
    }

    /// Keeps the mark of what was published of a share, synced.
    ///
    /// # Errors
    /// [`CatalogError`] where it cannot be written.
    pub fn note_share(&self, share: &PublicKey, mark: [u8; 16]) -> Result<()> {
        self.write(points::CATALOG_SHARE, |connection| {
            save(connection, &share_told_key(share), &ShareTold::of(mark))
        })
    }
}

fn known(connection: &Connection, key: &PublicKey, place: &Place) -> Result<KnownShare> {
    let share = match operations::at(connection, place)?.change {
        Change::Share(share) if share.share == *key => *share,
        _ => return Err(damaged("a share", "its operation makes another one")),
    };
    let ended = index::get(connection, &unshared_key(key))?.is_some();
    let told: Option<ShareTold> = load(connection, &share_told_key(key), "a published share")?;
    Ok(KnownShare { share, ended, told: told.map(|told| told.mark()) })
}

/// Folds a share.
pub(super) fn fold_share(connection: &Connection, share: &Share, place: &Place) -> Result<()> {
    let key = share_key(&share.share);
    let known: Option<Place> = load(connection, &key, "a share")?;
    // A share is made once; of two with one key the first counts, whichever arrives first.
    if known.is_none_or(|known| place.rank() < known.rank()) {
        save(connection, &key, place)?;
    }
    Ok(())
}

/// Folds the end of a share, which may be still to come.
pub(super) fn fold_unshare(connection: &Connection, unshare: &Unshare) -> Result<()> {
    index::put(connection, &unshared_key(&unshare.share), &[])
}
