//! The logs: the only way anything gets into the catalog.
//!
//! [`append`](AccountDb::append) makes operations of this device: place, clock and predecessor are
//! set under the writer's lock, so no caller can get them wrong. [`commit`](AccountDb::commit) takes
//! operations that were made elsewhere, and checks the signature of each. Both acknowledge only what is synced.

use datamesh_core::catalog::{
    Change, ENCAPSULATION_KEY_BYTES, LogCertificate, OPERATION_BODY_BYTES_MAX, Operation,
};
use datamesh_core::wire::{self, Encode};
use datamesh_core::{Hash, LogId, PublicKey, SegmentId, Signature, Timestamp};
use rusqlite::Connection;

use crate::error::{CatalogError, Result, damaged};
use crate::index;
use crate::points;

use super::contents::{self, Contents, Unindexed};
use super::owed::{self, Owed};
use super::promised;
use super::record::{
    LOGS_MAX, LogState, OwnerRecord, Place, SEQUENCE_MAX, Tally, behind_key, load, log_key,
    owner_key, require, save, tally_key,
};
use super::{AccountDb, fold, operations, record};

/// Most operations that one call takes: bounds the transaction, and what a reader of a
/// [`Vec`] of them holds.
pub const OPERATIONS_MAX: usize = 4096;

/// Bits of the hybrid clock below the milliseconds.
pub(super) const COUNTER_BITS: u32 = 16;

/// The end of this device's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Sequence of the last operation; 0 before the first.
    pub sequence: u64,
    /// Its hash; zero before the first.
    pub hash: Hash,
    /// Highest clock of any log known here.
    pub clock: u64,
}

/// What a device wants to add to its log.
#[derive(Debug, Clone, Default)]
pub struct Append {
    /// The changes, in order; at most [`OPERATIONS_MAX`].
    pub changes: Vec<Change>,
    /// Shards of these changes that are not stored yet; recorded in the same transaction.
    pub owed: Vec<Owed>,
    /// What the contents of these changes are made of, recorded in the same transaction; nothing
    /// where nobody says, and then they are to be told later.
    pub contents: Option<Contents>,
    /// Segments of earlier operations that these changes refer to, each with the highest number of
    /// references for which it was renewed. Where there are more, nothing is added.
    pub renewed: Vec<(SegmentId, u64)>,
    /// Segments to be renewed once these changes are published
    /// ([`promised`](AccountDb::promised)); recorded in the same transaction.
    pub renew_published: Vec<SegmentId>,
    /// The time, for the hybrid clock. Nothing goes wrong where it jumps.
    pub now: Timestamp,
}

impl AccountDb {
    /// The end of this device's log.
    ///
    /// # Errors
    /// [`CatalogError`] where it cannot be read.
    pub fn tip(&self) -> Result<Tip> {
        self.read(|connection| {
            let state = own_log(connection, &self.owner().log)?;
            let tally: Tally = require(connection, &tally_key(), "the counts")?;
            Ok(Tip { sequence: state.sequence, hash: state.hash, clock: tally.clock })
        })
    }

