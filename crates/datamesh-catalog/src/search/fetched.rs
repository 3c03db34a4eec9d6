//! How often files were fetched on this device.

use std::collections::BTreeSet;

use datamesh_core::{FileId, Timestamp};
use rusqlite::params;

use super::query::FOUND_MAX;
use super::{SearchDb, execute, signed};
use crate::error::{During, Result, damaged};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Days that are remembered.
const DAYS_MAX: u64 = 400;

/// Since when files count, and how many of them to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchedQuery {
    /// Fetches from the day of this time on.
    pub since: Timestamp,
    /// Most files, up to 10,000.
    pub limit: usize,
}

/// A file that was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// The file.
    pub file: FileId,
    /// How often.
    pub count: u64,
    /// When it was fetched last.
    pub last: Timestamp,
}

fn file_of(id: Vec<u8>) -> Result<FileId> {
    let wrong = |_| damaged("the search index", "a file's id has a wrong length");
    Ok(FileId(id.try_into().map_err(wrong)?))
}

impl SearchDb {
    /// Notes that these files were fetched now. What is older than 400 days is forgotten.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where it cannot be written.
    pub fn note_fetched(&self, files: &[FileId], now: Timestamp) -> Result<()> {
        let day = now / DAY_MS;
        self.write(|connection| {
            let sql = include_str!("../../sql/search/add_fetched.sql");
            for file in files {
                execute(connection, sql, &[&signed(day), &file.0.as_slice(), &signed(now)])?;
            }
            let oldest = signed(day.saturating_sub(DAYS_MAX));
            let sql = include_str!("../../sql/search/drop_fetched.sql");
            execute(connection, sql, &[&oldest]).map(drop)
        })
    }

    /// All files that were fetched from the day of a time on.
    ///
    /// # Errors
    /// As [`fetched`](Self::fetched).
    pub fn fetched_since(&self, since: Timestamp) -> Result<BTreeSet<FileId>> {
        let since = signed(since / DAY_MS);
        self.read(|connection| {
            let sql = include_str!("../../sql/search/fetched_since.sql");
            let mut statement =
                connection.prepare_cached(sql).during("reading the search index")?;
            let rows = statement
                .query_map(params![since], |row| row.get::<_, Vec<u8>>(0))
                .during("reading the search index")?;
            rows.map(|row| file_of(row.during("reading the search index")?)).collect()
        })
    }

    /// The files that were fetched most often.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`](crate::CatalogError::Damaged) where the index is.
    pub fn fetched(&self, query: FetchedQuery) -> Result<Vec<Fetched>> {
        let (since, limit) = (signed(query.since / DAY_MS), query.limit.min(FOUND_MAX) as i64);
        self.read(|connection| {
            let sql = include_str!("../../sql/search/fetched.sql");
            let mut statement =
                connection.prepare_cached(sql).during("reading the search index")?;
            let rows = statement
                .query_map(params![since, limit], |row| {
                    Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
                })
                .during("reading the search index")?;
            rows.map(|row| {
                let (file, count, last) = row.during("reading the search index")?;
                Ok(Fetched {
                    file: file_of(file)?,
                    count: count.max(0) as u64,
                    last: last.max(0) as u64,
                })
            })
            .collect()
        })
    }
}
