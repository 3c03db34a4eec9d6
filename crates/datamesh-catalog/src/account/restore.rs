//! What the mesh's copy of the catalog needs of this one: how far each log has come, taking another
//! log, and beginning anew without losing what was not yet told to anybody.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use datamesh_core::catalog::Change;
use datamesh_core::{Hash, LogId, PublicKey};

use crate::error::{Result, damaged, read};
use crate::index::{self, Step};
use crate::points;

use super::record::{LOGS, LogState, OwnerRecord, behind_key, owner_key, require, save};
use super::{AccountDb, Owner, log};

/// How far a log has come here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// The log.
    pub log: LogId,
    /// The key that signs it.
    pub key: PublicKey,
    /// Sequence of its last operation; 0 before the first.
    pub sequence: u64,
    /// Hash of that operation; zero before the first.
    pub hash: Hash,
}

impl AccountDb {
    /// Whether the catalog answers questions: it has everything that it was told to have.
    pub fn whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// Everything that the account committed is here: questions are answered from now on.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where it cannot be written.
    pub fn set_whole(&self) -> Result<()> {
        if self.whole() {
            return Ok(());
        }
        self.write(points::CATALOG_WHOLE, |connection| {
            let record: OwnerRecord = require(connection, &owner_key(), "the owner")?;
            save(connection, &owner_key(), &OwnerRecord { whole: 1, ..record })
        })?;
        self.whole.store(true, Ordering::Release);
        Ok(())
    }

    /// All logs that are known here, in the order of their ids.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where they cannot be read.
    pub fn logs(&self) -> Result<Vec<LogEnd>> {
        let mut ends = Vec::new();
        self.read(|connection| {
            index::walk_prefix(connection, LOGS, &[], |id, value| {
                let id = id.try_into().map_err(|_| damaged("a log", "its id is malformed"))?;
                let LogState { key, sequence, hash, .. } = read("a log", value)?;
                ends.push(LogEnd { log: LogId(id), key, sequence, hash });
                Ok(Step::On)
            })
        })?;
        Ok(ends)
    }

    /// Whether operations of this device's own log came from elsewhere: others may follow that it never sees,
    /// so it adds nothing until it [takes another](Self::take_log).
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where that cannot be read.
    pub fn is_behind(&self) -> Result<bool> {
        let log = self.owner().log;
        self.read(|connection| Ok(index::get(connection, &behind_key(&log))?.is_some()))
    }

    /// From now on this device adds to `log`, which must never have been written to. The log before
    /// stays as it is.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where it cannot be written.
    pub fn take_log(&self, log: LogId) -> Result<()> {
        let owner = self.owner();
        self.write(points::CATALOG_LOG, |connection| {
            log::begin_log(connection, &log, owner.log_key)?;
            let record: OwnerRecord = require(connection, &owner_key(), "the owner")?;
            save(connection, &owner_key(), &OwnerRecord { log, ..record })
        })?;
        *self.owner.write().unwrap_or_else(PoisonError::into_inner) = Owner { log, ..owner };
        Ok(())
    }

    /// Changes of this device's log after `sequence`, in order: what a log that is given up had
    /// beyond the part that others know.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where they cannot be read.
    pub fn changes_after(&self, sequence: u64) -> Result<Vec<Change>> {
        let log = self.owner().log;
        let (mut changes, mut after) = (Vec::new(), sequence);
        loop {
            let page = self.operations(&log, after, super::OPERATIONS_MAX)?;
            let Some(last) = page.last() else { return Ok(changes) };
            after = last.sequence;
            changes.extend(page.into_iter().map(|operation| operation.change));
        }
    }
}
