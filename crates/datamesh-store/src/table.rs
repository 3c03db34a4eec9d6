//! The table of a sealed pack: one row a record, so that start-up need not read the pack.
//!
//! The last block of a sealed pack begins with a [`PackEnd`] record, which names the place of the
//! table's record. Both are checked like every record; a pack without a valid table is scanned.

use datamesh_core::wire::{Decode, Encode, Reader, Writer, decode};

use crate::disk::{ALIGNMENT, DiskFile};
use crate::pack::{PACK_ROWS_MAX, read_at};
use crate::record::{Kind, PackEnd, RECORD_ALIGNMENT, RECORD_VERSION, ROW_BYTES, RecordKey, Row};

/// Bytes that a table of so many rows and the end take in a pack, at most.
pub(crate) fn table_bytes(rows: usize) -> u64 {
    (rows * ROW_BYTES + 3 * ALIGNMENT) as u64
}

/// Bytes that records of so many bytes need in all: themselves, what fills their group up, and
/// their rows.
pub(crate) fn room_for(bytes: u64, records: usize) -> u64 {
    bytes + table_bytes(records)
}

/// The body of a table's record.
pub(crate) fn encode_table(rows: &[Row]) -> Vec<u8> {
    let mut out = Writer::new();
    rows.iter().for_each(|row| row.encode(&mut out));
    out.into_vec()
}

/// The rows of a pack, if it is sealed and its table is whole.
pub(crate) fn read_table(file: &dyn DiskFile, key: &RecordKey, pack: u32) -> Option<Vec<Row>> {
    let length = file.length().ok()?;
    let end_offset = length.checked_sub(ALIGNMENT as u64)?;
    if !length.is_multiple_of(ALIGNMENT as u64) {
        return None;
    }
    let (header, body) = read_at(file, key, pack, end_offset, RECORD_ALIGNMENT)?;
    if header.kind != Kind::PackEnd as u8 || header.version != RECORD_VERSION {
        return None;
    }
    let end: PackEnd = decode(&body).ok()?;
    let table_offset = u64::from(end.table) * RECORD_ALIGNMENT as u64;
    let (header, body) = read_at(file, key, pack, table_offset, PACK_ROWS_MAX * ROW_BYTES)?;
    if header.kind != Kind::PackTable as u8 || header.version != RECORD_VERSION {
        return None;
    }
    let mut from = Reader::new(&body);
    let mut rows = Vec::with_capacity(body.len() / ROW_BYTES);
    while from.remaining() > 0 {
        let row = Row::decode(&mut from).ok()?;
        if row.hashed > row.length {
            return None;
        }
        rows.push(row);
    }
    Some(rows)
}
