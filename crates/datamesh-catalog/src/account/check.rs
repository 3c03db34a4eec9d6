//! The look at everything: pages, rows, logs, and what is derived from them.

use std::collections::BTreeMap;

use datamesh_core::catalog::{Change, Operation};
use datamesh_core::{Hash, LogId};
use rusqlite::Connection;

use crate::database::integrity;
use crate::error::{CatalogError, Result, damaged, read};
use crate::index::{self, Step};

use super::record::{
    self, LOGS, LogState, PathState, Place, Standing, Tally, load, require, tally_key,
};
use super::{AccountDb, conflict, fold, labels, operations};

/// What a check has looked at and found intact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// Logs.
    pub logs: u64,
    /// Operations: bytes, hash, predecessor and clock, and the signature of each log's last, which
    /// covers all before it.
    pub operations: u64,
    /// Rows derived from them.
    pub rows: u64,
}

impl AccountDb {
    /// Looks at every page, row and log, and compares what is derived with the operations. Takes time in proportion to the size; readers and writers go on.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] with the first thing that does not hold.
    pub fn check(&self) -> Result<Checked> {
        self.read(|connection| {
            integrity(connection)?;
            let logs = logs(connection)?;
            let mut checked = Checked { logs: logs.len() as u64, ..Checked::default() };
            for (log, state) in &logs {
                checked.operations += check_log(connection, log, state)?;
            }
            let tally: Tally = require(connection, &tally_key(), "the counts")?;
            let counts_hold = tally.logs == checked.logs && tally.operations == checked.operations;
            if !counts_hold || operations::count(connection)? != checked.operations {
                return Err(damaged("the counts", "the number of operations is another"));
            }
            checked.rows = check_rows(connection, &tally)?;
            Ok(checked)
        })
    }
}

/// All logs by their devices; their number is bounded.
fn logs(connection: &Connection) -> Result<BTreeMap<LogId, LogState>> {
    let mut logs = BTreeMap::new();
    index::walk_prefix(connection, LOGS, &[], |log, value| {
        let log = log.try_into().map_err(|_| damaged("a log", "its id is malformed"))?;
        logs.insert(LogId(log), read("a log", value)?);
        Ok(Step::On)
    })?;
    Ok(logs)
}

/// Checks the chain of a log and that each operation left its rows.
fn check_log(connection: &Connection, log: &LogId, state: &LogState) -> Result<u64> {
    let (mut sequence, mut previous, mut clock) = (0, Hash([0; 32]), 0);
    operations::range(
        connection,
        state.row(0),
        state.row(record::SEQUENCE_MAX),
        |row, operation| {
            sequence += 1;
            let follows = row == state.row(sequence)
                && operation.sequence == sequence
                && operation.log == *log
                && operation.previous == previous
                && operation.clock > clock;
            if !follows {
                return Err(damaged("a log", "an operation does not follow the one before"));
            }
            (previous, clock) = (operation.hash(), operation.clock);
            check_derived(connection, &operation, &Place::of(&operation, previous, row))?;
            if sequence == state.sequence {
                operation
                    .verify(&state.key)
                    .map_err(|error| damaged("a log", error.to_string()))?;
            }
            Ok(true)
        },
    )?;
    if (sequence, previous, clock) != (state.sequence, state.hash, state.clock) {
        return Err(damaged("a log", "it does not end where it should"));
    }
    Ok(sequence)
}

