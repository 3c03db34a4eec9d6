//! Segments that must be renewed once operations of this device are published: they were there before,
//! and a device that has not heard of these operations may release them until then. Recorded with the
//! operations, in the same transaction, so that no crash and no long absence of the mesh forgets one.

use datamesh_core::{LogId, SegmentId};
use rusqlite::Connection;

use crate::error::{Result, damaged, read};
use crate::index::{self, Step};
use crate::points;

use super::AccountDb;
use super::record::{PROMISES, Promise, load, promise_key, save};

/// Most segments that one call returns.
const PAGE_MAX: usize = 4096;

impl AccountDb {
    /// Segments that are to be renewed, now that the operations of this device up to `published` are:
    /// in order, at most 4096. What an earlier log of this device promised is among them.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`](crate::CatalogError::Damaged) where the answer cannot be proved.
    pub fn promised(&self, published: u64) -> Result<Vec<SegmentId>> {
        let own = self.owner().log;
        let mut found = Vec::new();
        self.read(|connection| {
            index::walk_prefix(connection, PROMISES, &[], |key, value| {
                let promise: Promise = read("a promised renewal", value)?;
                if promise.log != own || promise.sequence <= published {
                    let wrong = |_| damaged("a promised renewal", "its key has a wrong length");
                    found.push(SegmentId(key.try_into().map_err(wrong)?));
                }
                Ok(if found.len() < PAGE_MAX { Step::On } else { Step::Stop })
            })
        })?;
        Ok(found)
    }

    /// Takes the promises back that [`promised`](Self::promised) told for the same `published`: the
    /// segments were renewed, or nothing refers to them any more. One that a later operation made
    /// anew stays.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where that cannot be written.
    pub fn keep_promises(&self, segments: &[SegmentId], published: u64) -> Result<()> {
        if segments.is_empty() {
            return Ok(());
        }
        let own = self.owner().log;
        self.write(points::CATALOG_PROMISES, |connection| {
            for segment in segments {
                let key = promise_key(segment);
                let promise: Option<Promise> = load(connection, &key, "a promised renewal")?;
                if promise.is_some_and(|p| p.log != own || p.sequence <= published) {
                    index::remove(connection, &key)?;
                }
            }
            Ok(())
        })
    }
}

/// Records that these segments are to be renewed when the log's operations up to `sequence` are
/// published.
pub(super) fn add(
    connection: &Connection,
    log: &LogId,
    sequence: u64,
    segments: &[SegmentId],
) -> Result<()> {
    for segment in segments {
        save(connection, &promise_key(segment), &Promise { log: *log, sequence })?;
    }
    Ok(())
}
