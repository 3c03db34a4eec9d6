//! Reading a tar.
//!
//! Promised: whatever the archive says, no more is held in memory than one extended header, whose
//! length is bounded before it is read; an archive without its end mark is cut short, and what follows
//! the mark is refused, because other programs would not show it.
//! Not promised: that content is what was archived. Tar has no checksum of contents.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::entry::{Found, Kind, Walk};
use crate::error::ArchiveError;
use crate::layers::Counted;

use super::header::Header;
use super::pax::Extended;
use super::{BLOCK, padding};

/// Longest extended header: metadata has up to 64 KiB, a name 4 KiB.
const EXTENDED_BYTES_MAX: u64 = 256 * 1024;

/// Extended headers before one entry: a long name, a long target, and those of pax.
const EXTENDED_MAX: usize = 4;

/// Zeros that may follow the end mark: GNU tar fills up to a record, of 10 KiB unless told otherwise.
const TAIL_BYTES_MAX: usize = 64 << 20;

/// Where a block of a sparse file's map says that another follows.
const MORE_AFTER_MAP: usize = 504;

/// Most blocks of such a map: files with 86,000 gaps. What is passed over counts for no limit until the entry
/// is known.
const MAP_BLOCKS_MAX: usize = 4096;

/// A tar that is read.
pub struct TarWalk {
    input: Counted<Box<dyn Read + Send>>,
    consumed: Arc<AtomicU64>,
    /// Bytes of the entry that were not read.
    left: u64,
    /// Bytes that fill its last block.
    fill: u64,
    first: bool,
}

/// What the headers before an entry say of it.
#[derive(Default)]
struct Before {
    extended: Extended,
    has_extended: bool,
    long_name: Option<Vec<u8>>,
    /// It says something of an entry.
    says: bool,
    count: usize,
}

impl TarWalk {
    /// Reads a tar from `input`; `consumed` counts the bytes of the archive as it lies there.
    pub fn new(input: Box<dyn Read + Send>, consumed: Arc<AtomicU64>) -> Self {
        let input = Counted { input, count: Arc::default() };
        Self { input, consumed, left: 0, fill: 0, first: true }
    }

