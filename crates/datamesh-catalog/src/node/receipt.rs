//! Receipts: hints where the shards of a segment are.

use datamesh_core::wire::Encode;
use datamesh_core::{NodeId, Receipt, SegmentId};
use rusqlite::params;

use crate::error::Result;
use crate::points;

use super::{NodeDb, RECORD_SUM, bound, execute, records, settle};

/// Most receipts that are returned for a segment: its shards, several times over.
const RECEIPTS_OF_SEGMENT_MAX: i64 = 256;

impl NodeDb {
    /// Saves receipts, each unless one of the same node for the same shard with a higher sequence
    /// is there. Saving one again keeps it from being dropped. Signatures are the caller's to check.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`](crate::CatalogError::TooMany) above 4096 at once.
    pub fn save_receipts(&self, receipts: &[Receipt]) -> Result<()> {
        bound("receipts", receipts.len())?;
        self.write(points::NODE_RECEIPTS, |connection| {
            let mut added = 0;
            for receipt in receipts {
                let key = params![receipt.segment.0, receipt.node.0, receipt.shard];
                let sql = include_str!("../../sql/node/receipt.sql");
                let known: Vec<Receipt> = records(connection, sql, key)?;
                if known.iter().any(|known| known.sequence > receipt.sequence) {
                    continue;
                }
                added -= execute(connection, include_str!("../../sql/node/drop_receipt.sql"), key)?
                    as i64;
                let bytes = receipt.to_bytes();
                let sum = RECORD_SUM.of(&[&bytes]);
                added += execute(
                    connection,
                    include_str!("../../sql/node/save_receipt.sql"),
                    params![receipt.segment.0, receipt.node.0, receipt.shard, bytes, sum],
                )? as i64;
            }
            let sql = include_str!("../../sql/node/drop_receipts.sql");
            settle(connection, "receipt", added, self.limits.receipts, sql)
        })
    }

    /// Receipts for shards of a segment, by node and shard, at most 256.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where the database cannot be read.
    pub fn receipts(&self, segment: &SegmentId) -> Result<Vec<Receipt>> {
        let mut found: Vec<Receipt> = self.read(|connection| {
            let sql = include_str!("../../sql/node/receipts.sql");
            records(connection, sql, params![segment.0, RECEIPTS_OF_SEGMENT_MAX])
        })?;
        found.retain(|receipt| receipt.segment == *segment);
        Ok(found)
    }

    /// Forgets that a node holds shards of a segment.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where the database cannot be written.
    pub fn forget(&self, segment: &SegmentId, node: &NodeId) -> Result<()> {
        self.write(points::NODE_RECEIPT_FORGET, |connection| {
            let sql = include_str!("../../sql/node/forget_receipt.sql");
            let gone = execute(connection, sql, params![segment.0, node.0])? as i64;
            let sql = include_str!("../../sql/node/drop_receipts.sql");
            settle(connection, "receipt", -gone, self.limits.receipts, sql)
        })
    }
}
