//! Segments that were sent and are not in a committed version yet.
//!
//! A segment of a transfer is the transfer's; of the others each has a row of its own from before its
//! first shard is sent until its files are committed. What a run finds of earlier ones, and what its
//! own puts gave up, are orphans: nodes may hold shards of them that nobody will ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};

use datamesh_core::{SegmentId, Timestamp};
use rusqlite::params;

use super::{Journal, PAGE_MAX, bound, drop_segment, put_segment, segment_sum, stored_time};
use crate::error::{During, Result};
use crate::points;

/// Most segments of no transfer that have a row. More are not recorded, so whoever starts must
/// settle what an earlier run left.
pub const SENT_MAX: u64 = 65_536;

/// The transfer of segments that belong to none.
const NO_TRANSFER: [u8; 16] = [0; 16];

/// A segment that was sent and that nothing under way answers for: the program ended, or the put
/// was given up, between the sending and the commit, or a transfer ended without it. A version may
/// refer to it all the same, where the end came between the commit and the row's removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orphan {
    transfer: [u8; 16],
    /// The segment.
    pub segment: SegmentId,
    /// When its first shard was about to be sent.
    pub sent: Timestamp,
}

/// The segments that something of this run answers for, and the rows of those of no transfer.
#[derive(Default)]
pub(super) struct UnderWay {
    /// How many hold each.
    segments: BTreeMap<SegmentId, usize>,
    /// Rows, those of earlier runs included.
    rows: u64,
}

/// Transfer, id, acknowledged, sent, sum.
type SegmentRow = ([u8; 16], [u8; 32], u32, i64, [u8; 8]);