/// Checks that an operation is found by its path and version, and is not above what counts.
fn check_derived(connection: &Connection, operation: &Operation, place: &Place) -> Result<()> {
    let wrong = |reason: &str| Err(damaged("what is derived of an operation", reason));
    let (path, file, tags) = match &operation.change {
        Change::Put(put) => {
            let tags = labels::apply(connection, (**put).clone())?.0.tags;
            (&put.path, put.file, tags)
        }
        Change::Delete(delete) => (&delete.path, delete.file, Vec::new()),
        Change::Purge(purge) => {
            for version in &purge.versions {
                if index::get(connection, &record::purged_key(version))?.is_none() {
                    return wrong("a version that it purged counts as there");
                }
            }
            return Ok(());
        }
        Change::Rewrite(rewrite) => {
            let key = record::rewritten_key(&rewrite.version);
            let known = load::<Place>(connection, &key, "a rewritten version")?;
            return match known {
                Some(known) if known.rank() >= place.rank() => Ok(()),
                _ => wrong("a version that it rewrote has older content"),
            };
        }
        Change::Label(label) => {
            let key = record::label_key(&label.version, place.clock, &place.log);
            let known = load::<Place>(connection, &key, "a label")?;
            return match known {
                Some(known) if known == *place => Ok(()),
                _ => wrong("the version that it labels does not have it"),
            };
        }
        Change::Pin(pin) => {
            let known = load::<Place>(connection, &record::pin_key(&pin.file), "a pin")?;
            return match known {
                Some(known) if known.rank() >= place.rank() => Ok(()),
                _ => wrong("its file has an older pin"),
            };
        }
        Change::Share(share) => {
            let known = load::<Place>(connection, &record::share_key(&share.share), "a share")?;
            return match known {
                Some(known) if known.rank() <= place.rank() => Ok(()),
                _ => wrong("the share that it made is missing"),
            };
        }
        Change::Unshare(unshare) => {
            return match index::get(connection, &record::unshared_key(&unshare.share))? {
                Some(_) => Ok(()),
                None => wrong("a share that it ended goes on"),
            };
        }
        Change::Unknown { .. } => return Ok(()),
    };
    let version = record::version_key(path, place.clock, &place.log);
    if load::<Place>(connection, &version, "a version")?.as_ref() != Some(place) {
        return wrong("its path does not have the version");
    }
    let Some(state) = fold::path_state(connection, path)? else {
        return wrong("its path is missing");
    };
    if state.place.rank() < place.rank() {
        return wrong("its path has an older version");
    }
    if state.place == *place {
        if state.tags.labelled != labels::any(connection, &state.version)? {
            return wrong("its path does not say whether it has labels");
        }
        for tag in &tags {
            if index::get(connection, &record::tag_key(tag, path))?.is_none() {
                return wrong("a tag does not lead to its path");
            }
        }
    }
    let known = load::<record::FileState>(connection, &record::file_key(&file), "a file")?;
    let put = matches!(operation.change, Change::Put(_));
    if put && known.is_none_or(|known| known.place.rank() < place.rank()) {
        return wrong("its file is missing or has an older operation");
    }
    if let Some(id) = fold::version_of(&operation.change) {
        let known = load::<Place>(connection, &record::version_id_key(&id), "a version")?;
        if known.is_none_or(|known| known.rank() < place.rank()) {
            return wrong("its version id is missing or has an older operation");
        }
    }
    Ok(())
}

/// Walks every derived row, so that each sum and each neighbour is looked at, and counts again.
fn check_rows(connection: &Connection, tally: &Tally) -> Result<u64> {
    let (mut rows, mut owed) = (0, 0);
    let mut counted = Tally::default();
    let mut markers_and_versions = 0;
    index::walk(connection, &[1], |key, value| {
        rows += 1;
        match key.first() {
            Some(b'o') => owed += 1,
            Some(b'v') => markers_and_versions += 1,
            Some(b'p' | b'd') => {
                let state: PathState = read("a path", value)?;
                let deleted = key.first() == Some(&b'd');
                if deleted != (state.standing == Standing::Deleted) {
                    return Err(damaged("a path", "it stands among the wrong ones"));
                }
                match state.standing {
                    Standing::File | Standing::Conflict => {
                        counted.files += 1;
                        counted.bytes = counted.bytes.saturating_add(state.size);
                    }
                    Standing::Folder => counted.folders += 1,
                    Standing::Deleted => counted.deleted += 1,
                }
                if state.standing == Standing::Conflict {
                    check_conflict(connection, &key[1..], &state)?;
                } else {
                    counted.versions += state.versions;
                }
                operations::at(connection, &state.place)?;
            }
            Some(b't') if !tag_holds(connection, key)? => {
                return Err(damaged("a tag", "its path does not have it"));
            }
            _ => {}
        }
        Ok(Step::On)
    })?;
    let holds = (counted.files, counted.folders, counted.deleted, counted.bytes, owed)
        == (tally.files, tally.folders, tally.deleted, tally.bytes, tally.owed)
        && counted.versions == markers_and_versions;
    if holds { Ok(rows) } else { Err(damaged("the counts", "they are not what they count")) }
}

/// Checks that the row at the name of a conflict stands for a rival of another path.
fn check_conflict(connection: &Connection, name: &[u8], state: &PathState) -> Result<()> {
    if let Change::Put(put) = operations::at(connection, &state.place)?.change {
        let rivals = conflict::rivals(connection, &put.path)?;
        let known = rivals.0.iter().any(|rival| rival.version == state.version);
        let own = conflict::conflict_name(&put, &state.place.log);
        if known && own.is_some_and(|own| own.as_str().as_bytes() == name) {
            return Ok(());
        }
    }
    Err(damaged("a conflict", "no version of a path stands behind it"))
}

/// Whether the path under a tag has that tag now.
fn tag_holds(connection: &Connection, key: &[u8]) -> Result<bool> {
    let wrong = || -> CatalogError { damaged("a tag", "its key is malformed") };
    let length = key.get(1..3).map(|b| usize::from(b[0]) << 8 | usize::from(b[1]));
    let (tag, path) = length
        .and_then(|length| key[3..].split_at_checked(length))
        .and_then(|(tag, path)| {
            Some((std::str::from_utf8(tag).ok()?, std::str::from_utf8(path).ok()?))
        })
        .ok_or_else(wrong)?;
    let path = path.parse().map_err(|_| wrong())?;
    let Some(state) = fold::path_state(connection, &path)? else {
        return Ok(false);
    };
    match operations::at(connection, &state.place)?.change {
        Change::Put(put) => {
            let (put, _) = labels::apply(connection, *put)?;
            Ok(put.tags.iter().any(|held| held == tag))
        }
        _ => Ok(false),
    }
}