    /// Adds changes to this device's log and returns the operations, synced. All of them or, on an
    /// error, none. `sign` gets the bytes of [`Operation::signed_part`] and must sign them with the
    /// owner's log key in [`Context::Operation`](datamesh_core::Context::Operation); it runs under
    /// the writer's lock and must not call the catalog.
    ///
    /// # Errors
    /// [`CatalogError::Unreadable`] for a change that no reader would accept,
    /// [`CatalogError::VersionTaken`] for a version id used before, [`CatalogError::Signature`]
    /// where `sign` used another key, [`CatalogError::Referred`] where a segment must be renewed again,
    /// [`CatalogError::Behind`] where another log must be taken first.
    pub fn append(
        &self,
        append: Append,
        sign: impl Fn(&[u8]) -> Signature,
    ) -> Result<Vec<Operation>> {
        bound("operations", append.changes.len(), OPERATIONS_MAX)?;
        bound("owed shards", append.owed.len(), owed::OWED_PER_APPEND_MAX)?;
        if append.changes.is_empty() && append.owed.is_empty() {
            return Ok(Vec::new());
        }
        self.require_whole()?;
        let made = self.write(points::CATALOG_APPEND, |connection| {
            // Here, as another log may just have been taken.
            let log = require::<OwnerRecord>(connection, &owner_key(), "the owner")?.log;
            if index::get(connection, &behind_key(&log))?.is_some() {
                return Err(CatalogError::Behind { log });
            }
            contents::require_renewed(connection, &append.renewed)?;
            let mut batch = Batch::begin(connection, &log)?;
            let from = Unindexed { log, after: batch.state.sequence };
            let mut made = Vec::with_capacity(append.changes.len());
            for change in append.changes {
                if let Some(version) = fold::version_of(&change) {
                    fold::refuse_taken(connection, &version)?;
                }
                let operation = batch.next(&log, change, append.now, &sign)?;
                batch.take(connection, &operation, Signed::Here)?;
                made.push(operation);
            }
            // Whether `sign` uses the log's key shows at any of them.
            if let Some(last) = made.last() {
                last.verify(&batch.state.key)?;
            }
            owed::add(connection, &append.owed, &mut batch.tally)?;
            let last = batch.state.sequence;
            batch.end(connection)?;
            promised::add(connection, &log, last, &append.renew_published)?;
            if let Some(contents) = &append.contents {
                contents::take(connection, &from, last, contents)?;
            }
            Ok(made)
        })?;
        self.witness(made.last());
        Ok(made)
    }

    /// Takes operations of any certified log, in order within each log, and returns how many were
    /// new, all synced. Operations that are there already are passed over; unknown kinds are kept.
    /// All of them or, on an error, none.
    ///
    /// Where operations of this device's own log are new here, its files were put back from a copy. In the
    /// same transaction nothing more can be added to that log: see [`is_behind`](Self::is_behind).
    ///
    /// # Errors
    /// [`CatalogError::UnknownLog`], [`CatalogError::Gap`], [`CatalogError::Fork`],
    /// [`CatalogError::Clock`] and [`CatalogError::Signature`] for what is not the next operation.
    pub fn commit(&self, operations: &[Operation]) -> Result<usize> {
        bound("operations", operations.len(), OPERATIONS_MAX)?;
        let Some(first) = operations.first() else {
            return Ok(0);
        };
        let new = self.write(points::CATALOG_COMMIT, |connection| {
            let own = require::<OwnerRecord>(connection, &owner_key(), "the owner")?.log;
            let mut batch = Batch::begin(connection, &first.log)?;
            let (mut new, mut is_behind) = (0, false);
            for operation in operations {
                batch.turn_to(connection, &operation.log)?;
                let is_new = batch.take(connection, operation, Signed::Elsewhere)?;
                new += usize::from(is_new);
                is_behind |= is_new && operation.log == own;
            }
            batch.end(connection)?;
            if is_behind {
                index::put(connection, &behind_key(&own), &[])?;
            }
            Ok(new)
        })?;
        let own = self.owner().log;
        let own = operations.iter().filter(|operation| operation.log == own);
        self.witness(own.last());
        Ok(new)
    }

    /// Makes a log known, so that its operations can be committed: `certificate` is that of the
    /// device which writes it, and its signature is checked.
    ///
    /// # Errors
    /// [`CatalogError::Signature`] and [`CatalogError::Foreign`] for a certificate that is not this
    /// account's, [`CatalogError::LogKey`] where the log has another key.
    pub fn admit(&self, log: LogId, certificate: &LogCertificate) -> Result<()> {
        certificate.verify()?;
        if certificate.account != self.owner().account {
            return Err(CatalogError::Foreign { whose: "account" });
        }
        self.write(points::CATALOG_ADMIT, |connection| {
            begin_log(connection, &log, certificate.log_key)
        })
    }

