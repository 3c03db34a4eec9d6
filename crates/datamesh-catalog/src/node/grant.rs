//! Grants that came with shards.

use datamesh_core::wire::Encode;
use datamesh_core::{Grant, GrantId};
use rusqlite::params;

use crate::error::Result;
use crate::points;

use super::{NodeDb, RECORD_SUM, RECORDS_MAX, bound, execute, records, settle};

impl NodeDb {
    /// Saves grants. Saving one again keeps it from being dropped. Signatures are the caller's to
    /// check.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`](crate::CatalogError::TooMany) above 4096 at once.
    pub fn save_grants(&self, grants: &[Grant]) -> Result<()> {
        bound("grants", grants.len())?;
        self.write(points::NODE_GRANTS, |connection| {
            let mut added = 0;
            for grant in grants {
                let (id, bytes) = (grant.id(), grant.to_bytes());
                let sum = RECORD_SUM.of(&[&bytes]);
                let sql = include_str!("../../sql/node/drop_grant.sql");
                added -= execute(connection, sql, params![id.0])? as i64;
                let sql = include_str!("../../sql/node/save_grant.sql");
                added += execute(connection, sql, params![id.0, bytes, sum])? as i64;
            }
            let sql = include_str!("../../sql/node/drop_grants.sql");
            settle(connection, "seen_grant", added, self.limits.grants, sql)
        })
    }

    /// The grant with this id.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where the database cannot be read.
    pub fn grant(&self, id: &GrantId) -> Result<Option<Grant>> {
        let found: Vec<Grant> = self.read(|connection| {
            records(connection, include_str!("../../sql/node/grant.sql"), params![id.0])
        })?;
        Ok(found.into_iter().find(|grant| grant.id() == *id))
    }

    /// Grants in the order in which they were saved, at most 4096.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where the database cannot be read.
    pub fn grants(&self) -> Result<Vec<Grant>> {
        self.read(|connection| {
            let sql = include_str!("../../sql/node/grants.sql");
            records(connection, sql, params![RECORDS_MAX as i64])
        })
    }
}
