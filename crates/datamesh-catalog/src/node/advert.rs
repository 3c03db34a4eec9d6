//! The membership view: the newest advert of each node.

use datamesh_core::wire::Encode;
use datamesh_core::{Advert, NodeId};
use rusqlite::params;

use crate::error::{During, Result};
use crate::points;

use super::{NodeDb, RECORD_SUM, bound, execute, records};

impl NodeDb {
    /// Saves adverts, each unless one of the same node with a higher sequence is there; says how
    /// many were newer than what was there. Signatures are the caller's to check.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`](crate::CatalogError::TooMany) above 4096 at once.
    pub fn save_adverts(&self, adverts: &[Advert]) -> Result<usize> {
        bound("adverts", adverts.len())?;
        self.write(points::NODE_ADVERTS, |connection| {
            let mut newer = 0;
            for advert in adverts {
                let node = advert.node();
                let sql = include_str!("../../sql/node/advert.sql");
                let known: Vec<Advert> = records(connection, sql, params![node.0])?;
                if known.iter().any(|known| known.sequence >= advert.sequence) {
                    continue;
                }
                let bytes = advert.to_bytes();
                // Big-endian, so that byte order is the numbers'.
                let (sequence, expiry) =
                    (advert.sequence.to_be_bytes(), advert.expiry.to_be_bytes());
                let sum = RECORD_SUM.of(&[&bytes]);
                let sql = include_str!("../../sql/node/save_advert.sql");
                execute(connection, sql, params![node.0, sequence, expiry, bytes, sum])?;
                newer += 1;
            }
            let count: i64 = connection
                .query_row(include_str!("../../sql/node/count_adverts.sql"), [], |row| row.get(0))
                .during("counting adverts")?;
            let above = count - i64::from(self.limits.adverts);
            if above > 0 {
                execute(
                    connection,
                    include_str!("../../sql/node/drop_adverts.sql"),
                    params![above],
                )?;
            }
            Ok(newer)
        })
    }

    /// All adverts, by node.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where the database cannot be read.
    pub fn adverts(&self) -> Result<Vec<Advert>> {
        self.read(|connection| {
            records(connection, include_str!("../../sql/node/adverts.sql"), params![])
        })
    }

    /// Forgets the advert of a node.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where the database cannot be written.
    pub fn forget_advert(&self, node: &NodeId) -> Result<()> {
        self.write(points::NODE_ADVERT_FORGET, |connection| {
            let sql = include_str!("../../sql/node/forget_advert.sql");
            execute(connection, sql, params![node.0])?;
            Ok(())
        })
    }
}
