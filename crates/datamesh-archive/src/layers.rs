//! What lies between an archive's format and the file: compression, and the seal under a password.
//!
//! Writing goes through a [`Layer`], which has an end of its own to write. Reading goes through plain
//! readers; that which counts lies at the bottom.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Compression of `tar.zst`: zstd's own choice.
const ZSTD_LEVEL: i32 = 3;

/// Largest window of a zstd stream, as a power of two: 128 MiB, what zstd itself takes unless told more.
const WINDOW_LOG_MAX: u32 = 27;

/// Bytes that are written to the file at once.
const WRITE_BYTES: usize = 256 * 1024;

/// Something that is written to and has an end.
pub trait Layer: Write + Send {
    /// Writes its end and that of the layers below.
    ///
    /// # Errors
    /// What writing says.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// The lowest layer: writes on and counts.
pub struct Bottom<W: Write + Send> {
    out: BufWriter<W>,
    written: Arc<AtomicU64>,
}

impl<W: Write + Send> Bottom<W> {
    /// Writes to `out`; `written` counts.
    pub fn new(out: W, written: Arc<AtomicU64>) -> Self {
        Self { out: BufWriter::with_capacity(WRITE_BYTES, out), written }
    }
}

impl<W: Write + Send> Write for Bottom<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.written.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write + Send> Layer for Bottom<W> {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.out.flush()
    }
}

/// Compresses with zstd.
pub(crate) struct Compressing(zstd::stream::write::Encoder<'static, Box<dyn Layer>>);

impl Compressing {
    /// Compresses into `out`, with zstd's checksum of the content.
    pub(crate) fn new(out: Box<dyn Layer>) -> io::Result<Self> {
        let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self(encoder))
    }
}

impl Write for Compressing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Layer for Compressing {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.finish()?.finish()
    }
}

/// Expands a zstd stream, which may have several frames.
pub(crate) fn expanding(input: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut decoder = zstd::stream::read::Decoder::new(input)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(Box::new(Damage(decoder)))
}

/// Says of what zstd refuses that it is the archive that is damaged, not the disk.
struct Damage<R>(R);

impl<R: Read> Read for Damage<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out).map_err(|error| {
            let own = error.kind() == io::ErrorKind::Other
                && error.get_ref().is_none_or(|inner| !inner.is::<crate::ArchiveError>());
            if !own {
                return error;
            }
            crate::ArchiveError::Damaged(
                "what zstd compressed does not expand, or needs a window above 128 MiB",
            )
            .into_io()
        })
    }
}

/// Counts what is read.
pub(crate) struct Counted<R> {
    pub(crate) input: R,
    pub(crate) count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(out)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A reader of a file with a place of its own, so that several read it at once.
pub(crate) struct FileView {
    file: Arc<File>,
    at: u64,
    length: u64,
}

impl FileView {
    /// Reads from the beginning.
    pub(crate) fn new(file: Arc<File>) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, at: 0, length })
    }
}

impl Read for FileView {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(out, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for FileView {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = place(to, self.at, self.length)?;
        Ok(self.at)
    }
}

/// Where seeking leads.
pub(crate) fn place(to: SeekFrom, at: u64, length: u64) -> io::Result<u64> {
    let place = match to {
        SeekFrom::Start(place) => Some(place),
        SeekFrom::Current(by) => at.checked_add_signed(by),
        SeekFrom::End(by) => length.checked_add_signed(by),
    };
    place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}
