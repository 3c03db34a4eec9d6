//! Writing a tar.

use crate::entry::{Entry, Pen};
use crate::error::ArchiveError;
use crate::layers::Layer;

use super::header::{self, Header, OCTAL_SIZE_MAX};
use super::pax::{METADATA, record};
use super::{BLOCK, padding};

/// The name of an extended header, for programs that do not know such headers and unpack it as a file.
const EXTENDED_NAME: &[u8] = b"PaxHeaders/entry";

/// Bytes of a record, up to whole of which archives are filled, as every tar does.
const RECORD_BYTES: u64 = 20 * BLOCK as u64;

/// A tar that is written.
pub struct TarPen {
    out: Box<dyn Layer>,
    written: u64,
    /// The entry that is being written: its name, and bytes that are still to come.
    open: Option<(String, u64, u64)>,
}

impl TarPen {
    /// Writes a tar to `out`.
    pub fn new(out: Box<dyn Layer>) -> Self {
        Self { out, written: 0, open: None }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(ArchiveError::writing)
    }

    fn fill(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        // Never more than a record and a block.
        self.put(&vec![0; bytes as usize])
    }

    /// What does not fit the header itself.
    fn extended(&mut self, entry: &Entry, name: &str) -> Result<(), ArchiveError> {
        let mut records = String::new();
        if header::place(name.as_bytes()).is_none() {
            records.push_str(&record("path", name));
        }
        if entry.size > OCTAL_SIZE_MAX {
            records.push_str(&record("size", &entry.size.to_string()));
        }
        if let Some(metadata) = &entry.metadata {
            if !entry.modified.is_multiple_of(1000) {
                let time = format!("{}.{:03}", entry.modified / 1000, entry.modified % 1000);
                records.push_str(&record("mtime", &time));
            }
            if let Some(text) = metadata.to_text() {
                records.push_str(&record(METADATA, &text));
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let size = records.len() as u64;
        let header = Header { kind: b'x', size, mode: 0o644, ..Header::default() };
        self.put(&header.block((&[], EXTENDED_NAME)))?;
        self.put(records.as_bytes())?;
        self.fill(padding(size))
    }
}

impl Pen for TarPen {
    fn begin(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        let name = entry.stored_name();
        self.extended(entry, &name)?;
        let header = Header {
            kind: if entry.folder { b'5' } else { b'0' },
            size: entry.size,
            mode: entry.permissions(),
            seconds: entry.modified / 1000,
            ..Header::default()
        };
        let bytes = name.as_bytes();
        // A name that does not fit stands in full in the extended header.
        let short = (&[][..], &bytes[..name.floor_char_boundary(99)]);
        let block = header.block(header::place(bytes).unwrap_or(short));
        self.put(&block)?;
        self.open = Some((name, entry.size, padding(entry.size)));
        Ok(())
    }

    fn write(&mut self, content: &[u8]) -> Result<(), ArchiveError> {
        if let Some((name, left, _)) = &mut self.open {
            let wrong = || ArchiveError::Length { name: name.clone() };
            *left = left.checked_sub(content.len() as u64).ok_or_else(wrong)?;
        }
        self.put(content)
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        match self.open.take() {
            Some((_, 0, fill)) => self.fill(fill),
            Some((name, _, _)) => Err(ArchiveError::Length { name }),
            None => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<(), ArchiveError> {
        self.fill(2 * BLOCK as u64)?;
        let over = self.written % RECORD_BYTES;
        self.fill((RECORD_BYTES - over) % RECORD_BYTES)?;
        self.out.finish().map_err(ArchiveError::writing)
    }
}
