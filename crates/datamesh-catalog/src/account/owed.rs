//! Shards that a committed version still owes: recorded with the version, in the same transaction,
//! and gone only when somebody says that they are stored.

use datamesh_core::scheme::SHARDS_MAX;
use datamesh_core::wire::Encode;
use datamesh_core::{SegmentId, VersionId};
use rusqlite::Connection;

use crate::error::{CatalogError, Result, damaged, read};
use crate::index::{self, Step};
use crate::journal::SLICES_MAX;
use crate::points;

use super::AccountDb;
use super::record::{self, OWED, Tally, require, save, tally_key};

/// Most owed shards that one call takes, where it may come back with the next.
const OWED_PER_CALL_MAX: usize = 16 * 1024;

/// Most owed shards that come with operations: all of the largest version, because a version and
/// what it owes become durable together.
pub(super) const OWED_PER_APPEND_MAX: usize = SLICES_MAX as usize * SHARDS_MAX;

/// Most owed shards that one call returns.
const PAGE_MAX: usize = 4096;

/// A shard that is not stored yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owed {
    /// The segment.
    pub segment: SegmentId,
    /// Which of its shards.
    pub shard: u8,
    /// A version whose content is in the segment.
    pub version: VersionId,
}

impl AccountDb {
    /// Records shards that are owed, synced. What is recorded already stays as it is.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`] above 16384 at once.
    pub fn owe(&self, owed: &[Owed]) -> Result<()> {
        bound(owed.len())?;
        self.write(points::CATALOG_OWE, |connection| {
            let mut tally: Tally = require(connection, &tally_key(), "the counts")?;
            add(connection, owed, &mut tally)?;
            save(connection, &tally_key(), &tally)
        })
    }

    /// Records that shards are stored now. Those that were not owed are passed over.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`] above 16384 at once.
    pub fn paid(&self, shards: &[(SegmentId, u8)]) -> Result<()> {
        bound(shards.len())?;
        self.write(points::CATALOG_PAID, |connection| {
            let mut tally: Tally = require(connection, &tally_key(), "the counts")?;
            for (segment, shard) in shards {
                if index::remove(connection, &record::owed_key(segment, *shard))? {
                    tally.owed = tally
                        .owed
                        .checked_sub(1)
                        .ok_or_else(|| damaged("the counts", "they are below what they count"))?;
                }
            }
            save(connection, &tally_key(), &tally)
        })
    }

    /// Owed shards after the one given, by segment and number, at most `limit` and 4096.
    /// [`Totals`](super::Totals) has their number.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] where the answer cannot be proved.
    pub fn owed(&self, after: Option<(SegmentId, u8)>, limit: usize) -> Result<Vec<Owed>> {
        let limit = limit.min(PAGE_MAX);
        let from =
            after.map_or_else(Vec::new, |(segment, shard)| [&segment.0[..], &[shard, 0]].concat());
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.read(|connection| {
            index::walk_prefix(connection, OWED, &from, |key, value| {
                let wrong = || damaged("an owed shard", "its key has a wrong length");
                let (shard, segment) = key.split_last().ok_or_else(wrong)?;
                let segment = SegmentId(segment.try_into().map_err(|_| wrong())?);
                let version = read("an owed shard", value)?;
                found.push(Owed { segment, shard: *shard, version });
                Ok(if found.len() < limit { Step::On } else { Step::Stop })
            })
        })?;
        Ok(found)
    }
}

fn bound(count: usize) -> Result<()> {
    if count <= OWED_PER_CALL_MAX {
        return Ok(());
    }
    Err(CatalogError::TooMany { what: "owed shards", count, bound: OWED_PER_CALL_MAX })
}

/// Records shards that are not recorded yet.
pub(super) fn add(connection: &Connection, owed: &[Owed], tally: &mut Tally) -> Result<()> {
    for Owed { segment, shard, version } in owed {
        let key = record::owed_key(segment, *shard);
        if index::get(connection, &key)?.is_none() {
            index::put(connection, &key, &version.to_bytes())?;
            tally.owed += 1;
        }
    }
    Ok(())
}
