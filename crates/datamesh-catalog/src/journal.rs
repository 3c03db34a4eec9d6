//! Transfers under way: what is durable of them already, and what they left on nodes.
//!
//! In a file of its own beside the catalog, because the two want opposite things: a commit waits for
//! the disk, a journal row must not wait for anybody. In one file they would share one writer's lock
//! and every row would stand behind a sync. Rows are not synced: they survive the end of the program
//! in any way, a power cut may take the newest, and then a slice is sent again. A damaged journal is
//! put aside and begun anew, as all it can lose is the ability to resume; what it would have
//! released, `cleanup --orphaned` finds.

mod sent;

use std::path::Path;
use std::sync::{LazyLock, Mutex};

use datamesh_core::wire::{Encode, Reader, WireError, Writer};
use datamesh_core::{Hash, LogId, MeshPath, Scheme, SegmentId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use crate::database::{Database, Schema, left_beside, open_checked, open_or_rebuild};
use crate::error::{CatalogError, Damage, During, Result, With, read};
use crate::points::{self, Steps};
use crate::sum::Sum;

use self::sent::UnderWay;
pub use self::sent::{Orphan, SENT_MAX};

/// Longest name of a source in bytes.
pub const SOURCE_BYTES_MAX: usize = 4096;

/// Largest sealed part of a slice's row in bytes.
pub const SEALED_BYTES_MAX: usize = 1024;

/// Most transfers at once. Beginning another is refused, so whoever starts must end what an earlier
/// run left.
pub const TRANSFERS_MAX: usize = 4096;

/// Most slices of a transfer: 16 TiB in slices of 4 MiB.
pub const SLICES_MAX: u32 = 4 * 1024 * 1024;

/// Most rows that one call returns.
const PAGE_MAX: usize = 4096;

const SCHEMA: Schema = Schema {
    name: "a journal of transfers",
    // "DMtj"
    application_id: 0x444d_746a,
    steps: &[include_str!("../sql/journal/0001.sql")],
    synced: false,
};

/// BLAKE3 derive-key context of the hash of source and path.
const WHAT_CONTEXT: &str = "datamesh 2026 transfer source and path v1";

static TRANSFER_SUM: LazyLock<Sum> = LazyLock::new(|| Sum::new("datamesh 2026 transfer row v1"));
static SLICE_SUM: LazyLock<Sum> = LazyLock::new(|| Sum::new("datamesh 2026 transfer slice row v1"));
static WITNESS_SUM: LazyLock<Sum> = LazyLock::new(|| Sum::new("datamesh 2026 log witness row v1"));
static SEGMENT_SUM: LazyLock<Sum> =
    LazyLock::new(|| Sum::new("datamesh 2026 transfer segment row v1"));

/// What identifies the content of a source: if any of it differs, it is not the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is, for instance an absolute path; at most [`SOURCE_BYTES_MAX`].
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it was last changed, as precisely as the system tells.
    pub modified: u64,
    /// What else the system tells one file from another by: device, inode, time of the inode's
    /// change; 0 where there is none.
    pub identity: [u64; 3],
}

impl Encode for Source {
    fn encode(&self, out: &mut Writer) {
        out.text(&self.name).u64(self.size).u64(self.modified);
        for number in self.identity {
            out.u64(number);
        }
    }
}

impl datamesh_core::wire::Decode for Source {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            name: from.text("source", SOURCE_BYTES_MAX)?,
            size: from.u64()?,
            modified: from.u64()?,
            identity: [from.u64()?, from.u64()?, from.u64()?],
        })
    }
}

/// A put under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Drawn at random.
    pub id: [u8; 16],
    /// What is read.
    pub source: Source,
    /// Where it goes.
    pub path: MeshPath,
    /// When it began.
    pub started: Timestamp,
    /// The scheme of its segments; a transfer is not resumed with another.
    pub scheme: Scheme,
}

/// The form of the rows.
mod stored {
    use datamesh_core::{MeshPath, Timestamp, record};

    use super::Source;

    record! {
        /// How a [`Transfer`] is stored; its id is the row's key.
        pub struct Stored {
            pub source: Source,
            pub path: MeshPath,
            pub started: Timestamp,
            pub k: u8,
            pub m: u8,
        }
    }
}

use stored::Stored;

/// A slice that needs not be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceDone {
    /// Its place in the content, from 0.
    pub number: u32,
    /// Hash of the content's plaintext up to its end, to be compared before it is skipped.
    pub hash: Hash,
    /// What the writer needs to name the slice in the manifest, sealed by the writer; at most
    /// [`SEALED_BYTES_MAX`].
    pub sealed: Vec<u8>,
}

