//! The bytes of a file that is being written.
//!
//! A large file goes past the page cache (`O_DIRECT`) as long as the disk keeps up: filling fresh
//! cache pages costs more processor time than fetching, checking and opening the bytes does, and
//! would push out of the cache what others have there. Where the file system refuses, the disk is
//! slow, or the bytes do not fill a block, they go through the cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

/// What is written at once past the cache.
const BLOCK_BYTES: usize = 4 * 1024 * 1024;

/// What direct writes begin, end and lie in memory at multiples of.
pub(super) const ALIGNMENT: usize = 4096;

/// Blocks that take longer on average tell of a disk slower than about 280 MB/s, where the cache
/// makes the file arrive sooner.
const BLOCK_PATIENCE: Duration = Duration::from_millis(15);

/// What a few slow blocks may take beyond that.
const HICCUP: Duration = Duration::from_millis(100);

/// A file from its beginning to its end.
pub(super) struct Content {
    file: File,
    /// Bytes in the file; those in the block of `direct` follow.
    written: u64,
    direct: Option<Direct>,
}

/// A descriptor that bypasses the cache, and the block that is being filled for it.
struct Direct {
    file: File,
    memory: Vec<u8>,
    start: usize,
    filled: usize,
    /// Time that the blocks so far took beyond their patience.
    behind: Duration,
}

impl Direct {
    fn block(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.filled]
    }
}

impl Content {
    /// An empty file that is written through the cache.
    pub(super) fn cached(file: File) -> Self {
        Self { file, written: 0, direct: None }
    }

    /// A file that will have `size` bytes, of which the first `written` are there, all or a multiple
    /// of [`ALIGNMENT`]; room for the others is reserved. `reopen` opens it once more with these
    /// flags.
    ///
    /// # Errors
    /// Where there is no room.
    pub(super) fn large(
        file: File,
        size: u64,
        written: u64,
        reopen: impl FnOnce(OFlags) -> Result<File, Errno>,
    ) -> io::Result<Self> {
        let reserved = rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, size);
        // Where room cannot be reserved, the writes find out.
        if let Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) = reserved {
            return Err(error.into());
        }
        let direct = reopen(OFlags::DIRECT).ok().map(|file| {
            let memory = vec![0; BLOCK_BYTES + ALIGNMENT];
            let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
            Direct { file, memory, start, filled: 0, behind: Duration::ZERO }
        });
        Ok(Self { file, written, direct })
    }

    /// The descriptor, for what is not content.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes that were taken.
    pub(super) fn length(&self) -> u64 {
        self.written + self.direct.as_ref().map_or(0, |direct| direct.filled as u64)
    }

    /// Takes bytes that follow all before.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(direct) = &mut self.direct
            && !bytes.is_empty()
        {
            let count = bytes.len().min(BLOCK_BYTES - direct.filled);
            let at = direct.start + direct.filled;
            direct.memory[at..at + count].copy_from_slice(&bytes[..count]);
            direct.filled += count;
            bytes = &bytes[count..];
            if direct.filled == BLOCK_BYTES {
                self.write_block()?;
            }
        }
        self.file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Writes the full block past the cache, and decides whether the next one goes there too.
    fn write_block(&mut self) -> io::Result<()> {
        let Some(direct) = &mut self.direct else { return Ok(()) };
        let begun = Instant::now();
        match direct.file.write_all_at(direct.block(), self.written) {
            Ok(()) => {
                self.written += direct.filled as u64;
                direct.filled = 0;
                direct.behind = (direct.behind + begun.elapsed()).saturating_sub(BLOCK_PATIENCE);
                if direct.behind > HICCUP {
                    self.direct = None;
                }
                Ok(())
            }
            // Refused only now, as some file systems do.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.finish(),
            Err(error) => Err(error),
        }
    }

    /// Writes what is left in the block. Bytes that come later go through the cache.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Some(direct) = self.direct.take() {
            self.file.write_all_at(direct.block(), self.written)?;
            self.written += direct.filled as u64;
        }
        Ok(())
    }
}
