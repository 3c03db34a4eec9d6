//! What this node's own audits of its peers came to.

use datamesh_core::wire::Encode;
use datamesh_core::{NodeId, Timestamp, record};
use rusqlite::params;

use crate::error::Result;
use crate::points;

use super::{NodeDb, RECORD_SUM, bound, execute, records, settle};

record! {
    /// Counts of audits' outcomes for one peer, since this node first audited it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct PeerAudit {
        /// The peer.
        pub node: NodeId,
        /// Shards that it proved.
        pub ok: u64,
        /// Answers that were false.
        pub corrupt: u64,
        /// Shards that it claimed to hold and did not have.
        pub missing: u64,
        /// Challenges that it refused to answer.
        pub refused: u64,
        /// Challenges for which it had no time.
        pub busy: u64,
        /// Challenges that it did not answer in time.
        pub timeout: u64,
        /// Challenges that did not reach it.
        pub offline: u64,
        /// Shards whose loss it admitted.
        pub admitted: u64,
        /// Failures of late, as the engine counts them: those of the period below, those of the one
        /// before above.
        pub recent: u64,
        /// The period in which `recent` was true.
        pub epoch: u64,
        /// When it was last audited.
        pub last: Timestamp,
    }
}

impl NodeDb {
    /// Remembers audits, one record for each peer. Above the bound the peers that were audited
    /// longest ago are forgotten.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`](crate::CatalogError::TooMany) above 4096 at once.
    pub fn save_audits(&self, audits: &[PeerAudit]) -> Result<()> {
        bound("audits of peers", audits.len())?;
        self.write(points::NODE_AUDITS, |connection| {
            let mut added = 0;
            for audit in audits {
                let sql = include_str!("../../sql/node/drop_audit.sql");
                added -= execute(connection, sql, params![audit.node.0])? as i64;
                let bytes = audit.to_bytes();
                let sum = RECORD_SUM.of(&[&bytes]);
                let sql = include_str!("../../sql/node/save_audit.sql");
                added += execute(connection, sql, params![audit.node.0, bytes, sum])? as i64;
            }
            let sql = include_str!("../../sql/node/drop_audits_oldest.sql");
            settle(connection, "peer_audit", added, self.limits.audits, sql)
        })
    }

    /// All audits that are remembered, by peer.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where the database cannot be read.
    pub fn audits(&self) -> Result<Vec<PeerAudit>> {
        self.read(|connection| {
            records(connection, include_str!("../../sql/node/audits.sql"), params![])
        })
    }
}
