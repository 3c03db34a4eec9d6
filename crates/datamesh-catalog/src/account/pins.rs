//! Files that are pinned: the newest pin of each counts, the one that ended a pin too.

use datamesh_core::catalog::{Change, Pin};
use datamesh_core::{FileId, MeshPath, Timestamp};
use rusqlite::Connection;

use super::AccountDb;
use super::fold::path_state;
use super::log::COUNTER_BITS;
use super::operations;
use super::record::{FileState, PINS, Place, Standing, file_key, load, pin_key, save};
use crate::error::{Result, damaged, read};
use crate::index::{self, Step};

/// A file that is pinned, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedFile {
    /// The file.
    pub file: FileId,
    /// Its path; nothing where its put has not come here yet.
    pub path: Option<MeshPath>,
    /// The path is not deleted, and the file is what is there.
    pub current: bool,
    /// When it was pinned, or that ended.
    pub created: Timestamp,
    /// 1 to [`PIN_PRIORITY_MAX`](datamesh_core::lease::PIN_PRIORITY_MAX), 0 where the pin was taken away.
    pub priority: u8,
    /// When the pin ends; 0 where it does not.
    pub until: Timestamp,
    /// The hybrid clock of the pin.
    pub clock: u64,
}

impl PinnedFile {
    /// The priority that counts at that time.
    pub fn priority(&self, now: Timestamp) -> u8 {
        if self.until == 0 || self.until > now { self.priority } else { 0 }
    }

    /// Orders what is said of the file's segments: higher than before once the pin has changed or ended.
    pub fn epoch(&self, now: Timestamp) -> u64 {
        let ended = self.priority(now) == 0;
        if ended {
            self.clock.max(self.until.saturating_mul(1 << COUNTER_BITS))
        } else {
            self.clock
        }
    }
}

/// Folds a pin.
pub(super) fn fold(connection: &Connection, pin: &Pin, place: &Place) -> Result<()> {
    let key = pin_key(&pin.file);
    let known: Option<Place> = load(connection, &key, "a pin")?;
    if known.is_none_or(|known| known.rank() < place.rank()) {
        save(connection, &key, place)?;
    }
    Ok(())
}

fn at(connection: &Connection, file: FileId, place: &Place) -> Result<PinnedFile> {
    let operation = operations::at(connection, place)?;
    let pin = match operation.change {
        Change::Pin(pin) if pin.file == file => pin,
        _ => return Err(damaged("a pin", "its operation pins another file")),
    };
    let state: Option<FileState> = load(connection, &file_key(&file), "a file")?;
    let path = state.map(|state| state.path);
    let there = match &path {
        Some(path) => path_state(connection, path)?,
        None => None,
    };
    Ok(PinnedFile {
        file,
        path,
        current: there
            .is_some_and(|there| there.file == file && there.standing != Standing::Deleted),
        created: pin.created,
        priority: pin.priority,
        until: pin.until,
        clock: operation.clock,
    })
}

impl AccountDb {
    /// All files that are pinned or were, in the order of their ids.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`](crate::CatalogError::Damaged) where the answer cannot be proved.
    pub fn pins(&self) -> Result<Vec<PinnedFile>> {
        self.query(|connection| {
            let mut places = Vec::new();
            index::walk_prefix(connection, PINS, &[], |id, value| {
                let id = id.try_into().map_err(|_| damaged("a pin", "its length is wrong"))?;
                places.push((FileId(id), read("a pin", value)?));
                Ok(Step::On)
            })?;
            places.into_iter().map(|(file, place)| at(connection, file, &place)).collect()
        })
    }

    /// The newest pin of a file, the one that ended a pin too.
    ///
    /// # Errors
    /// As [`pins`](Self::pins).
    pub fn pin_of(&self, file: FileId) -> Result<Option<PinnedFile>> {
        self.query(|connection| {
            let place: Option<Place> = load(connection, &pin_key(&file), "a pin")?;
            place.map(|place| at(connection, file, &place)).transpose()
        })
    }
}
