//! What an account owns, on one of its devices.
//!
//! The table of operations is the truth; everything else is derived from it, in one ordered map
//! whose rows prove themselves (`index`), and leads back to the operation, whose hash is computed
//! again before any of it is served. So a damaged page gives an error, never a wrong answer: not a
//! wrong version, not "no such file", not a listing with a hole. Answers that do not touch the
//! damage are still given; no operation is taken once damage was noticed.
//!
//! Promised: what [`append`](AccountDb::append) or [`commit`](AccountDb::commit) acknowledged is on
//! the disk and survives a crash of program or machine. The catalog is the same whatever the order
//! in which several logs were committed.
//! Not promised: that the files are the newest. Whoever puts back the catalog and its journal as
//! they were gets an older state; the log's head on the mesh tells.
//!
//! All of it can be had again from the heads on the mesh: [`restore`](AccountDb::restore) begins a
//! catalog that serves nothing until it was told that it is whole.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{PoisonError, RwLock};

use datamesh_core::catalog::Operation;
use datamesh_core::wire::Encode;
use datamesh_core::{AccountId, LogId, PublicKey};
use rusqlite::Connection;

use crate::database::{Database, Schema, beside, left_beside, put_aside};
use crate::error::{CatalogError, Damage, Result, With, damaged};
use crate::index;
use crate::journal::Journal;
use crate::points::{Steps, Watch};

mod check;
mod conflict;
mod contents;
mod epochs;
mod fold;
mod labels;
mod list;
mod log;
mod operations;
mod owed;
mod pins;
mod promised;
mod query;
mod record;
mod restore;
mod shares;

pub use check::Checked;
pub use contents::{Contents, Unindexed};
pub use list::{Cursor, ListQuery, Listed, PAGE_ROWS_MAX, Page, Summary};
pub use log::{Append, OPERATIONS_MAX, Tip};
pub use owed::Owed;
pub use pins::PinnedFile;
pub use query::{Entry, Named, Totals, Version};
pub use restore::LogEnd;
pub use shares::{KnownShare, SharedFile};

use record::{LogState, OwnerRecord, Tally};

const SCHEMA: Schema = Schema {
    name: "the catalog of an account",
    // "DMac"
    application_id: 0x444d_6163,
    steps: &[include_str!("../../sql/account/0001.sql")],
    synced: true,
};

/// Whose catalog a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The account.
    pub account: AccountId,
    /// The log that this device adds to. Where a catalog is opened it may have taken another since,
    /// which then counts.
    pub log: LogId,
    /// The key that signs the device's operations.
    pub log_key: PublicKey,
}

/// The catalog of an account.
pub struct AccountDb {
    owner: RwLock<Owner>,
    whole: AtomicBool,
    database: Database,
    journal: Journal,
}

impl AccountDb {
    /// Opens the database at `path`, or makes it where there is none. The journal of transfers lies
    /// beside it, in `path` + `.transfers`. Both files are readable by their owner only.
    ///
    /// Looks at the header, the definitions and the owner, so it takes the same short time
    /// whatever the size; [`check`](Self::check) looks at everything. Several programs may have it
    /// open, but only one may make it: whoever may be the first holds the home's lock.
    ///
    /// A database that is missing is made only where nothing says that there was one: another under
    /// the same device key would sign its operations 1, 2, ... a second time.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`], [`CatalogError::Newer`], [`CatalogError::Kind`] and
    /// [`CatalogError::Foreign`] say that this is not an intact database of this owner; nothing in
    /// it is changed.
    pub fn open(path: &Path, owner: Owner) -> Result<Self> {
        Self::open_telling(path, owner, &Steps::default())
    }

