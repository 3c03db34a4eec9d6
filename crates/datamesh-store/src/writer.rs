//! The open pack: appends groups, seals, and begins the next pack.
//!
//! Whoever leads a group has the writer to itself. A pack whose write or sync failed is left as it
//! is: nothing is known of its end any more, so what comes next goes into a new pack. After
//! [`FAILURES_MAX`] failures in a row the writer stops until the store is opened again, because a
//! disk like that needs a person.

use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::config::StoreConfig;
use crate::disk::{ALIGNMENT, Disk, DiskError, DiskFile};
use crate::error::StoreError;
use crate::pack::{PACK_ROWS_MAX, name_of};
use crate::points::{self, step};
use crate::record::{Draft, Kind, PackEnd, PackHeader, RECORD_ALIGNMENT, RecordKey, Row};
use crate::table::{encode_table, table_bytes};
use datamesh_core::wire::Encode;

/// Failed writes in a row, each in a new pack, after which no more are tried.
const FAILURES_MAX: u32 = 3;

/// Room is reserved in steps of this many bytes.
const ALLOCATION_BYTES: u64 = 64 << 20;

/// A pack that takes appends.
#[derive(Debug)]
pub(crate) struct OpenPack {
    pub(crate) number: u32,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Where the next group begins, aligned.
    pub(crate) end: u64,
    /// Room is reserved up to here.
    pub(crate) allocated: u64,
    /// Every record so far, for the table.
    pub(crate) rows: Vec<Row>,
}

/// A record's change of the index, once it is synced.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) pack: u32,
    pub(crate) rows: Vec<Row>,
    /// Set where this write began a pack.
    pub(crate) began: Option<Arc<dyn DiskFile>>,
}

#[derive(Debug)]
pub(crate) struct PackWriter {
    disk: Arc<dyn Disk>,
    pub(crate) config: StoreConfig,
    pub(crate) open: Option<OpenPack>,
    /// Number of the next pack that is begun.
    pub(crate) next_number: u32,
    /// Bytes of packs that take no more appends.
    closed_bytes: u64,
    failures: u32,
    buffer: AlignedBuffer,
    /// Why no more is written.
    pub(crate) stopped: Option<String>,
}

