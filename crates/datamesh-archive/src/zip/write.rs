//! Writing a zip, from its beginning to its end and never back, so that it can go into a pipe and
//! through a seal.
//!
//! What is at hand as a whole is written with its sizes before it; what comes in pieces has them in a
//! descriptor behind it. The directory is kept in memory until the end: about 100 bytes a file, and its
//! metadata.

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use crate::entry::{Entry, Pen};
use crate::error::ArchiveError;
use crate::layers::Layer;

use super::directory::to_dos;
use super::record::{
    CENTRAL, DESCRIBED, DESCRIPTOR, END, END64, END64_BYTES, EXTRA_TIME, EXTRA_ZIP64, IN_64,
    IN_64_SHORT, LOCAL, LOCATOR64, Record, UTF8,
};
use super::{DEFLATED, STORED, UNIX};

/// Bytes of the beginning of a file by which it is decided whether to compress it.
const SAMPLE_BYTES: usize = 64 * 1024;

/// Compression must take at least one part in so many away.
const GAIN: usize = 32;

/// Version that is needed to read deflate and folders, and zip64.
const VERSION: u16 = 20;
const VERSION_64: u16 = 45;

/// The types of files in Unix's permissions.
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// What DOS calls a folder.
const DOS_FOLDER: u32 = 0x10;

/// A zip that is written.
pub struct ZipPen {
    out: Box<dyn Layer>,
    written: u64,
    entries: u64,
    directory: Vec<u8>,
    open: Option<Open>,
    packed: Vec<u8>,
}

/// The entry that is written.
struct Open {
    entry: Entry,
    at: u64,
    header: bool,
    deflate: Option<Box<Compress>>,
    checksum: Crc,
    size: u64,
    packed: u64,
    wide: bool,
}

/// What is known of an entry's content.
#[derive(Clone, Copy)]
struct Numbers {
    method: u16,
    flags: u16,
    checksum: u32,
    packed: u64,
    size: u64,
    /// Sizes of 64 bits stand in the local header.
    wide: bool,
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn narrow_short(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

impl ZipPen {
    /// Writes a zip to `out`.
    pub fn new(out: Box<dyn Layer>) -> Self {
        let (directory, packed) = (Vec::new(), Vec::new());
        Self { out, written: 0, entries: 0, directory, open: None, packed }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(ArchiveError::writing)
    }

    /// The part that both headers share.
    fn shared(record: &mut Record, entry: &Entry, numbers: Numbers, sizes: (u64, u64)) {
        let (date, time) = to_dos(entry.modified);
        record.u16(if numbers.wide { VERSION_64 } else { VERSION });
        record.u16(numbers.flags).u16(numbers.method).u16(time).u16(date);
        record.u32(numbers.checksum).u32(narrow(sizes.0)).u32(narrow(sizes.1));
    }

    fn time_field(entry: &Entry) -> Vec<u8> {
        let mut field = Record::default();
        if let (1.., Ok(seconds)) = (entry.modified, i32::try_from(entry.modified / 1000)) {
            field.u16(EXTRA_TIME).u16(5).raw(&[1]).u32(seconds.cast_unsigned());
        }
        field.0
    }

    fn local(&mut self, entry: &Entry, numbers: Numbers) -> Result<(), ArchiveError> {
        let name = entry.stored_name();
        let mut record = Record::default();
        record.u32(LOCAL);
        // Of what comes in pieces the sizes are not known yet, and zip64 says so by zeros there.
        let (sizes, inner) = match (numbers.wide, numbers.flags & DESCRIBED != 0) {
            (true, true) => ((IN_64, IN_64), (0, 0)),
            (true, false) => ((IN_64, IN_64), (numbers.packed, numbers.size)),
            (false, true) => ((0, 0), (0, 0)),
            (false, false) => ((numbers.packed, numbers.size), (0, 0)),
        };
        Self::shared(&mut record, entry, numbers, sizes);
        let mut fields = Record(Self::time_field(entry));
        if numbers.wide {
            fields.u16(EXTRA_ZIP64).u16(16).u64(inner.1).u64(inner.0);
        }
        record.u16(narrow_short(name.len() as u64)).u16(narrow_short(fields.0.len() as u64));
        record.raw(name.as_bytes()).raw(&fields.0);
        self.put(&record.0)
    }

    /// Adds an entry to the directory.
    fn list(&mut self, entry: &Entry, numbers: Numbers, at: u64) {
        let name = entry.stored_name();
        let comment = entry.metadata.as_ref().and_then(|metadata| metadata.to_text());
        let comment = comment.unwrap_or_default();
        let mut wide = Record::default();
        for value in [numbers.size, numbers.packed, at] {
            if value >= IN_64 {
                wide.u64(value);
            }
        }
        let mut fields = Record(Self::time_field(entry));
        if !wide.0.is_empty() {
            fields.u16(EXTRA_ZIP64).u16(wide.0.len() as u16).raw(&wide.0);
        }
        let mut record = Record(std::mem::take(&mut self.directory));
        record.u32(CENTRAL).u16(u16::from(UNIX) << 8 | VERSION_64);
        let numbers = Numbers { wide: numbers.wide || !wide.0.is_empty(), ..numbers };
        Self::shared(&mut record, entry, numbers, (numbers.packed, numbers.size));
        record.u16(narrow_short(name.len() as u64)).u16(narrow_short(fields.0.len() as u64));
        record.u16(narrow_short(comment.len() as u64)).u16(0).u16(0);
        let (kind, dos) = if entry.folder { (DIRECTORY, DOS_FOLDER) } else { (REGULAR, 0) };
        record.u32((kind | entry.permissions()) << 16 | dos).u32(narrow(at));
        record.raw(name.as_bytes()).raw(&fields.0).raw(comment.as_bytes());
        self.directory = record.0;
        self.entries += 1;
    }

    /// Compresses into `self.packed`; with `last` to the end.
    fn pack(
        deflate: &mut Compress,
        content: &[u8],
        last: bool,
        packed: &mut Vec<u8>,
    ) -> Result<(), ArchiveError> {
        let flush = if last { FlushCompress::Finish } else { FlushCompress::None };
        let begin = deflate.total_in();
        loop {
            packed.reserve(content.len().max(1024));
            let took = (deflate.total_in() - begin) as usize;
            let status = deflate.compress_vec(&content[took..], packed, flush);
            let status =
                status.map_err(|error| ArchiveError::Write(std::io::Error::other(error)))?;
            let done = (deflate.total_in() - begin) as usize == content.len();
            let room = packed.capacity() > packed.len();
            if status == Status::StreamEnd || (!last && done && room) {
                return Ok(());
            }
        }
    }

    /// Begins the open entry in the archive, now that the beginning of its content is known.
    fn start(&mut self, sample: &[u8]) -> Result<(), ArchiveError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let sample = &sample[..sample.len().min(SAMPLE_BYTES)];
        let mut trial = Vec::new();
        Self::pack(&mut deflate(), sample, true, &mut trial)?;
        if trial.len() + sample.len() / GAIN <= sample.len() {
            open.deflate = Some(Box::new(deflate()));
        }
        // What does not shrink grows by five bytes in 16 KiB at the most.
        open.wide = open.entry.size >= IN_64 - (IN_64 >> 10);
        let numbers = open.numbers(0);
        open.at = self.written;
        open.header = true;
        self.local(&open.entry, numbers)?;
        self.open = Some(open);
        Ok(())
    }
}

fn deflate() -> Compress {
    Compress::new(Compression::default(), false)
}

impl Open {
    fn numbers(&self, checksum: u32) -> Numbers {
        Numbers {
            method: if self.deflate.is_some() { DEFLATED } else { STORED },
            flags: UTF8 | DESCRIBED,
            checksum,
            packed: self.packed,
            size: self.size,
            wide: self.wide,
        }
    }
}

impl Pen for ZipPen {
    fn whole(&mut self, entry: &Entry, content: &[u8]) -> Result<(), ArchiveError> {
        if content.len() as u64 != entry.size {
            return Err(ArchiveError::Length { name: entry.name.clone() });
        }
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        if !content.is_empty() {
            Self::pack(&mut deflate(), content, true, &mut packed)?;
        }
        let shrinks = packed.len() + content.len() / GAIN < content.len();
        let (method, stored) = if shrinks { (DEFLATED, &packed[..]) } else { (STORED, content) };
        let mut checksum = Crc::new();
        checksum.update(content);
        let numbers = Numbers {
            method,
            flags: UTF8,
            checksum: checksum.sum(),
            packed: stored.len() as u64,
            size: entry.size,
            wide: entry.size >= IN_64,
        };
        let at = self.written;
        self.local(entry, numbers)?;
        self.put(stored)?;
        self.list(entry, numbers, at);
        self.packed = packed;
        Ok(())
    }