/// A segment that nodes may hold shards of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentWritten {
    /// The segment.
    pub segment: SegmentId,
    /// A bit for each shard that a node acknowledged.
    pub acknowledged: u32,
    /// When its first shard was about to be sent.
    pub sent: Timestamp,
}

/// The transfers under way, and how far the catalog's log had come.
pub struct Journal {
    database: Database,
    lost: Option<Damage>,
    under_way: Mutex<UnderWay>,
}

impl Journal {
    /// Opens the journal at `path`, or begins it.
    ///
    /// # Errors
    /// [`CatalogError::Newer`] and [`CatalogError::Kind`] for a file that is not ours to replace.
    pub(crate) fn open(path: &Path, steps: &Steps) -> Result<Self> {
        let (database, lost) = open_or_rebuild(path, SCHEMA, steps)?;
        let journal = Self { database, lost, under_way: Mutex::default() };
        journal.count_sent()?;
        Ok(journal)
    }

    /// Why the journal was begun anew, if it was: transfers of earlier runs cannot be resumed.
    pub fn lost(&self) -> Option<&Damage> {
        self.lost.as_ref()
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.database.writer.noted(self.database.readers.read(work))
    }

    /// Begins a transfer.
    ///
    /// # Errors
    /// [`CatalogError::TooMany`] for a source name above its bound and above [`TRANSFERS_MAX`].
    pub fn begin(&self, transfer: &Transfer) -> Result<()> {
        bound("bytes of a source's name", transfer.source.name.len(), SOURCE_BYTES_MAX)?;
        let record = Stored {
            source: transfer.source.clone(),
            path: transfer.path.clone(),
            started: transfer.started,
            k: transfer.scheme.k() as u8,
            m: transfer.scheme.m() as u8,
        }
        .to_bytes();
        let what = what(&transfer.source, &transfer.path);
        let sum = TRANSFER_SUM.of(&[&transfer.id, &record]);
        self.database.writer.write(points::JOURNAL_BEGIN, |connection| {
            let count: i64 = connection
                .query_row(include_str!("../sql/journal/count.sql"), [], |row| row.get(0))
                .during("counting transfers")?;
            bound("transfers", count as usize + 1, TRANSFERS_MAX)?;
            // The order of beginnings is all that the number is for.
            let started = stored_time(transfer.started);
            connection
                .prepare_cached(include_str!("../sql/journal/begin.sql"))
                .and_then(|mut s| s.execute(params![transfer.id, what.0, started, record, sum]))
                .during("beginning a transfer")?;
            Ok(())
        })
    }

    /// The newest transfer of exactly this source to this path.
    ///
    /// # Errors
    /// [`CatalogError`] where the journal cannot be read.
    pub fn load(&self, source: &Source, path: &MeshPath) -> Result<Option<Transfer>> {
        let what = what(source, path);
        let mut found = self.read(|connection| {
            rows(connection, include_str!("../sql/journal/load.sql"), Some(what))
        })?;
        found.retain(|transfer| transfer.source == *source && transfer.path == *path);
        Ok((!found.is_empty()).then(|| found.swap_remove(0)))
    }

    /// All transfers that were begun and not ended, by id: at start, those of earlier runs.
    ///
    /// # Errors
    /// [`CatalogError`] where the journal cannot be read.
    pub fn transfers(&self) -> Result<Vec<Transfer>> {
        self.read(|connection| rows(connection, include_str!("../sql/journal/transfers.sql"), None))
    }

    /// Records a slice whose segment is durable.
    ///
    /// # Errors
    /// [`CatalogError::NoTransfer`], and [`CatalogError::TooMany`] above the bounds.
    pub fn slice(&self, transfer: &[u8; 16], slice: &SliceDone) -> Result<()> {
        bound("slices", slice.number as usize + 1, SLICES_MAX as usize)?;
        bound("sealed bytes of a slice", slice.sealed.len(), SEALED_BYTES_MAX)?;
        let sum = slice_sum(transfer, slice);
        self.database.writer.write(points::JOURNAL_SLICE, |connection| {
            known(connection, transfer)?;
            let row = params![transfer, slice.number, slice.hash.0, slice.sealed, sum];
            connection
                .prepare_cached(include_str!("../sql/journal/slice.sql"))
                .and_then(|mut statement| statement.execute(row))
                .during("recording a slice")?;
            Ok(())
        })
    }

