//! What searches look through: words, sizes, dates and tags of the paths that are listed, and how often
//! files were fetched on this device.
//!
//! All but the fetches follows from the catalog's operations and can be made again, so a damaged file is
//! put aside and begun anew. It lags behind the catalog until [`catch_up`](SearchDb::catch_up), which looks
//! at the operations that came since and makes the rows of their paths anew.
//!
//! Promised: nothing; whoever shows what was found looks it up in the catalog, which proves it. A row that is
//! missing here is not found: the catalog's own list is complete, a search is as good as its index.

use std::path::Path;

use rusqlite::Connection;

use crate::database::{Database, Schema, put_aside};
use crate::error::{CatalogError, Damage, During, Result};
use crate::points::{self, Steps};

mod expression;
mod fetched;
mod query;
mod rows;

pub use fetched::{Fetched, FetchedQuery};
pub use query::{Order, SearchQuery};

const SCHEMA: Schema = Schema {
    name: "the search index of an account",
    // "DMse"
    application_id: 0x444d_7365,
    steps: &[include_str!("../../sql/search/0001.sql")],
    synced: false,
};

/// The search index of an account, on one of its devices.
pub struct SearchDb {
    database: Database,
    rebuilt: Option<Damage>,
}

impl SearchDb {
    /// Opens the index at `path`, or makes it where there is none or a damaged one, which is put aside under
    /// `path` + `.damaged`. Its pages are not looked at: whoever meets damage calls this again after
    /// [`put_aside`](Self::put_aside).
    ///
    /// # Errors
    /// [`CatalogError::Newer`] and [`CatalogError::Kind`] for a file that is not ours to replace.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || Database::open(path, SCHEMA, &Steps::default(), |_| Ok(()));
        match open() {
            Ok(database) => Ok(Self { database, rebuilt: None }),
            Err(CatalogError::Damaged(damage)) => {
                Self::put_aside(path)?;
                Ok(Self { database: open()?, rebuilt: Some(damage) })
            }
            Err(error) => Err(error),
        }
    }

    /// Moves a damaged index out of the way.
    ///
    /// # Errors
    /// [`CatalogError`] where it cannot be moved.
    pub fn put_aside(path: &Path) -> Result<()> {
        put_aside(path, &Steps::default())
    }

    /// Why the index was begun anew, if it was.
    pub fn rebuilt(&self) -> Option<&Damage> {
        self.rebuilt.as_ref()
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.database.writer.noted(self.database.readers.read(work))
    }

    fn write<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.database.writer.write(points::SEARCH, work)
    }
}

/// A number as SQLite keeps it; those beyond its range count as the highest.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn execute(connection: &Connection, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<usize> {
    let mut statement = connection.prepare_cached(sql).during("writing the search index")?;
    statement.execute(values).during("writing the search index")
}