    /// Operations of one log after `sequence`, in order, at most `limit` and [`OPERATIONS_MAX`] of
    /// them and about 4 MiB. Empty at the end of the log.
    ///
    /// # Errors
    /// [`CatalogError::UnknownLog`] where the log has no certificate here.
    pub fn operations(&self, log: &LogId, sequence: u64, limit: usize) -> Result<Vec<Operation>> {
        const BYTES_MAX: usize = 4 * 1024 * 1024;
        let limit = limit.min(OPERATIONS_MAX) as u64;
        self.read(|connection| {
            let state: LogState = load(connection, &log_key(log), "a log")?
                .ok_or(CatalogError::UnknownLog { log: *log })?;
            if sequence >= state.sequence || limit == 0 {
                return Ok(Vec::new());
            }
            let to = state.sequence.min(sequence.saturating_add(limit));
            let mut previous = match sequence {
                0 => Hash([0; 32]),
                _ => operations::get(connection, state.row(sequence))?.hash(),
            };
            let (mut found, mut bytes): (Vec<Operation>, _) = (Vec::new(), 0);
            let mut expected = sequence + 1;
            operations::range(connection, state.row(expected), state.row(to), |row, operation| {
                let hash = operation.hash();
                let follows = row == state.row(expected)
                    && operation.sequence == expected
                    && operation.log == *log
                    && operation.previous == previous;
                if !follows {
                    return Err(damaged("a log", "an operation does not follow the one before"));
                }
                bytes += OPERATION_OVERHEAD + body_length(&operation.change);
                (expected, previous) = (expected + 1, hash);
                found.push(operation);
                Ok(bytes < BYTES_MAX)
            })?;
            // The last one's signature covers its predecessor's hash, and so all before it.
            if let Some(last) = found.last() {
                last.verify(&state.key).map_err(|error| damaged("a log", error.to_string()))?;
            }
            let whole = expected > to || bytes >= BYTES_MAX;
            if !whole || (expected > state.sequence && previous != state.hash) {
                return Err(damaged("a log", "operations are missing"));
            }
            Ok(found)
        })
    }
}

/// Bytes of an operation beside its body.
const OPERATION_OVERHEAD: usize = 1 + 16 + 8 + 8 + 32 + 1 + 4 + 64;

fn body_length(change: &Change) -> usize {
    match change {
        Change::Put(put) => 256 + put.path.as_str().len() + put.content.sealed().len(),
        Change::Delete(delete) => 64 + delete.path.as_str().len(),
        Change::Purge(purge) => 16 + 16 * purge.versions.len(),
        Change::Rewrite(rewrite) => 256 + rewrite.content.sealed().len(),
        Change::Label(label) => {
            let tags = label.add.iter().chain(&label.remove).map(|tag| 4 + tag.len());
            64 + tags.sum::<usize>() + label.note.as_ref().map_or(0, String::len)
        }
        Change::Pin(_) => 64,
        Change::Share(share) => 256 + ENCAPSULATION_KEY_BYTES + share.secrets.bytes.len(),
        Change::Unshare(_) => 64,
        Change::Unknown { body, .. } => body.len(),
    }
}

fn bound(what: &'static str, count: usize, bound: usize) -> Result<()> {
    if count > bound { Err(CatalogError::TooMany { what, count, bound }) } else { Ok(()) }
}

/// Begins a log with this key, unless it is there.
pub(super) fn begin_log(connection: &Connection, log: &LogId, log_key: PublicKey) -> Result<()> {
    let key = record::log_key(log);
    match load::<LogState>(connection, &key, "a log")? {
        Some(state) if state.key == log_key => Ok(()),
        Some(_) => Err(CatalogError::LogKey { log: *log }),
        None => {
            let mut tally: Tally = require(connection, &tally_key(), "the counts")?;
            bound("logs", tally.logs as usize + 1, LOGS_MAX as usize)?;
            let state = LogState::first(tally.logs, log_key);
            tally.logs += 1;
            save(connection, &key, &state)?;
            save(connection, &tally_key(), &tally)
        }
    }
}

fn own_log(connection: &Connection, log: &LogId) -> Result<LogState> {
    require(connection, &log_key(log), "the owner's log")
}

/// Where an operation was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signed {
    /// By this call.
    Here,
    /// Its signature is to be checked.
    Elsewhere,
}

/// Operations on their way into one transaction: the log they go to and the counts are loaded once
/// and saved at the end.
struct Batch {
    log: LogId,
    state: LogState,
    tally: Tally,
}

