//! What can go wrong with a catalog.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datamesh_core::wire::WireError;
use datamesh_core::{Hash, LogId, SegmentId, SignatureError, VersionId};
use rusqlite::{ErrorCode, ffi};

/// Something in a database that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is damaged: {reason}")]
pub struct Damage {
    /// The part that is damaged.
    pub what: &'static str,
    /// How it was noticed.
    pub reason: String,
}

/// Why a catalog did not do what it was asked.
///
/// Cheap to clone: callers whose work shares a transaction share its failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    /// The database holds something that was never written. What the call asked for is not served,
    /// and no operation is taken until the database is opened anew.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The database was written by a later program.
    #[error("the database has schema {found}, this program knows schemas up to {known}")]
    Newer {
        /// The version found.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The file is a database, but not of this kind.
    #[error("{} is not {expected}", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
    },
    /// The database belongs to somebody else.
    #[error("the database belongs to another {whose}")]
    Foreign {
        /// What differs.
        whose: &'static str,
    },
    /// The catalog is being restored from the mesh and has not everything yet.
    #[error("the catalog of this device is not whole yet: it is being restored from the mesh")]
    Incomplete,
    /// Operations of this device's log came from elsewhere, as its files were put back from a copy.
    #[error(
        "the catalog of this device was put back from a copy: it must hear from the mesh before it adds anything"
    )]
    Behind {
        /// The log that is given up.
        log: LogId,
    },
    /// A segment was referred to again since it was renewed for another reference.
    #[error("segment {segment} was referred to meanwhile, or the contents of a log were not told")]
    Referred {
        /// The segment.
        segment: SegmentId,
    },
    /// The log of an operation has no certificate here.
    #[error("the log {log} is not certified here")]
    UnknownLog {
        /// The log.
        log: LogId,
    },
    /// A log key was certified twice, differently.
    #[error("the log {log} has another key already")]
    LogKey {
        /// The log.
        log: LogId,
    },
    /// Operations are missing before this one.
    #[error("operation {found} of log {log} does not follow operation {tip}")]
    Gap {
        /// The log.
        log: LogId,
        /// The last operation known.
        tip: u64,
        /// The operation that was given.
        found: u64,
    },
    /// The log holds another operation at this place, or the operation names another predecessor.
    #[error("the log {log} forks at operation {sequence}")]
    Fork {
        /// The log.
        log: LogId,
        /// Where it forks.
        sequence: u64,
        /// Hash of the operation that was given.
        given: Hash,
    },
    /// An operation's clock is not above its predecessor's, or no later clock can be written.
    #[error("the clock of operation {sequence} of log {log} does not go forward")]
    Clock {
        /// The log.
        log: LogId,
        /// The operation.
        sequence: u64,
    },
    /// A signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A record that could not be read back if it was stored.
    #[error("{what} cannot be stored: {source}")]
    Unreadable {
        /// The record.
        what: &'static str,
        /// What the reader would say.
        source: WireError,
    },
    /// More was given than is taken at once.
    #[error("{count} {what} are above the limit of {bound}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much was given.
        count: usize,
        /// The most that is taken.
        bound: usize,
    },
    /// Several ids begin with these digits.
    #[error("more than one file or version begins with \"{digits}\"")]
    Ambiguous {
        /// The digits.
        digits: String,
    },
    /// What was searched for cannot be.
    #[error("{reason}")]
    Search {
        /// Why.
        reason: String,
    },
    /// Nothing is known of the transfer.
    #[error("no transfer {id} is under way")]
    NoTransfer {
        /// The transfer, in hexadecimal digits.
        id: String,
    },
    /// A version id was drawn twice.
    #[error("version {version} exists already")]
    VersionTaken {
        /// The version.
        version: VersionId,
    },
    /// Another process holds the database.
    #[error("another process is using the database")]
    Busy,
    /// No space is left.
    #[error("no space is left for the database")]
    DiskFull,
    /// SQLite failed.
    #[error("{doing} failed")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        source: Arc<rusqlite::Error>,
    },
    /// The file system failed.
    #[error("{doing} {} failed", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

/// The outcome of a call.
pub(crate) type Result<T, E = CatalogError> = std::result::Result<T, E>;

/// A [`CatalogError::Damaged`].
pub(crate) fn damaged(what: &'static str, reason: impl Into<String>) -> CatalogError {
    CatalogError::Damaged(Damage { what, reason: reason.into() })
}

/// Reads a record out of a row; one that cannot be read was not written by us.
pub(crate) fn read<T: datamesh_core::wire::Decode>(what: &'static str, bytes: &[u8]) -> Result<T> {
    datamesh_core::wire::decode(bytes).map_err(|error| damaged(what, error.to_string()))
}

fn extended(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

/// Says what a failure means, and during what it came.
pub(crate) trait During<T> {
    fn during(self, doing: &'static str) -> Result<T>;
}

impl<T> During<T> for rusqlite::Result<T> {
    fn during(self, doing: &'static str) -> Result<T> {
        self.map_err(|error| {
            let reason = |error: &rusqlite::Error| format!("{doing}: {error}");
            match error.sqlite_error_code() {
                // A constraint holds in everything we write, and a bound on the length of a row is
                // above everything we write, so only a damaged page can break them.
                Some(
                    ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::ConstraintViolation
                    | ErrorCode::TypeMismatch
                    | ErrorCode::TooBig,
                ) => damaged("the database", reason(&error)),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => CatalogError::Busy,
                Some(ErrorCode::DiskFull) => CatalogError::DiskFull,
                // The memory that readers and the writer share is a file, for which there is no room.
                Some(_) if extended(&error) == Some(ffi::SQLITE_IOERR_SHMSIZE) => {
                    CatalogError::DiskFull
                }
                Some(_) => CatalogError::Sqlite { doing, source: Arc::new(error) },
                None => match error {
                    // A row whose columns are not of the types that the schema promises.
                    rusqlite::Error::FromSqlConversionFailure(..)
                    | rusqlite::Error::IntegralValueOutOfRange(..)
                    | rusqlite::Error::Utf8Error(..)
                    | rusqlite::Error::InvalidColumnType(..)
                    | rusqlite::Error::QueryReturnedNoRows => {
                        damaged("the database", reason(&error))
                    }
                    error => CatalogError::Sqlite { doing, source: Arc::new(error) },
                },
            }
        })
    }
}

/// Says with which file a failure came.
pub(crate) trait With<T> {
    fn with(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T> With<T> for io::Result<T> {
    fn with(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|error| CatalogError::File {
            doing,
            path: path.to_owned(),
            source: Arc::new(error),
        })
    }
}