    /// Slices recorded of a transfer from the one numbered `from` on, in order, at most `limit` and
    /// 4096. A damaged row is left out: its slice is sent again.
    ///
    /// # Errors
    /// [`CatalogError`] where the journal cannot be read.
    pub fn slices(&self, transfer: &[u8; 16], from: u32, limit: usize) -> Result<Vec<SliceDone>> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached(include_str!("../sql/journal/slices.sql"))
                .during("reading slices")?;
            let limit = limit.min(PAGE_MAX) as i64;
            let mut rows =
                statement.query(params![transfer, from, limit]).during("reading slices")?;
            let mut found = Vec::new();
            while let Some(row) = rows.next().during("reading slices")? {
                let columns = || -> rusqlite::Result<(SliceDone, [u8; 8])> {
                    let (number, hash) = (row.get(0)?, Hash(row.get(1)?));
                    Ok((SliceDone { number, hash, sealed: row.get(2)? }, row.get(3)?))
                };
                let (slice, sum) = columns().during("reading slices")?;
                if slice_sum(transfer, &slice) == sum {
                    found.push(slice);
                }
            }
            Ok(found)
        })
    }

    /// Records that nodes may hold shards of a segment: with no shard acknowledged before the first
    /// is sent, then as they are acknowledged. Acknowledged shards add up.
    ///
    /// # Errors
    /// [`CatalogError::NoTransfer`].
    pub fn segment(&self, transfer: &[u8; 16], written: SegmentWritten) -> Result<()> {
        self.database.writer.write(points::JOURNAL_SEGMENT, |connection| {
            known(connection, transfer)?;
            let before: Option<(u32, i64)> = connection
                .prepare_cached(include_str!("../sql/journal/acknowledged.sql"))
                .and_then(|mut statement| {
                    statement
                        .query_row(params![transfer, written.segment.0], |row| {
                            Ok((row.get(0)?, row.get(1)?))
                        })
                        .optional()
                })
                .during("recording a segment")?;
            let (acknowledged, sent) = before.unwrap_or((0, stored_time(written.sent)));
            let acknowledged = acknowledged | written.acknowledged;
            put_segment(connection, transfer, &written.segment, acknowledged, sent)
        })
    }

    /// Segments of a transfer after the one given, by id, at most `limit` and 4096. A damaged row
    /// is left out.
    ///
    /// # Errors
    /// [`CatalogError`] where the journal cannot be read.
    pub fn segments(
        &self,
        transfer: &[u8; 16],
        after: Option<SegmentId>,
        limit: usize,
    ) -> Result<Vec<SegmentWritten>> {
        let after = after.map_or_else(Vec::new, |segment| segment.0.to_vec());
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached(include_str!("../sql/journal/segments.sql"))
                .during("reading segments")?;
            let limit = limit.min(PAGE_MAX) as i64;
            let mut rows =
                statement.query(params![transfer, after, limit]).during("reading segments")?;
            let mut found = Vec::new();
            while let Some(row) = rows.next().during("reading segments")? {
                let columns = || -> rusqlite::Result<([u8; 32], u32, i64, [u8; 8])> {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                };
                let (segment, acknowledged, sent, sum) = columns().during("reading segments")?;
                if segment_sum(transfer, &segment, acknowledged, sent) == sum {
                    let segment = SegmentId(segment);
                    found.push(SegmentWritten { segment, acknowledged, sent: sent as u64 });
                }
            }
            Ok(found)
        })
    }

    /// Forgets a transfer, and of its segments those that are `settled`: a committed version has
    /// them, or they were released. The others are [orphans](Self::orphans). A transfer that is not
    /// known is passed over.
    ///
    /// # Errors
    /// [`CatalogError`] where the journal cannot be written.
    pub fn end(&self, transfer: &[u8; 16], settled: &[SegmentId]) -> Result<()> {
        self.database.writer.write(points::JOURNAL_END, |connection| {
            for sql in [
                include_str!("../sql/journal/end_slices.sql"),
                include_str!("../sql/journal/end.sql"),
            ] {
                connection
                    .prepare_cached(sql)
                    .and_then(|mut statement| statement.execute([transfer]))
                    .during("ending a transfer")?;
            }
            for segment in settled {
                drop_segment(connection, transfer, segment)?;
            }
            Ok(())
        })
    }
}

/// A time as it is stored; its order is all that is lost of one beyond the year 292 million.
fn stored_time(time: Timestamp) -> i64 {
    time.min(i64::MAX as u64) as i64
}

fn put_segment(
    connection: &Connection,
    transfer: &[u8; 16],
    segment: &SegmentId,
    acknowledged: u32,
    sent: i64,
) -> Result<()> {
    let sum = segment_sum(transfer, &segment.0, acknowledged, sent);
    connection
        .prepare_cached(include_str!("../sql/journal/segment.sql"))
        .and_then(|mut statement| {
            statement.execute(params![transfer, segment.0, acknowledged, sent, sum])
        })
        .during("recording a segment")?;
    Ok(())
}

/// Returns how many rows went.
fn drop_segment(
    connection: &Connection,
    transfer: &[u8; 16],
    segment: &SegmentId,
) -> Result<usize> {
    connection
        .prepare_cached(include_str!("../sql/journal/forget_segment.sql"))
        .and_then(|mut statement| statement.execute(params![transfer, segment.0]))
        .during("forgetting a segment")
}

