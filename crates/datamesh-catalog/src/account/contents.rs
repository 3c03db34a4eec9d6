//! What the contents of operations are made of, as whoever can open them told: which content has
//! which tag, and how often each segment was referred to.
//!
//! The catalog cannot open contents. Whoever appends operations says what is in them; those of other
//! logs are read, opened and told afterwards ([`unindexed`](AccountDb::unindexed),
//! [`index_contents`](AccountDb::index_contents)), each exactly once, as a cursor for each log goes
//! with the rows. So a catalog that was lost and restored comes to the same counts.

use datamesh_core::wire::Encode;
use datamesh_core::{ContentTag, LogId, SegmentId, VersionId};
use rusqlite::Connection;

use crate::error::{CatalogError, Result};
use crate::index::{self, Step};
use crate::points;

use super::AccountDb;
use super::record::{
    Count, LOGS, LogState, content_key, indexed_key, load, log_key, require, save, uses_key,
};

/// What operations' contents are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Content and a version that has it.
    pub tags: Vec<(ContentTag, VersionId)>,
    /// The segments of each operation, each once for an operation.
    pub segments: Vec<SegmentId>,
}

/// Operations whose contents were not told yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unindexed {
    /// Their log.
    pub log: LogId,
    /// They follow this one.
    pub after: u64,
}

impl AccountDb {
    /// The logs that have operations whose contents were not told yet.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`](crate::CatalogError::Damaged) where the answer cannot be proved.
    pub fn unindexed(&self) -> Result<Vec<Unindexed>> {
        self.query(unindexed)
    }

    /// Takes the contents of a log's operations behind `after`, up to and with `last`. Does nothing
    /// where somebody else told them meanwhile.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where they cannot be written.
    pub fn index_contents(&self, from: Unindexed, last: u64, contents: &Contents) -> Result<()> {
        self.write(points::CATALOG_CONTENTS, |connection| take(connection, &from, last, contents))
    }

    /// A version that has this content, or had it.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`](crate::CatalogError::Damaged) where the answer cannot be proved.
    pub fn having(&self, tag: &ContentTag) -> Result<Option<VersionId>> {
        self.query(|connection| load(connection, &content_key(tag), "a content"))
    }

    /// How many operations ever referred to each of these segments, in the order given; nothing
    /// while the contents of any operation were not told.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`](crate::CatalogError::Damaged) where the answer cannot be proved.
    pub fn uses(&self, segments: &[SegmentId]) -> Result<Option<Vec<u64>>> {
        self.query(|connection| {
            if !unindexed(connection)?.is_empty() {
                return Ok(None);
            }
            segments
                .iter()
                .map(|segment| count(connection, segment))
                .collect::<Result<_>>()
                .map(Some)
        })
    }
}

fn unindexed(connection: &Connection) -> Result<Vec<Unindexed>> {
    let mut ends = Vec::new();
    index::walk_prefix(connection, LOGS, &[], |id, value| {
        if let Ok(id) = id.try_into() {
            let state: LogState = crate::error::read("a log", value)?;
            ends.push((LogId(id), state.sequence));
        }
        Ok(Step::On)
    })?;
    let mut found = Vec::new();
    for (log, end) in ends {
        let after = cursor(connection, &log)?;
        if after < end {
            found.push(Unindexed { log, after });
        }
    }
    Ok(found)
}

fn cursor(connection: &Connection, log: &LogId) -> Result<u64> {
    let cursor: Option<Count> = load(connection, &indexed_key(log), "the contents of a log")?;
    Ok(cursor.map_or(0, |cursor| cursor.count))
}

fn count(connection: &Connection, segment: &SegmentId) -> Result<u64> {
    let uses: Option<Count> = load(connection, &uses_key(segment), "the uses of a segment")?;
    Ok(uses.map_or(0, |uses| uses.count))
}

/// Takes contents where the cursor stands at their beginning.
pub(super) fn take(
    connection: &Connection,
    from: &Unindexed,
    last: u64,
    contents: &Contents,
) -> Result<()> {
    let state: LogState = require(connection, &log_key(&from.log), "a log")?;
    if cursor(connection, &from.log)? != from.after || last > state.sequence || last <= from.after {
        return Ok(());
    }
    for (tag, version) in &contents.tags {
        index::put(connection, &content_key(tag), &version.to_bytes())?;
    }
    let mut segments = contents.segments.clone();
    segments.sort_unstable();
    for same in segments.chunk_by(|one, next| one == next) {
        if let Some(segment) = same.first() {
            let count = count(connection, segment)?.saturating_add(same.len() as u64);
            save(connection, &uses_key(segment), &Count { count })?;
        }
    }
    save(connection, &indexed_key(&from.log), &Count { count: last })
}

/// Refuses references to segments that have more references than they were renewed for.
pub(super) fn require_renewed(connection: &Connection, renewed: &[(SegmentId, u64)]) -> Result<()> {
    let told = renewed.is_empty() || unindexed(connection)?.is_empty();
    for (segment, most) in renewed {
        if !told || count(connection, segment)? > *most {
            return Err(CatalogError::Referred { segment: *segment });
        }
    }
    Ok(())
}