    /// As [`open`](Self::open), for a test that watches each step.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_watched(path: &Path, owner: Owner, watch: Watch) -> Result<Self> {
        Self::open_telling(path, owner, &Steps::watched(watch))
    }

    fn open_telling(path: &Path, owner: Owner, steps: &Steps) -> Result<Self> {
        let journal_path = beside(path, ".transfers");
        if !path.try_exists().with("looking for", path)? {
            refuse_lost(path, &journal_path, &owner)?;
        }
        Self::open_or_make(path, owner, true, steps)
    }

    /// Puts aside what is at `path` (the last such file is kept, its name ending in `.damaged`) and
    /// begins an empty catalog that answers no question until [`set_whole`](Self::set_whole).
    /// `owner.log` must be a log that was never written to. The journal of transfers stays.
    ///
    /// # Errors
    /// [`CatalogError`] where the files cannot be moved or made.
    pub fn restore(path: &Path, owner: Owner) -> Result<Self> {
        Self::restore_telling(path, owner, &Steps::default())
    }

    /// As [`restore`](Self::restore), for a test that watches each step.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn restore_watched(path: &Path, owner: Owner, watch: Watch) -> Result<Self> {
        Self::restore_telling(path, owner, &Steps::watched(watch))
    }

    fn restore_telling(path: &Path, owner: Owner, steps: &Steps) -> Result<Self> {
        put_aside(path, steps)?;
        Self::open_or_make(path, owner, false, steps)
    }

    fn open_or_make(path: &Path, owner: Owner, whole: bool, steps: &Steps) -> Result<Self> {
        let database =
            Database::open(path, SCHEMA, steps, |connection| first(connection, &owner, whole))?;
        let found = database.readers.read(|connection| {
            let found: OwnerRecord =
                record::require(connection, &record::owner_key(), "the owner")?;
            let foreign = |whose| Err(CatalogError::Foreign { whose });
            if found.account != owner.account {
                return foreign("account");
            }
            let log: LogState =
                record::require(connection, &record::log_key(&found.log), "the owner's log")?;
            if log.key != owner.log_key {
                return foreign("log key");
            }
            Ok(found)
        })?;
        let journal = Journal::open(&beside(path, ".transfers"), steps)?;
        let catalog = Self {
            owner: RwLock::new(Owner { log: found.log, ..owner }),
            whole: AtomicBool::new(found.whole == 1),
            database,
            journal,
        };
        catalog.match_journal()?;
        Ok(catalog)
    }

    /// Whose catalog this is, and the log that is added to now.
    pub fn owner(&self) -> Owner {
        *self.owner.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether [`open`](Self::open) found no file and made one.
    pub fn created(&self) -> bool {
        self.database.created
    }

    /// The first damage that was noticed since it was opened.
    pub fn damage(&self) -> Option<&Damage> {
        self.database.writer.damage()
    }

    /// The transfers under way.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Refuses a catalog whose log ends before operations that it acknowledged.
    fn match_journal(&self) -> Result<()> {
        let log = self.owner().log;
        let Some((sequence, hash)) = self.journal.seen(&log)? else {
            return Ok(());
        };
        self.read(|connection| {
            let state: LogState =
                record::require(connection, &record::log_key(&log), "the owner's log")?;
            if state.sequence < sequence {
                return Err(damaged(
                    "the log",
                    format!("it ends at {}, but {sequence} was acknowledged", state.sequence),
                ));
            }
            operations::by_hash(connection, state.row(sequence), &hash).map(drop)
        })
    }

    /// Tells the journal how far the log has come. The operations are synced already, so a journal
    /// that cannot be written fails nothing: it only notices less.
    fn witness(&self, operation: Option<&Operation>) {
        if let Some(operation) = operation {
            let _ = self.journal.saw(&operation.log, operation.sequence, &operation.hash());
        }
    }

    /// Reads what is known, whole or not.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.database.writer.noted(self.database.readers.read(work))
    }

    /// Reads an answer for the owner, who must not take a part for the whole.
    fn query<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.require_whole()?;
        self.read(work)
    }

    fn require_whole(&self) -> Result<()> {
        if self.whole() { Ok(()) } else { Err(CatalogError::Incomplete) }
    }

    fn write<T>(
        &self,
        point: &'static str,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        self.database.writer.write(point, work)
    }
}

/// Refuses to replace a catalog that was there: one whose journal knows of operations, or whose
/// write-ahead log is left.
fn refuse_lost(path: &Path, journal: &Path, owner: &Owner) -> Result<()> {
    let lost = |why: String| {
        Err(damaged("the catalog", format!("its file {} is missing, {why}", path.display())))
    };
    if let Some(left) = left_beside(path)? {
        return lost(format!("though it was there: its {left} file is left"));
    }
    match Journal::witnessed(journal, &owner.log) {
        Ok(None) => Ok(()),
        Ok(Some((sequence, _))) => lost(format!("though operation {sequence} was acknowledged")),
        Err(CatalogError::Damaged(damage)) => {
            lost(format!("and its journal does not tell whether it was there: {damage}"))
        }
        Err(error) => Err(error),
    }
}

/// The first content of a new database.
fn first(connection: &Connection, owner: &Owner, whole: bool) -> Result<()> {
    index::create(connection)?;
    let record = OwnerRecord { account: owner.account, log: owner.log, whole: u8::from(whole) };
    index::put(connection, &record::owner_key(), &record.to_bytes())?;
    let tally = Tally { logs: 1, ..Tally::default() };
    index::put(connection, &record::tally_key(), &tally.to_bytes())?;
    let log = LogState::first(0, owner.log_key);
    index::put(connection, &record::log_key(&owner.log), &log.to_bytes())
}