/// How far a log had come when this was written: a catalog that ends earlier lost operations that
/// were acknowledged. SQLite takes a damaged write-ahead log for one that a crash cut off, and says
/// nothing; a row in another file, written after each commit, notices. Not synced, so after a power
/// cut it may be behind, never ahead.
impl Journal {
    /// Remembers that a log reached an operation.
    pub(crate) fn saw(&self, log: &LogId, sequence: u64, hash: &Hash) -> Result<()> {
        let sum = witness_sum(log, sequence, hash);
        self.database.writer.write(points::JOURNAL_SAW, |connection| {
            connection
                .prepare_cached(include_str!("../sql/journal/saw.sql"))
                .and_then(|mut statement| {
                    statement.execute(params![log.0, sequence as i64, hash.0, sum])
                })
                .during("remembering the log's end")?;
            Ok(())
        })
    }

    /// How far a log had come at least.
    pub(crate) fn seen(&self, log: &LogId) -> Result<Option<(u64, Hash)>> {
        self.read(|connection| {
            let row: Option<(i64, [u8; 32], [u8; 8])> = connection
                .prepare_cached(include_str!("../sql/journal/seen.sql"))
                .and_then(|mut statement| {
                    statement
                        .query_row([log.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                        .optional()
                })
                .during("reading the log's end")?;
            Ok(row.and_then(|(sequence, hash, sum)| {
                let (sequence, hash) = (sequence as u64, Hash(hash));
                (witness_sum(log, sequence, &hash) == sum).then_some((sequence, hash))
            }))
        })
    }

    /// How far a log had come by the journal at `path`, where there is one. A damaged one is left
    /// as it is.
    pub(crate) fn witnessed(path: &Path, log: &LogId) -> Result<Option<(u64, Hash)>> {
        if !path.try_exists().with("looking for", path)? && left_beside(path)?.is_none() {
            return Ok(None);
        }
        let database = open_checked(path, SCHEMA, &Steps::default())?;
        Self { database, lost: None, under_way: Mutex::default() }.seen(log)
    }
}

fn witness_sum(log: &LogId, sequence: u64, hash: &Hash) -> [u8; 8] {
    WITNESS_SUM.of(&[&log.0, &sequence.to_le_bytes(), &hash.0])
}

fn bound(what: &'static str, count: usize, bound: usize) -> Result<()> {
    if count > bound { Err(CatalogError::TooMany { what, count, bound }) } else { Ok(()) }
}

fn what(source: &Source, path: &MeshPath) -> Hash {
    let mut out = Writer::new();
    source.encode(&mut out);
    path.encode(&mut out);
    Hash::derive(WHAT_CONTEXT, &out.into_vec())
}

fn slice_sum(transfer: &[u8; 16], slice: &SliceDone) -> [u8; 8] {
    SLICE_SUM.of(&[transfer, &slice.number.to_le_bytes(), &slice.hash.0, &slice.sealed])
}

fn segment_sum(transfer: &[u8; 16], segment: &[u8; 32], acknowledged: u32, sent: i64) -> [u8; 8] {
    SEGMENT_SUM.of(&[transfer, segment, &acknowledged.to_le_bytes(), &sent.to_le_bytes()])
}

fn known(connection: &Connection, transfer: &[u8; 16]) -> Result<()> {
    let count: i64 = connection
        .prepare_cached(include_str!("../sql/journal/known.sql"))
        .and_then(|mut statement| statement.query_row([transfer], |row| row.get(0)))
        .during("looking for a transfer")?;
    if count > 0 {
        return Ok(());
    }
    let id = transfer.iter().map(|byte| format!("{byte:02x}")).collect();
    Err(CatalogError::NoTransfer { id })
}

/// Transfers in the order of the statement; damaged rows are left out.
fn rows(connection: &Connection, sql: &'static str, what: Option<Hash>) -> Result<Vec<Transfer>> {
    let mut statement = connection.prepare_cached(sql).during("reading transfers")?;
    let mut rows = match what {
        Some(what) => statement.query([what.0]),
        None => statement.query([]),
    }
    .during("reading transfers")?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().during("reading transfers")? {
        let columns = || -> rusqlite::Result<([u8; 16], Vec<u8>, [u8; 8])> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        };
        let (id, record, sum) = columns().during("reading transfers")?;
        if TRANSFER_SUM.of(&[&id, &record]) != sum {
            continue;
        }
        let Stored { source, path, started, k, m } = read("a transfer", &record)?;
        let scheme = Scheme::new(k, m)
            .map_err(|error| crate::error::damaged("a transfer", error.to_string()))?;
        found.push(Transfer { id, source, path, started, scheme });
    }
    Ok(found)
}