impl Journal {
    /// Counts the rows that earlier runs left.
    pub(super) fn count_sent(&self) -> Result<()> {
        let rows: i64 = self.read(|connection| {
            let sql = include_str!("../../sql/journal/count_segments.sql");
            connection.query_row(sql, [NO_TRANSFER], |row| row.get(0)).during("counting segments")
        })?;
        self.under_way().rows = rows as u64;
        Ok(())
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a segment that belongs to no transfer, before its first shard is sent. Until it is
    /// [given up](Self::given_up) it counts as under way; where it is in a committed version by then,
    /// its row is to be [settled](Self::settled) before.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`] above [`SENT_MAX`].
    pub fn sending(&self, segment: &SegmentId, now: Timestamp) -> Result<()> {
        {
            let mut under_way = self.under_way();
            let rows = under_way.rows + 1;
            bound("segments sent and not settled", rows as usize, SENT_MAX as usize)?;
            under_way.rows = rows;
        }
        // Before the row is there, so that it is never an orphan's in between.
        self.hold(segment);
        let written = self.database.writer.write(points::JOURNAL_SENDING, |connection| {
            put_segment(connection, &NO_TRANSFER, segment, 0, stored_time(now))
        });
        if written.is_err() {
            self.given_up(segment);
            let mut under_way = self.under_way();
            under_way.rows = under_way.rows.saturating_sub(1);
        }
        written
    }

    /// Something under way answers for a segment that a transfer has a row of: it is no orphan until
    /// it is [given up](Self::given_up) as often as it was held, even if the transfer ends.
    pub fn hold(&self, segment: &SegmentId) {
        *self.under_way().segments.entry(*segment).or_default() += 1;
    }

    /// The segments are in committed versions, or were never sent: their rows go.
    ///
    /// # Errors
    /// [`CatalogError`] where the journal cannot be written.
    pub fn settled(&self, segments: &[SegmentId]) -> Result<()> {
        let dropped = self.database.writer.write(points::JOURNAL_SETTLED, |connection| {
            let mut dropped = 0;
            for segment in segments {
                dropped += drop_segment(connection, &NO_TRANSFER, segment)?;
            }
            Ok(dropped)
        })?;
        let mut under_way = self.under_way();
        under_way.rows = under_way.rows.saturating_sub(dropped as u64);
        Ok(())
    }

    /// One that held the segment does not any more. When nobody does, a row that is left of it is an
    /// orphan's.
    pub fn given_up(&self, segment: &SegmentId) {
        let mut under_way = self.under_way();
        if let Some(holds) = under_way.segments.get_mut(segment) {
            *holds -= 1;
            if *holds == 0 {
                under_way.segments.remove(segment);
            }
        }
    }

    /// Segments that earlier runs, puts that were given up, and ended transfers left, at most
    /// `limit` and 4096, behind the one given. Whoever releases them asks the catalog first whether
    /// a version refers to them, and [forgets](Self::forget) them then. A damaged row is left out.
    ///
    /// # Errors
    /// [`CatalogError`] where the journal cannot be read.
    pub fn orphans(&self, after: Option<&Orphan>, limit: usize) -> Result<Vec<Orphan>> {
        let limit = limit.min(PAGE_MAX);
        let mut from =
            after.map_or(([0; 16], Vec::new()), |last| (last.transfer, last.segment.0.to_vec()));
        let mut found = Vec::new();
        loop {
            let page = self.rowed(&from, limit)?;
            let Some((last, _)) = page.last() else { break };
            from = (last.transfer, last.segment.0.to_vec());
            let under_way = self.under_way();
            let orphans = page.into_iter().filter(|(orphan, intact)| {
                *intact && !under_way.segments.contains_key(&orphan.segment)
            });
            found.extend(orphans.map(|(orphan, _)| orphan));
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        Ok(found)
    }

    /// The next rows of segments whose transfer is not known, and whether each is what was written.
    fn rowed(&self, from: &([u8; 16], Vec<u8>), limit: usize) -> Result<Vec<(Orphan, bool)>> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached(include_str!("../../sql/journal/orphans.sql"))
                .during("reading orphans")?;
            let mut rows = statement
                .query(params![from.0, from.1, limit.max(1) as i64])
                .during("reading orphans")?;
            let mut found = Vec::new();
            while let Some(row) = rows.next().during("reading orphans")? {
                let columns = || -> rusqlite::Result<SegmentRow> {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
                };
                let (transfer, id, acknowledged, sent, sum) =
                    columns().during("reading orphans")?;
                let intact = segment_sum(&transfer, &id, acknowledged, sent) == sum;
                let segment = SegmentId(id);
                found.push((Orphan { transfer, segment, sent: sent as u64 }, intact));
            }
            Ok(found)
        })
    }

    /// Those of these segments that have a row, or that something under way answers for.
    ///
    /// # Errors
    /// [`CatalogError`] where the journal cannot be read.
    pub fn mentioned(&self, segments: &BTreeSet<SegmentId>) -> Result<BTreeSet<SegmentId>> {
        let mut found: BTreeSet<SegmentId> = {
            let under_way = self.under_way();
            segments.iter().filter(|id| under_way.segments.contains_key(id)).copied().collect()
        };
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached(include_str!("../../sql/journal/all_segments.sql"))
                .during("reading segments")?;
            let mut rows = statement.query([]).during("reading segments")?;
            while let Some(row) = rows.next().during("reading segments")? {
                let segment = SegmentId(row.get(0).during("reading segments")?);
                if segments.contains(&segment) {
                    found.insert(segment);
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Forgets orphans: they are released, or a committed version refers to them.
    ///
    /// # Errors
    /// [`CatalogError`] where the journal cannot be written.
    pub fn forget(&self, orphans: &[Orphan]) -> Result<()> {
        let dropped = self.database.writer.write(points::JOURNAL_FORGET, |connection| {
            let mut dropped = 0;
            for orphan in orphans {
                let count = drop_segment(connection, &orphan.transfer, &orphan.segment)?;
                dropped += if orphan.transfer == NO_TRANSFER { count } else { 0 };
            }
            Ok(dropped)
        })?;
        let mut under_way = self.under_way();
        under_way.rows = under_way.rows.saturating_sub(dropped as u64);
        Ok(())
    }
}
