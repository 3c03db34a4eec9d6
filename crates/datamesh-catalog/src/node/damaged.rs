//! Copies of shards in this node's own store that were found damaged.

use datamesh_core::wire::Encode;
use datamesh_core::{SegmentId, record};
use rusqlite::params;

use crate::error::Result;
use crate::points;

use super::{NodeDb, RECORD_SUM, RECORDS_MAX, bound, execute, records, settle};

record! {
    /// A damaged copy. The sequence is its record's in the store, which tells it from another copy
    /// that was stored since.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct DamagedCopy {
        /// The segment.
        pub segment: SegmentId,
        /// Which of its shards.
        pub shard: u8,
        /// The copy's sequence in the store.
        pub sequence: u64,
    }
}

impl NodeDb {
    /// Remembers damaged copies, one of each shard. Above the bound the longest remembered are
    /// forgotten: the next who reads them finds them again.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`](crate::CatalogError::TooMany) above 4096 at once.
    pub fn save_damaged(&self, copies: &[DamagedCopy]) -> Result<()> {
        bound("damaged shards", copies.len())?;
        self.write(points::NODE_DAMAGED, |connection| {
            let mut added = 0;
            for copy in copies {
                let key = params![copy.segment.0, copy.shard];
                let sql = include_str!("../../sql/node/drop_damaged.sql");
                added -= execute(connection, sql, key)? as i64;
                let bytes = copy.to_bytes();
                let sum = RECORD_SUM.of(&[&bytes]);
                let sql = include_str!("../../sql/node/save_damaged.sql");
                let row = params![copy.segment.0, copy.shard, bytes, sum];
                added += execute(connection, sql, row)? as i64;
            }
            let sql = include_str!("../../sql/node/drop_damaged_oldest.sql");
            settle(connection, "damaged_shard", added, self.limits.damaged, sql)
        })
    }

    /// Damaged copies behind a shard, in order, at most 4096.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where the database cannot be read.
    pub fn damaged_after(&self, after: Option<(SegmentId, u8)>) -> Result<Vec<DamagedCopy>> {
        // The id of no segment, but for a hash of zeros.
        let (segment, shard) = after.map_or(([0; 32], -1), |(id, shard)| (id.0, i64::from(shard)));
        self.read(|connection| {
            let sql = include_str!("../../sql/node/damaged.sql");
            records(connection, sql, params![segment, shard, RECORDS_MAX as i64])
        })
    }

    /// Forgets damaged copies: they were stored again, or removed.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where the database cannot be written.
    pub fn forget_damaged(&self, copies: &[DamagedCopy]) -> Result<()> {
        bound("damaged shards", copies.len())?;
        self.write(points::NODE_DAMAGED_FORGET, |connection| {
            let mut gone = 0;
            for copy in copies {
                let sql = include_str!("../../sql/node/drop_damaged.sql");
                gone += execute(connection, sql, params![copy.segment.0, copy.shard])? as i64;
            }
            let sql = include_str!("../../sql/node/drop_damaged_oldest.sql");
            settle(connection, "damaged_shard", -gone, self.limits.damaged, sql)
        })
    }
}
