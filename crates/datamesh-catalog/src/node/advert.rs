//! The membership view: the newest advert of each node.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use datamesh_core::wire::Encode;
use datamesh_core::{Advert, NodeId};
use rusqlite::params;

use crate::error::{During, Result};
use crate::points;

use super::{NodeDb, RECORD_SUM, bound, execute, records};

impl NodeDb {
    /// Saves adverts, each unless one of the same node with a higher sequence is there; says how
    /// many were newer than what was there. Signatures are the caller's to check. Those that this handle has
    /// saved before cost nothing, so that all that are known may be given again and again.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`](crate::CatalogError::TooMany) above 4096 at once.
    pub fn save_adverts(&self, adverts: &[Advert]) -> Result<usize> {
        bound("adverts", adverts.len())?;
        let fresh: Vec<&Advert> = {
            let saved = self.saved_adverts();
            let is_fresh = |advert: &&Advert| {
                saved.get(&advert.node()).is_none_or(|sequence| *sequence < advert.sequence)
            };
            adverts.iter().filter(is_fresh).collect()
        };
        if fresh.is_empty() {
            return Ok(0);
        }
        let (newer, dropped) = self.write(points::NODE_ADVERTS, |connection| {
            let mut newer = 0;
            for advert in &fresh {
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
            Ok((newer, above > 0))
        })?;
        let mut saved = self.saved_adverts();
        for advert in fresh {
            let sequence = saved.entry(advert.node()).or_default();
            *sequence = advert.sequence.max(*sequence);
        }
        // Some of those that went may be among these.
        if dropped || saved.len() > self.limits.adverts as usize {
            saved.clear();
        }
        Ok(newer)
    }

    fn saved_adverts(&self) -> MutexGuard<'_, BTreeMap<NodeId, u64>> {
        self.saved_adverts.lock().unwrap_or_else(PoisonError::into_inner)
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
        })?;
        self.saved_adverts().remove(node);
        Ok(())
    }
}
