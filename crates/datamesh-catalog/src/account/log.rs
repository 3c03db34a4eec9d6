//! The logs: the only way anything gets into the catalog.
//!
//! [`append`](AccountDb::append) makes operations of this device: place, clock and predecessor are
//! set under the writer's lock, so no caller can get them wrong. [`commit`](AccountDb::commit) takes
//! operations that were made elsewhere. Both check every signature and acknowledge only what is
//! synced.

use datamesh_core::catalog::{Change, LogCertificate, OPERATION_BODY_BYTES_MAX, Operation};
use datamesh_core::wire::{self, Encode};
use datamesh_core::{DeviceId, Hash, Signature, Timestamp};
use rusqlite::Connection;

use crate::error::{CatalogError, Result, damaged};

use super::owed::{self, Owed};
use super::record::{
    LOGS_MAX, LogState, Place, SEQUENCE_MAX, Tally, load, log_key, require, save, tally_key,
};
use super::{AccountDb, fold, operations};

/// Most operations that one call takes: bounds the transaction, and what a reader of a
/// [`Vec`] of them holds.
pub const OPERATIONS_MAX: usize = 4096;

/// Bits of the hybrid clock below the milliseconds.
const COUNTER_BITS: u32 = 16;

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
            let log = own_log(connection, &self.owner.device)?;
            let tally: Tally = require(connection, &tally_key(), "the counts")?;
            Ok(Tip { sequence: log.sequence, hash: log.hash, clock: tally.clock })
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
    /// where `sign` used another key.
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
        let device = self.owner.device;
        let made = self.write(|connection| {
            let mut batch = Batch::begin(connection, &device)?;
            let mut made = Vec::with_capacity(append.changes.len());
            for change in append.changes {
                if let Some(version) = fold::version_of(&change) {
                    fold::refuse_taken(connection, &version)?;
                }
                let operation = batch.next(&device, change, append.now, &sign)?;
                batch.take(connection, &operation)?;
                made.push(operation);
            }
            owed::add(connection, &append.owed, &mut batch.tally)?;
            batch.end(connection)?;
            Ok(made)
        })?;
        self.witness(made.last());
        Ok(made)
    }

    /// Takes operations of any certified log, in order within each log, and returns how many were
    /// new, all synced. Operations that are there already are passed over; unknown kinds are kept.
    /// All of them or, on an error, none.
    ///
    /// # Errors
    /// [`CatalogError::UnknownLog`], [`CatalogError::Gap`], [`CatalogError::Fork`],
    /// [`CatalogError::Clock`] and [`CatalogError::Signature`] for what is not the next operation.
    pub fn commit(&self, operations: &[Operation]) -> Result<usize> {
        bound("operations", operations.len(), OPERATIONS_MAX)?;
        let Some(first) = operations.first() else {
            return Ok(0);
        };
        let new = self.write(|connection| {
            let mut batch = Batch::begin(connection, &first.device)?;
            let mut new = 0;
            for operation in operations {
                batch.turn_to(connection, &operation.device)?;
                new += usize::from(batch.take(connection, operation)?);
            }
            batch.end(connection)?;
            Ok(new)
        })?;
        let own = operations.iter().filter(|operation| operation.device == self.owner.device);
        self.witness(own.last());
        Ok(new)
    }

    /// Makes the log of another device known, so that its operations can be committed. The
    /// certificate's signature is checked.
    ///
    /// # Errors
    /// [`CatalogError::Signature`] and [`CatalogError::Foreign`] for a certificate that is not this
    /// account's, [`CatalogError::LogKey`] where the log has another key.
    pub fn admit(&self, certificate: &LogCertificate) -> Result<()> {
        certificate.verify()?;
        if certificate.account != self.owner.account {
            return Err(CatalogError::Foreign { whose: "account" });
        }
        let device = certificate.device;
        self.write(|connection| {
            let key = log_key(&device);
            match load::<LogState>(connection, &key, "a log")? {
                Some(log) if log.key == certificate.log_key => Ok(()),
                Some(_) => Err(CatalogError::LogKey { device }),
                None => {
                    let mut tally: Tally = require(connection, &tally_key(), "the counts")?;
                    bound("logs", tally.logs as usize + 1, LOGS_MAX as usize)?;
                    let log = LogState::first(tally.logs, certificate.log_key);
                    tally.logs += 1;
                    save(connection, &key, &log)?;
                    save(connection, &tally_key(), &tally)
                }
            }
        })
    }

    /// Operations of one log after `sequence`, in order, at most `limit` and [`OPERATIONS_MAX`] of
    /// them and about 4 MiB. Empty at the end of the log.
    ///
    /// # Errors
    /// [`CatalogError::UnknownLog`] where the log has no certificate here.
    pub fn operations(
        &self,
        device: &DeviceId,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<Operation>> {
        const BYTES_MAX: usize = 4 * 1024 * 1024;
        let limit = limit.min(OPERATIONS_MAX) as u64;
        self.read(|connection| {
            let log: LogState = load(connection, &log_key(device), "a log")?
                .ok_or(CatalogError::UnknownLog { device: *device })?;
            if sequence >= log.sequence || limit == 0 {
                return Ok(Vec::new());
            }
            let to = log.sequence.min(sequence.saturating_add(limit));
            let mut previous = match sequence {
                0 => Hash([0; 32]),
                _ => operations::get(connection, log.row(sequence))?.hash(),
            };
            let (mut found, mut bytes): (Vec<Operation>, _) = (Vec::new(), 0);
            let mut expected = sequence + 1;
            operations::range(connection, log.row(expected), log.row(to), |row, operation| {
                let hash = operation.hash();
                let follows = row == log.row(expected)
                    && operation.sequence == expected
                    && operation.device == *device
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
                last.verify(&log.key).map_err(|error| damaged("a log", error.to_string()))?;
            }
            let whole = expected > to || bytes >= BYTES_MAX;
            if !whole || (expected > log.sequence && previous != log.hash) {
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
        Change::Unknown { body, .. } => body.len(),
    }
}

fn bound(what: &'static str, count: usize, bound: usize) -> Result<()> {
    if count > bound { Err(CatalogError::TooMany { what, count, bound }) } else { Ok(()) }
}

fn own_log(connection: &Connection, device: &DeviceId) -> Result<LogState> {
    require(connection, &log_key(device), "the owner's log")
}

/// Operations on their way into one transaction: the log they go to and the counts are loaded once
/// and saved at the end.
struct Batch {
    device: DeviceId,
    log: LogState,
    tally: Tally,
}

impl Batch {
    fn begin(connection: &Connection, device: &DeviceId) -> Result<Self> {
        Ok(Self {
            device: *device,
            log: load(connection, &log_key(device), "a log")?
                .ok_or(CatalogError::UnknownLog { device: *device })?,
            tally: require(connection, &tally_key(), "the counts")?,
        })
    }

    fn turn_to(&mut self, connection: &Connection, device: &DeviceId) -> Result<()> {
        if self.device != *device {
            save(connection, &log_key(&self.device), &self.log)?;
            self.log = load(connection, &log_key(device), "a log")?
                .ok_or(CatalogError::UnknownLog { device: *device })?;
            self.device = *device;
        }
        Ok(())
    }

    fn end(self, connection: &Connection) -> Result<()> {
        save(connection, &log_key(&self.device), &self.log)?;
        save(connection, &tally_key(), &self.tally)
    }

    /// The next operation of this device's log.
    fn next(
        &self,
        device: &DeviceId,
        change: Change,
        now: Timestamp,
        sign: &impl Fn(&[u8]) -> Signature,
    ) -> Result<Operation> {
        let sequence = self.log.sequence + 1;
        let clock = next_clock(self.tally.clock, now)
            .ok_or(CatalogError::Clock { device: *device, sequence })?;
        let previous = self.log.hash;
        let signed = Operation::signed_part(device, sequence, clock, &previous, &change);
        let signature = sign(&signed);
        Ok(Operation { device: *device, sequence, clock, previous, change, signature })
    }

    /// Stores and folds an operation, which must be the next of the log; says whether it is new.
    fn take(&mut self, connection: &Connection, operation: &Operation) -> Result<bool> {
        let hash = operation.hash();
        let (device, sequence) = (operation.device, operation.sequence);
        let fork = || CatalogError::Fork { device, sequence, given: hash };
        if sequence <= self.log.sequence {
            if sequence == 0 {
                return Err(fork());
            }
            let stored = operations::get(connection, self.log.row(sequence))?;
            if stored.hash() == hash {
                return Ok(false);
            }
            // A fork is an accusation: first make sure that our own copy is what was signed.
            stored.verify(&self.log.key).map_err(|error| damaged("a log", error.to_string()))?;
            return Err(fork());
        }
        if sequence != self.log.sequence + 1 || sequence > SEQUENCE_MAX {
            return Err(CatalogError::Gap { device, tip: self.log.sequence, found: sequence });
        }
        if operation.previous != self.log.hash {
            return Err(fork());
        }
        if operation.clock <= self.log.clock {
            return Err(CatalogError::Clock { device, sequence });
        }
        let bytes = operation.to_bytes();
        readable(operation, &bytes)?;
        operation.verify(&self.log.key)?;
        let row = self.log.row(sequence);
        operations::insert(connection, row, &bytes)?;
        let place = Place::of(operation, hash, row);
        fold::fold(connection, operation, &place, &mut self.tally)?;
        self.log = LogState { sequence, hash, clock: operation.clock, ..self.log.clone() };
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
