//! What the account's epochs record asks of the catalog: keeping the newest that was seen, and
//! dropping what a revoked device wrote beyond the point up to which its logs count.

use std::collections::BTreeMap;

use datamesh_core::catalog::Operation;
use datamesh_core::{Hash, LogId};
use rusqlite::Connection;

use crate::error::{Result, damaged, read};
use crate::index::{self, Step};
use crate::points;

use super::record::{
    self, BEHIND, LOGS, LogState, OWED, PROMISES, Place, SEQUENCE_MAX, SHARES_TOLD, Tally,
    epochs_key, owner_key, save, tally_key,
};
use super::{AccountDb, fold, operations};

impl AccountDb {
    /// The newest epochs record that was kept, as it came from the mesh.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where it cannot be read.
    pub fn epochs(&self) -> Result<Option<Vec<u8>>> {
        self.read(|connection| index::get(connection, &epochs_key()))
    }

    /// Keeps an epochs record in place of the one before, synced, and in the same transaction drops
    /// what lies beyond the bounds that it sets: of each log given, every operation after that
    /// sequence. This device's own log stays as it is.
    ///
    /// # Errors
    /// [`CatalogError`](crate::CatalogError) where it cannot be written; nothing is dropped then.
    pub fn keep_epochs(&self, record: &[u8], bounds: &[(LogId, u64)]) -> Result<()> {
        let own = self.owner().log;
        self.write(points::CATALOG_EPOCHS, |connection| {
            index::put(connection, &epochs_key(), record)?;
            let mut beyond = Vec::new();
            for (log, sequence) in bounds.iter().filter(|(log, _)| *log != own) {
                let state: Option<LogState> =
                    record::load(connection, &record::log_key(log), "a log")?;
                if let Some(state) = state
                    && state.sequence > *sequence
                {
                    operations::delete(
                        connection,
                        state.row(sequence + 1),
                        state.row(SEQUENCE_MAX),
                    )?;
                    beyond.push(*log);
                }
            }
            if beyond.is_empty() { Ok(()) } else { derive_anew(connection) }
        })
    }
}

/// Derives every row from the operations again. Takes time in proportion to their number.
fn derive_anew(connection: &Connection) -> Result<()> {
    let mut logs: BTreeMap<LogId, LogState> = BTreeMap::new();
    index::walk_prefix(connection, LOGS, &[], |log, value| {
        let log = log.try_into().map_err(|_| damaged("a log", "its id is malformed"))?;
        logs.insert(LogId(log), read("a log", value)?);
        Ok(Step::On)
    })?;
    // What does not follow from operations.
    let mut kept: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for key in [owner_key(), epochs_key()] {
        if let Some(value) = index::get(connection, &key)? {
            kept.push((key, value));
        }
    }
    let mut tally = Tally { logs: logs.len() as u64, ..Tally::default() };
    index::walk_prefix(connection, OWED, &[], |key, value| {
        kept.push(([OWED, key].concat(), value.to_vec()));
        tally.owed += 1;
        Ok(Step::On)
    })?;
    for kind in [BEHIND, PROMISES, SHARES_TOLD] {
        index::walk_prefix(connection, kind, &[], |key, value| {
            kept.push(([kind, key].concat(), value.to_vec()));
            Ok(Step::On)
        })?;
    }
    index::clear(connection)?;
    for (key, value) in &kept {
        index::put(connection, key, value)?;
    }
    for (log, state) in logs {
        let mut end = LogState::first(state.number, state.key);
        let mut all: Vec<(u64, Operation)> = Vec::new();
        loop {
            // In parts: the statement must not be open while rows are written.
            let (from, mut bytes) = (end.row(end.sequence + 1), 0);
            operations::range(connection, from, end.row(SEQUENCE_MAX), |row, operation| {
                bytes += 1024;
                all.push((row, operation));
                Ok(bytes < 4 * 1024 * 1024)
            })?;
            if all.is_empty() {
                break;
            }
            for (row, operation) in all.drain(..) {
                let follows = operation.log == log
                    && operation.sequence == end.sequence + 1
                    && operation.previous == end.hash;
                if !follows {
                    return Err(damaged("a log", "an operation does not follow the one before"));
                }
                let hash: Hash = operation.hash();
                fold::fold(connection, &operation, &Place::of(&operation, hash, row), &mut tally)?;
                end.sequence = operation.sequence;
                (end.hash, end.clock) = (hash, operation.clock);
            }
        }
        save(connection, &record::log_key(&log), &end)?;
    }
    save(connection, &tally_key(), &tally)
}