    fn begin(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        self.open = Some(Open {
            entry: entry.clone(),
            at: self.written,
            header: false,
            deflate: None,
            checksum: Crc::new(),
            size: 0,
            packed: 0,
            wide: false,
        });
        Ok(())
    }

    fn write(&mut self, content: &[u8]) -> Result<(), ArchiveError> {
        if self.open.as_ref().is_some_and(|open| !open.header) {
            self.start(content)?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.checksum.update(content);
        open.size += content.len() as u64;
        let Some(deflate) = &mut open.deflate else {
            open.packed += content.len() as u64;
            return self.put(content);
        };
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        Self::pack(deflate, content, false, &mut packed)?;
        open.packed += packed.len() as u64;
        self.put(&packed)?;
        self.packed = packed;
        Ok(())
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        if self.open.as_ref().is_some_and(|open| !open.header) {
            self.start(&[])?;
        }
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if let Some(deflate) = &mut open.deflate {
            let mut packed = Vec::new();
            Self::pack(deflate, &[], true, &mut packed)?;
            open.packed += packed.len() as u64;
            self.put(&packed)?;
        }
        if open.size != open.entry.size {
            return Err(ArchiveError::Length { name: open.entry.name });
        }
        let numbers = open.numbers(open.checksum.sum());
        let mut record = Record::default();
        record.u32(DESCRIPTOR).u32(numbers.checksum);
        match open.wide {
            true => record.u64(numbers.packed).u64(numbers.size),
            false => record.u32(narrow(numbers.packed)).u32(narrow(numbers.size)),
        };
        self.put(&record.0)?;
        self.list(&open.entry, numbers, open.at);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ArchiveError> {
        let (at, size) = (self.written, self.directory.len() as u64);
        let directory = std::mem::take(&mut self.directory);
        self.put(&directory)?;
        let mut record = Record::default();
        if self.entries >= IN_64_SHORT || size >= IN_64 || at >= IN_64 {
            record.u32(END64).u64(END64_BYTES as u64 - 12).u16(u16::from(UNIX) << 8 | VERSION_64);
            record.u16(VERSION_64).u32(0).u32(0).u64(self.entries).u64(self.entries);
            record.u64(size).u64(at);
            record.u32(LOCATOR64).u32(0).u64(at + size).u32(1);
        }
        let entries = narrow_short(self.entries);
        record.u32(END).u16(0).u16(0).u16(entries).u16(entries);
        record.u32(narrow(size)).u32(narrow(at)).u16(0);
        self.put(&record.0)?;
        self.out.finish().map_err(ArchiveError::writing)
    }
}