    /// One block; nothing where the archive ends before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, ArchiveError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(ArchiveError::Truncated("the middle of a header")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::reading(error)),
            }
        }
        Ok(Some(block))
    }

    fn pass_over(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        let passed = std::io::copy(&mut self.input.by_ref().take(bytes), &mut std::io::sink());
        match passed.map_err(ArchiveError::reading)? == bytes {
            true => Ok(()),
            false => Err(ArchiveError::Truncated("the middle of a file")),
        }
    }

    /// The content of an extended header.
    fn text(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        if header.size > EXTENDED_BYTES_MAX {
            return Err(ArchiveError::Limit(format!(
                "an extended header has {} bytes, more than {EXTENDED_BYTES_MAX}",
                header.size
            )));
        }
        let mut text = vec![0; header.size as usize];
        self.input.read_exact(&mut text).map_err(ArchiveError::reading)?;
        self.pass_over(padding(header.size))?;
        Ok(text)
    }

    /// What follows the first block of zeros.
    fn end(&mut self) -> Result<(), ArchiveError> {
        let mut passed = 0;
        let mut buffer = vec![0; 16 * BLOCK];
        loop {
            let count = match self.input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ArchiveError::reading(error)),
            };
            passed += count;
            if buffer[..count].iter().any(|byte| *byte != 0) {
                return Err(ArchiveError::Damaged(
                    "more follows its end, which other programs do not show",
                ));
            }
            if passed > TAIL_BYTES_MAX {
                return Err(ArchiveError::Limit(
                    "more than 64 MiB of zeros follow its end".to_owned(),
                ));
            }
        }
    }

    /// Takes in a header that says something of the entry behind it.
    fn note(&mut self, header: &Header, before: &mut Before) -> Result<(), ArchiveError> {
        before.says |= header.kind != b'g';
        before.count += 1;
        if before.count > EXTENDED_MAX {
            return Err(ArchiveError::Damaged("too many extended headers before one entry"));
        }
        let text = self.text(header)?;
        match header.kind {
            b'x' => {
                if std::mem::replace(&mut before.has_extended, true) {
                    return Err(ArchiveError::Damaged("two extended headers before one entry"));
                }
                before.extended = Extended::read(&text)?;
            }
            // git writes the commit there; nothing that it may say of all entries is taken.
            b'g' => Extended::check_global(&text)?,
            b'L' => {
                let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
                if before.long_name.replace(text[..end].to_vec()).is_some() {
                    return Err(ArchiveError::Damaged("two long names before one entry"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn entry(&mut self, header: Header, before: Before) -> Result<Found, ArchiveError> {
        let Extended { path, size, modified, metadata, sparse } = before.extended;
        if path.is_some() && before.long_name.is_some() {
            return Err(ArchiveError::Damaged("an entry has two long names"));
        }
        let name = path.or(before.long_name).unwrap_or(header.name);
        let size = size.unwrap_or(header.size);
        let kind = match header.kind {
            _ if sparse => Kind::Other("a sparse file: its gaps are not read here"),
            // Before POSIX, a folder was a file whose name ends with a slash.
            b'0' | 0 if name.ends_with(b"/") => Kind::Folder,
            b'0' | b'7' | 0 => Kind::File,
            b'5' => Kind::Folder,
            b'1' => Kind::Other("a hard link"),
            b'2' => Kind::Other("a symbolic link"),
            b'3' | b'4' => Kind::Other("a device"),
            b'6' => Kind::Other("a pipe"),
            b'S' => Kind::Other("a sparse file: its gaps are not read here"),
            b'M' => return Err(ArchiveError::Damaged("it is the continuation of another volume")),
            _ => Kind::Other("of an unknown kind"),
        };
        // Programs disagree on whether content follows these, and so on where the next entry is.
        let is_bare = kind == Kind::Folder || matches!(header.kind, b'1'..=b'6');
        if is_bare && size != 0 {
            return Err(ArchiveError::Damaged("a link, folder or device has content"));
        }
        self.left = size;
        self.fill = padding(size);
        if header.kind == b'S' {
            self.pass_over_maps(header.map_goes_on)?;
        }
        Ok(Found {
            name,
            kind,
            size,
            mode: header.mode,
            modified: modified.unwrap_or(header.seconds.saturating_mul(1000)),
            metadata,
        })
    }

    /// Passes over the maps of gaps that follow an old sparse file's header.
    fn pass_over_maps(&mut self, mut more: bool) -> Result<(), ArchiveError> {
        let mut blocks = 0;
        while more {
            if blocks == MAP_BLOCKS_MAX {
                return Err(ArchiveError::Damaged("a sparse file's map does not end"));
            }
            blocks += 1;
            let block = self.block()?.ok_or(ArchiveError::Truncated("a sparse file's map"))?;
            more = block[MORE_AFTER_MAP] != 0;
        }
        Ok(())
    }
}

impl Walk for TarWalk {
    fn next(&mut self) -> Result<Option<Found>, ArchiveError> {
        self.pass_over(self.left)?;
        self.pass_over(self.fill)?;
        (self.left, self.fill) = (0, 0);
        let mut before = Before::default();
        loop {
            let Some(block) = self.block()? else {
                return Err(ArchiveError::Truncated("a place where its end mark is missing"));
            };
            if block.iter().all(|byte| *byte == 0) {
                if before.says {
                    return Err(ArchiveError::Damaged("no entry follows an extended header"));
                }
                self.end()?;
                return Ok(None);
            }
            let header = match Header::read(&block) {
                Err(ArchiveError::Damaged(_)) if self.first => {
                    return Err(ArchiveError::Unknown("what it holds is no tar"));
                }
                header => header?,
            };
            self.first = false;
            match header.kind {
                b'x' | b'g' | b'L' | b'K' => self.note(&header, &mut before)?,
                // A label of the volume.
                b'V' => {
                    before.count += 1;
                    if before.count > EXTENDED_MAX || header.size != 0 {
                        return Err(ArchiveError::Damaged("a volume label where none can be"));
                    }
                }
                _ => return self.entry(header, before).map(Some),
            }
        }
    }

    fn read(&mut self, out: &mut [u8]) -> Result<usize, ArchiveError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        if most == 0 {
            return Ok(0);
        }
        loop {
            match self.input.read(&mut out[..most]) {
                Ok(0) => return Err(ArchiveError::Truncated("the middle of a file")),
                Ok(count) => {
                    self.left -= count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::reading(error)),
            }
        }
    }

    fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    fn expanded(&self) -> u64 {
        self.input.count.load(Ordering::Relaxed)
    }
}
