//! Finds the records of a pack by reading all of it.
//!
//! Whatever a crash left is met here: records that are whole, records that are torn, gaps. A scan
//! goes on at the next aligned place that has a valid record and changes nothing. Shards are
//! compared with their roots, because the crash may have torn their cells, which the record's hash
//! does not cover.

use datamesh_core::wire::decode;

use crate::buffer::{PooledBuffer, ReadPool};
use crate::disk::{DiskError, DiskFile};
use crate::pack::plausible_in_scan;
use crate::record::{
    HEADER_BYTES, Header, Kind, MAGIC, RECORD_ALIGNMENT, RecordKey, Row, ShardMeta, root_of,
};

/// Bytes read at a time.
const WINDOW_BYTES: usize = 1 << 20;

/// Bytes read at a time where the disk could not read a window.
const RETRY_BYTES: usize = 4096;

/// What a scan found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The records in the order of their places, internal kinds left out.
    pub(crate) rows: Vec<Row>,
    /// Bytes that are neither a record nor zero. They held records that were never acknowledged,
    /// or they are damaged.
    pub(crate) unreadable: u64,
    /// Where nothing is any more: behind the end of the file and of every record that began in it.
    /// What is appended inside the span of a torn record would be skipped with it.
    pub(crate) end: u64,
}

/// Reads a pack from its beginning to its end.
pub(crate) fn scan(
    file: &dyn DiskFile,
    key: &RecordKey,
    pack: u32,
    pool: &ReadPool,
) -> Result<Scan, DiskError> {
    let length = file.length()?;
    let mut window = Window { file, buffer: pool.take(WINDOW_BYTES), start: 0, filled: 0, length };
    let mut found = Scan { end: length, ..Scan::default() };
    let mut offset = 0;
    while offset + HEADER_BYTES as u64 <= length {
        match window.record(key, pack, offset) {
            Some((header, mut row)) => {
                if row.known() == Some(Kind::Shard) {
                    row.damaged = !window.cells_have_root(&row);
                }
                if !matches!(row.known(), Some(Kind::PackHeader | Kind::PackEnd)) {
                    found.rows.push(row);
                }
                found.end = found.end.max(offset + header.span());
                // Where the cells are not what they should be, something else may be there.
                offset += if row.damaged { header.hashed_span() } else { header.span() };
            }
            None => {
                found.unreadable += window.nonzero(offset);
                offset += RECORD_ALIGNMENT as u64;
            }
        }
    }
    Ok(found)
}

struct Window<'a> {
    file: &'a dyn DiskFile,
    buffer: PooledBuffer,
    start: u64,
    filled: usize,
    length: u64,
}

impl Window<'_> {
    /// Bytes from `offset` on: `count`, or fewer at the end of the file.
    fn at(&mut self, offset: u64, count: usize) -> &[u8] {
        let count = count.min(self.length.saturating_sub(offset) as usize).min(WINDOW_BYTES);
        let inside =
            offset >= self.start && offset + count as u64 <= self.start + self.filled as u64;
        if !inside {
            self.fill(offset);
        }
        let from = (offset - self.start) as usize;
        let to = (from + count).min(self.filled);
        &self.buffer.as_ref()[from..to]
    }

    /// Reads a window that begins at `offset`. What the disk cannot read counts as zeros: no
    /// record begins there, and one that reaches into it does not have its hash.
    fn fill(&mut self, offset: u64) {
        let wanted = (self.length - offset).min(WINDOW_BYTES as u64) as usize;
        let out = &mut self.buffer.as_mut_slice()[..wanted];
        self.filled = match self.file.read_at(offset, out) {
            Ok(count) => count,
            Err(_) => {
                let mut at = offset;
                for part in out.chunks_mut(RETRY_BYTES) {
                    let count = self.file.read_at(at, part).unwrap_or(0);
                    part[count..].fill(0);
                    at += part.len() as u64;
                }
                wanted
            }
        };
        self.start = offset;
    }

    fn nonzero(&mut self, offset: u64) -> u64 {
        let slot = self.at(offset, RECORD_ALIGNMENT);
        if slot.iter().any(|byte| *byte != 0) { slot.len() as u64 } else { 0 }
    }

    fn record(&mut self, key: &RecordKey, pack: u32, offset: u64) -> Option<(Header, Row)> {
        let head = self.at(offset, HEADER_BYTES);
        if head.get(..4) != Some(&MAGIC.to_le_bytes()) {
            return None;
        }
        let (header, hash) = Header::read(head)?;
        if !plausible_in_scan(&header) {
            return None;
        }
        let hashed_end = HEADER_BYTES + header.hashed as usize;
        let hashed = self.at(offset, hashed_end).get(HEADER_BYTES..hashed_end)?;
        if key.hash(pack, offset, &header, hashed) != hash {
            return None;
        }
        let at = u32::try_from(offset / RECORD_ALIGNMENT as u64).ok()?;
        Some((header, Row::of(at, &header, hashed)))
    }

    fn cells_have_root(&mut self, row: &Row) -> bool {
        let hashed_end = HEADER_BYTES + row.hashed as usize;
        let Some(hashed) = self.at(row.offset(), hashed_end).get(HEADER_BYTES..hashed_end) else {
            return false;
        };
        let Ok(meta) = decode::<ShardMeta>(hashed) else { return false };
        let mut hasher = blake3::Hasher::new();
        let mut offset = row.offset() + hashed_end as u64;
        let end = row.offset() + row.record_bytes();
        while offset < end {
            let part = self.at(offset, (end - offset).min(WINDOW_BYTES as u64) as usize);
            if part.is_empty() {
                return false;
            }
            hasher.update(part);
            offset += part.len() as u64;
        }
        root_of(&meta).is_some_and(|root| root.0 == *hasher.finalize().as_bytes())
    }
}
