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
//! they were gets an older state; the log's head elsewhere tells.

use std::path::Path;

use datamesh_core::catalog::Operation;
use datamesh_core::wire::Encode;
use datamesh_core::{AccountId, DeviceId, PublicKey};
use rusqlite::Connection;

use crate::database::{Database, Schema, beside, left_beside};
use crate::error::{CatalogError, Result, With, damaged};
use crate::index;
use crate::journal::Journal;

mod check;
mod fold;
mod list;
mod log;
mod operations;
mod owed;
mod query;
mod record;

pub use check::Checked;
pub use list::{Cursor, ListQuery, Listed, PAGE_ROWS_MAX, Page, Summary};
pub use log::{Append, OPERATIONS_MAX, Tip};
pub use owed::Owed;
pub use query::{Entry, Named, Totals, Version};

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
    /// The device that writes here; its log has the same id.
    pub device: DeviceId,
    /// The key that signs the device's operations.
    pub log_key: PublicKey,
}

/// The catalog of an account.
pub struct AccountDb {
    owner: Owner,
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
        let journal_path = beside(path, ".transfers");
        if !path.try_exists().with("looking for", path)? {
            refuse_lost(path, &journal_path, &owner)?;
        }
        let database = Database::open(path, SCHEMA, |connection| first(connection, &owner))?;
        database.readers.read(|connection| {
            let found: OwnerRecord =
                record::require(connection, &record::owner_key(), "the owner")?;
            let foreign = |whose| Err(CatalogError::Foreign { whose });
            if found.account != owner.account {
                return foreign("account");
            }
            if found.device != owner.device {
                return foreign("device");
            }
            let log: LogState =
                record::require(connection, &record::log_key(&owner.device), "the owner's log")?;
            if log.key != owner.log_key {
                return foreign("log key");
            }
            Ok(())
        })?;
        let journal = Journal::open(&journal_path)?;
        let catalog = Self { owner, database, journal };
        catalog.match_journal()?;
        Ok(catalog)
    }

    /// Whose catalog this is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Whether [`open`](Self::open) found no file and made one.
    pub fn created(&self) -> bool {
        self.database.created
    }

    /// The transfers under way.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Refuses a catalog whose log ends before operations that it acknowledged.
    fn match_journal(&self) -> Result<()> {
        let device = self.owner.device;
        let Some((sequence, hash)) = self.journal.seen(&device)? else {
            return Ok(());
        };
        self.read(|connection| {
            let log: LogState =
                record::require(connection, &record::log_key(&device), "the owner's log")?;
            if log.sequence < sequence {
                return Err(damaged(
                    "the log",
                    format!("it ends at {}, but {sequence} was acknowledged", log.sequence),
                ));
            }
            operations::by_hash(connection, log.row(sequence), &hash).map(drop)
        })
    }

    /// Tells the journal how far the log has come. The operations are synced already, so a journal
    /// that cannot be written fails nothing: it only notices less.
    fn witness(&self, operation: Option<&Operation>) {
        if let Some(operation) = operation {
            let _ = self.journal.saw(&operation.device, operation.sequence, &operation.hash());
        }
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.database.writer.noted(self.database.readers.read(work))
    }

    fn write<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.database.writer.write(work)
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
    match Journal::witnessed(journal, &owner.device) {
        Ok(None) => Ok(()),
        Ok(Some((sequence, _))) => lost(format!("though operation {sequence} was acknowledged")),
        Err(CatalogError::Damaged(damage)) => {
            lost(format!("and its journal does not tell whether it was there: {damage}"))
        }
        Err(error) => Err(error),
    }
}

/// The first content of a new database.
fn first(connection: &Connection, owner: &Owner) -> Result<()> {
    index::create(connection)?;
    let record = OwnerRecord { account: owner.account, device: owner.device };
    index::put(connection, &record::owner_key(), &record.to_bytes())?;
    let tally = Tally { logs: 1, ..Tally::default() };
    index::put(connection, &record::tally_key(), &tally.to_bytes())?;
    let log = LogState::first(0, owner.log_key);
    index::put(connection, &record::log_key(&owner.device), &log.to_bytes())
}