impl PackWriter {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        config: StoreConfig,
        open: Option<OpenPack>,
        next_number: u32,
        closed_bytes: u64,
    ) -> Self {
        Self {
            disk,
            config,
            open,
            next_number,
            closed_bytes,
            failures: 0,
            buffer: AlignedBuffer::default(),
            stopped: None,
        }
    }

    /// Bytes of all packs.
    pub(crate) fn used(&self) -> u64 {
        self.used_beside(self.open.as_ref())
    }

    fn used_beside(&self, open: Option<&OpenPack>) -> u64 {
        self.closed_bytes + open.map_or(0, |open| open.end)
    }

    /// Bytes that may still be written: within the capacity, and above the reserve.
    pub(crate) fn free(&self) -> Result<u64, DiskError> {
        self.free_beside(self.open.as_ref())
    }

    fn free_beside(&self, open: Option<&OpenPack>) -> Result<u64, DiskError> {
        let space = self.disk.space()?;
        let reserved = open.map_or(0, |open| open.allocated.saturating_sub(open.end));
        let above_reserve =
            (space.free + reserved).saturating_sub(self.config.reserve(space.total));
        Ok(above_reserve.min(self.config.capacity.saturating_sub(self.used_beside(open))))
    }

    /// Writes records as one group and syncs it. `drafts` fit into the bound of a group.
    pub(crate) fn append(
        &mut self,
        key: &RecordKey,
        drafts: &[Draft<'_>],
    ) -> Result<Written, StoreError> {
        if let Some(reason) = &self.stopped {
            return Err(StoreError::ReadOnly { reason: reason.clone() });
        }
        let bytes: u64 = drafts.iter().map(|draft| draft.header().span()).sum();
        let bytes = bytes.next_multiple_of(ALIGNMENT as u64);
        self.seal_if_due(key, drafts.len(), bytes);
        let mut began = None;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let open = self.begin(key)?;
                began = Some(open.file.clone());
                open
            }
        };
        if let Err(error) = self.reserve(&mut open, bytes) {
            self.open = Some(open);
            return Err(error.into());
        }
        self.buffer.clear();
        self.buffer.reserve(bytes as usize);
        let rows: Vec<Row> = drafts
            .iter()
            .map(|draft| place(&mut self.buffer, key, open.number, open.end, draft))
            .collect();
        self.buffer.pad(ALIGNMENT);
        let (disk, buffer) = (&*self.disk, self.buffer.as_slice());
        let write = || open.file.write_at(open.end, buffer);
        let written = step(disk, points::GROUP_WRITE, write)
            .and_then(|()| step(disk, points::GROUP_SYNC, || open.file.sync_data()));
        if let Err(error) = written {
            return Err(self.abandon(open, bytes, error));
        }
        self.failures = 0;
        open.end += bytes;
        open.rows.extend_from_slice(&rows);
        let pack = open.number;
        self.open = Some(open);
        Ok(Written { pack, rows, began })
    }

    /// Leaves a pack whose last write or sync failed.
    fn abandon(&mut self, open: OpenPack, bytes: u64, error: DiskError) -> StoreError {
        self.closed_bytes += open.file.length().unwrap_or(open.end + bytes);
        self.failed(&error);
        error.into()
    }

    fn failed(&mut self, error: &DiskError) {
        self.failures += 1;
        if self.failures >= FAILURES_MAX && !error.is_full() {
            self.stopped =
                Some(format!("{FAILURES_MAX} writes in a row failed, the last: {error}"));
        }
    }

    fn reserve(&self, open: &mut OpenPack, bytes: u64) -> Result<(), DiskError> {
        let end = open.end + bytes;
        if end <= open.allocated {
            return Ok(());
        }
        // Room is taken from the reserve and beyond the capacity by nobody, not even in advance.
        let from = open.allocated.max(open.end);
        let free = self.free_beside(Some(open))?.saturating_sub(from - open.end);
        let wanted = self.config.pack_bytes.min(from + ALLOCATION_BYTES.min(free)).max(end);
        step(&*self.disk, points::PACK_RESERVE, || {
            let reserved = match open.file.allocate(from, wanted - from) {
                Ok(true) => wanted,
                Ok(false) => return Ok(()),
                // A whole step is no longer there, the group perhaps is.
                Err(error) if error.is_full() => {
                    open.file.allocate(from, end - from)?;
                    end
                }
                Err(error) => return Err(error),
            };
            open.allocated = reserved;
            Ok(())
        })
    }

    fn seal_if_due(&mut self, key: &RecordKey, records: usize, bytes: u64) {
        let due = self.open.as_ref().is_some_and(|open| {
            let rows = open.rows.len() + records;
            let end = open.end + bytes + table_bytes(rows);
            !open.rows.is_empty() && (end > self.config.pack_bytes || rows > PACK_ROWS_MAX)
        });
        if due {
            self.seal_open(key);
        }
    }

    /// Ends the open pack; the next group begins another.
    pub(crate) fn seal_open(&mut self, key: &RecordKey) {
        if let Some(open) = self.open.take() {
            // A pack that could not be sealed is read by scanning it, and sealed when the store is
            // opened the next time.
            match seal(&*self.disk, key, &open, &mut self.buffer) {
                Ok(length) => self.closed_bytes += length,
                Err(error) => {
                    self.abandon(open, 0, error);
                }
            }
        }
    }

    /// A closed pack of that many bytes is gone.
    pub(crate) fn gave_back(&mut self, bytes: u64) {
        self.closed_bytes = self.closed_bytes.saturating_sub(bytes);
    }

    /// Creates the next pack, durably. A file that did not get as far held no record and goes.
    fn begin(&mut self, key: &RecordKey) -> Result<OpenPack, StoreError> {
        let number = self.next_number;
        let name = name_of(number);
        self.next_number = number.checked_add(1).ok_or_else(|| StoreError::ReadOnly {
            reason: "all pack numbers are used".to_owned(),
        })?;
        let disk = Arc::clone(&self.disk);
        let create = || {
            let file = disk.create(&name)?;
            let body = PackHeader { pack: number }.to_bytes();
            let draft = Draft::internal(Kind::PackHeader, &body);
            self.buffer.clear();
            place(&mut self.buffer, key, number, 0, &draft);
            self.buffer.pad(ALIGNMENT);
            file.write_at(0, self.buffer.as_slice())?;
            Ok(file)
        };
        let begun = step(&*disk, points::PACK_CREATE, create).and_then(|file| {
            step(&*disk, points::PACK_SYNC, || file.sync_data())?;
            step(&*disk, points::PACK_LIST, || disk.sync_directory())?;
            Ok(file)
        });
        match begun {
            Ok(file) => {
                let end = self.buffer.len() as u64;
                Ok(OpenPack { number, file, end, allocated: end, rows: Vec::new() })
            }
            Err(error) => {
                self.failed(&error);
                if !matches!(error, DiskError::Exists { .. }) {
                    // Whether it works or not, this writer does not use the number again.
                    let _ = self.disk.remove(&name);
                }
                Err(error.into())
            }
        }
    }
}

/// Appends a record to the buffer, whose beginning will be at `start` of the pack.
fn place(
    buffer: &mut AlignedBuffer,
    key: &RecordKey,
    pack: u32,
    start: u64,
    draft: &Draft<'_>,
) -> Row {
    let offset = start + buffer.len() as u64;
    buffer.append(&draft.seal(key, pack, offset));
    buffer.append(draft.hashed);
    buffer.append(draft.rest);
    buffer.pad(RECORD_ALIGNMENT);
    let at = (offset / RECORD_ALIGNMENT as u64) as u32;
    Row::of(at, &draft.header(), draft.hashed)
}

/// Ends a pack with its table. Returns the length of the file.
pub(crate) fn seal(
    disk: &dyn Disk,
    key: &RecordKey,
    open: &OpenPack,
    buffer: &mut AlignedBuffer,
) -> Result<u64, DiskError> {
    let table = encode_table(&open.rows);
    let draft = Draft::internal(Kind::PackTable, &table);
    buffer.clear();
    let row = place(buffer, key, open.number, open.end, &draft);
    buffer.pad(ALIGNMENT);
    let body = PackEnd { table: row.at }.to_bytes();
    let draft = Draft::internal(Kind::PackEnd, &body);
    place(buffer, key, open.number, open.end, &draft);
    buffer.pad(ALIGNMENT);
    step(disk, points::TABLE_WRITE, || open.file.write_at(open.end, buffer.as_slice()))?;
    step(disk, points::TABLE_SYNC, || open.file.sync_data())?;
    // The pack is whole either way; what is not given back now is only room.
    let _ = step(disk, points::PACK_TRIM, || open.file.release_allocated());
    Ok(open.end + buffer.len() as u64)
}