impl Batch {
    fn begin(connection: &Connection, log: &LogId) -> Result<Self> {
        Ok(Self {
            log: *log,
            state: load(connection, &log_key(log), "a log")?
                .ok_or(CatalogError::UnknownLog { log: *log })?,
            tally: require(connection, &tally_key(), "the counts")?,
        })
    }

    fn turn_to(&mut self, connection: &Connection, log: &LogId) -> Result<()> {
        if self.log != *log {
            save(connection, &log_key(&self.log), &self.state)?;
            self.state = load(connection, &log_key(log), "a log")?
                .ok_or(CatalogError::UnknownLog { log: *log })?;
            self.log = *log;
        }
        Ok(())
    }

    fn end(self, connection: &Connection) -> Result<()> {
        save(connection, &log_key(&self.log), &self.state)?;
        save(connection, &tally_key(), &self.tally)
    }

    /// The next operation of this device's log.
    fn next(
        &self,
        log: &LogId,
        change: Change,
        now: Timestamp,
        sign: &impl Fn(&[u8]) -> Signature,
    ) -> Result<Operation> {
        let sequence = self.state.sequence + 1;
        let clock =
            next_clock(self.tally.clock, now).ok_or(CatalogError::Clock { log: *log, sequence })?;
        let previous = self.state.hash;
        let signed = Operation::signed_part(log, sequence, clock, &previous, &change);
        let signature = sign(&signed);
        Ok(Operation { log: *log, sequence, clock, previous, change, signature })
    }

    /// Stores and folds an operation, which must be the next of the log; says whether it is new.
    fn take(
        &mut self,
        connection: &Connection,
        operation: &Operation,
        signed: Signed,
    ) -> Result<bool> {
        let hash = operation.hash();
        let (log, sequence) = (operation.log, operation.sequence);
        let fork = || CatalogError::Fork { log, sequence, given: hash };
        if sequence <= self.state.sequence {
            if sequence == 0 {
                return Err(fork());
            }
            let stored = operations::get(connection, self.state.row(sequence))?;
            if stored.hash() == hash {
                return Ok(false);
            }
            // A fork is an accusation: first make sure that our own copy is what was signed.
            stored.verify(&self.state.key).map_err(|error| damaged("a log", error.to_string()))?;
            return Err(fork());
        }
        if sequence != self.state.sequence + 1 || sequence > SEQUENCE_MAX {
            return Err(CatalogError::Gap { log, tip: self.state.sequence, found: sequence });
        }
        if operation.previous != self.state.hash {
            return Err(fork());
        }
        if operation.clock <= self.state.clock {
            return Err(CatalogError::Clock { log, sequence });
        }
        let bytes = operation.to_bytes();
        readable(operation, &bytes)?;
        if signed == Signed::Elsewhere {
            operation.verify(&self.state.key)?;
        }
        let row = self.state.row(sequence);
        operations::insert(connection, row, &bytes)?;
        let place = Place::of(operation, hash, row);
        fold::fold(connection, operation, &place, &mut self.tally)?;
        self.state = LogState { sequence, hash, clock: operation.clock, ..self.state.clone() };
        Ok(true)
    }
}

/// Refuses an operation that its own reader would refuse or take for another.
fn readable(operation: &Operation, bytes: &[u8]) -> Result<()> {
    let unreadable = |source| CatalogError::Unreadable { what: "an operation", source };
    let body = bytes.len().saturating_sub(OPERATION_OVERHEAD);
    if body > OPERATION_BODY_BYTES_MAX {
        return Err(unreadable(wire::WireError::Bound {
            field: "operation body",
            length: body,
            bound: OPERATION_BODY_BYTES_MAX,
        }));
    }
    let back: Operation = wire::decode(bytes).map_err(unreadable)?;
    if back == *operation {
        return Ok(());
    }
    Err(unreadable(wire::WireError::Invalid { field: "operation" }))
}

/// A clock above `highest` and not below the time; none where the clock is at its end.
fn next_clock(highest: u64, now: Timestamp) -> Option<u64> {
    let wall = now.min(u64::MAX >> COUNTER_BITS) << COUNTER_BITS;
    Some(highest.checked_add(1)?.max(wall))
}
