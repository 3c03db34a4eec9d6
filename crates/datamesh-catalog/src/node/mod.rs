//! What a node remembers of its mesh: adverts, receipts, grants, audits, its damaged shards, and a
//! few settings.
//!
//! Everything here is signed by somebody and can be asked for again, or be found again, so a damaged database is put
//! aside and begun anew, and a damaged row counts as absent. Nothing is synced before it is
//! acknowledged. Every table is bounded, as strangers choose what comes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use datamesh_core::NodeId;
use datamesh_core::wire::Decode;
use rusqlite::{Connection, Row, ToSql, params};

use crate::database::{Database, Schema, open_or_rebuild};
use crate::error::{CatalogError, Damage, During, Result};
use crate::points::{Steps, Watch};
use crate::sum::Sum;

mod advert;
mod audit;
mod damaged;
mod grant;
mod receipt;
mod setting;

pub use audit::PeerAudit;
pub use damaged::DamagedCopy;
pub use setting::Counter;

const SCHEMA: Schema = Schema {
    name: "the database of a node",
    // "DMno"
    application_id: 0x444d_6e6f,
    steps: &[include_str!("../../sql/node/0001.sql"), include_str!("../../sql/node/0002.sql")],
    synced: false,
};

/// Most records that one call takes.
const RECORDS_MAX: usize = 4096;

static RECORD_SUM: LazyLock<Sum> = LazyLock::new(|| Sum::new("datamesh 2026 node row v1"));

/// How much a node remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLimits {
    /// Most adverts; those that expire first go first.
    pub adverts: u32,
    /// Most receipts; those saved longest ago go first.
    pub receipts: u32,
    /// Most grants; those saved longest ago go first.
    pub grants: u32,
    /// Most damaged shards; those found longest ago go first.
    pub damaged: u32,
    /// Most peers whose audits are remembered; those audited longest ago go first.
    pub audits: u32,
}

impl Default for NodeLimits {
    /// A mesh of ten thousand nodes, and receipts for 6 TB in 4+2: about 400 MB of disk.
    fn default() -> Self {
        Self {
            adverts: 10_000,
            receipts: 2_000_000,
            grants: 100_000,
            damaged: 100_000,
            audits: 20_000,
        }
    }
}

/// The database of a node.
pub struct NodeDb {
    database: Database,
    limits: NodeLimits,
    rebuilt: Option<Damage>,
    /// Sequences of adverts that are there, as far as this handle has saved them.
    saved_adverts: Mutex<BTreeMap<NodeId, u64>>,
}

impl NodeDb {
    /// Opens the database at `path`, or makes it where there is none or a damaged one, which is put
    /// aside under `path` + `.damaged`. Looks at every page.
    ///
    /// # Errors
    /// [`CatalogError::Newer`] and [`CatalogError::Kind`] for a file that is not ours to replace.
    pub fn open(path: &Path, limits: NodeLimits) -> Result<Self> {
        Self::open_telling(path, limits, &Steps::default())
    }

    /// Opens a database that is there, to read a little of it: it is not looked through, and a damaged one is not
    /// put aside.
    ///
    /// # Errors
    /// [`CatalogError`] where it cannot be opened.
    pub fn open_as_it_is(path: &Path, limits: NodeLimits) -> Result<Self> {
        let database = Database::open(path, SCHEMA, &Steps::default(), |_| Ok(()))?;
        Ok(Self { database, limits, rebuilt: None, saved_adverts: Mutex::default() })
    }

    /// As [`open`](Self::open), for a test that watches each step.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_watched(path: &Path, limits: NodeLimits, watch: Watch) -> Result<Self> {
        Self::open_telling(path, limits, &Steps::watched(watch))
    }

    fn open_telling(path: &Path, limits: NodeLimits, steps: &Steps) -> Result<Self> {
        let (database, rebuilt) = open_or_rebuild(path, SCHEMA, steps)?;
        Ok(Self { database, limits, rebuilt, saved_adverts: Mutex::default() })
    }

    /// Why the database was begun anew, if it was.
    pub fn rebuilt(&self) -> Option<&Damage> {
        self.rebuilt.as_ref()
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.database.writer.noted(self.database.readers.read(work))
    }

    fn write<T>(
        &self,
        point: &'static str,
        work: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        self.database.writer.write(point, work)
    }
}

fn bound(what: &'static str, count: usize) -> Result<()> {
    if count <= RECORDS_MAX {
        return Ok(());
    }
    Err(CatalogError::TooMany { what, count, bound: RECORDS_MAX })
}

/// The records that a statement finds as `bytes, sum`; damaged rows are left out.
fn records<T: Decode>(
    connection: &Connection,
    sql: &'static str,
    parameters: &[&dyn ToSql],
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql).during("reading records")?;
    let mut rows = statement.query(parameters).during("reading records")?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().during("reading records")? {
        found.extend(record(row).during("reading records")?);
    }
    Ok(found)
}

fn record<T: Decode>(row: &Row<'_>) -> rusqlite::Result<Option<T>> {
    let (bytes, sum): (Vec<u8>, [u8; 8]) = (row.get(0)?, row.get(1)?);
    if RECORD_SUM.of(&[&bytes]) != sum {
        return Ok(None);
    }
    // An intact row that cannot be read is of a form that this program does not know.
    Ok(datamesh_core::wire::decode(&bytes).ok())
}

/// Runs a statement and says how many rows it changed.
fn execute(connection: &Connection, sql: &'static str, parameters: &[&dyn ToSql]) -> Result<usize> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(parameters))
        .during("saving records")
}

/// Adds `added` to the count of a table and drops its oldest rows above `limit`.
fn settle(
    connection: &Connection,
    table: &'static str,
    added: i64,
    limit: u32,
    drop_sql: &'static str,
) -> Result<()> {
    let count: i64 = connection
        .prepare_cached(include_str!("../../sql/node/tally.sql"))
        .and_then(|mut statement| statement.query_row([table], |row| row.get(0)))
        .during("counting records")?;
    let mut count = count + added;
    let above = count - i64::from(limit);
    if above > 0 {
        count -= execute(connection, drop_sql, params![above])? as i64;
    }
    execute(connection, include_str!("../../sql/node/save_tally.sql"), params![table, count])?;
    Ok(())
}
