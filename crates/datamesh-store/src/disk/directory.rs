//! A directory of this machine.
//!
//! A file has up to two descriptors. Small or odd reads and odd writes go through the page cache;
//! writes that are [aligned](ALIGNMENT), and aligned reads of [`DIRECT_READ_BYTES_MIN`] or more,
//! bypass it (`O_DIRECT`). A direct write costs a tenth of the processor time. A direct read of
//! bytes that are not cached, and what was written directly is not, saves the filling of fresh
//! cache pages, which costs more than all the rest of serving a shard; it pays with reading the
//! disk again where the same shard is asked for twice. Where the file system refuses, everything
//! goes through the cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, FallocateFlags, FlockOperation, OFlags};
use rustix::io::Errno;

use super::{ALIGNMENT, Disk, DiskError, DiskFile, DiskLock, Space};

/// Shorter reads profit from the cache and its read-ahead more than they cost.
const DIRECT_READ_BYTES_MIN: usize = 128 * 1024;

/// A directory of this machine, which must exist.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    direct: bool,
}

impl Directory {
    /// The directory at `path`.
    ///
    /// # Errors
    /// [`DiskError`] where there is no such directory.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let name = path.display().to_string();
        let about = std::fs::metadata(path).map_err(|e| DiskError::of("open", &name, e))?;
        if !about.is_dir() {
            let source = Arc::new(io::Error::from(io::ErrorKind::NotADirectory));
            return Err(DiskError::Io { operation: "open", name, source });
        }
        Ok(Self { path: path.to_owned(), direct: true })
    }

    /// The same directory with everything through the page cache.
    #[must_use]
    pub fn buffered(self) -> Self {
        Self { direct: false, ..self }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn file(&self, name: &str, options: &OpenOptions) -> Result<File, DiskError> {
        options.open(self.at(name)).map_err(|e| DiskError::of("open", name, e))
    }

    /// A second descriptor for direct reads or reads and writes, where the file system has them.
    fn direct_file(&self, name: &str, write: bool) -> Option<File> {
        if !self.direct {
            return None;
        }
        let flags = OFlags::DIRECT.bits().cast_signed();
        // A refusal (EINVAL) and any other failure end the same way: the buffered descriptor,
        // which is open already, does the work or says why it cannot.
        OpenOptions::new().read(true).write(write).custom_flags(flags).open(self.at(name)).ok()
    }
}

impl Disk for Directory {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        let failed = |e| DiskError::of("list", &self.path.display().to_string(), e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        let buffered = self.file(name, OpenOptions::new().read(true))?;
        let direct = self.direct_file(name, false);
        Ok(Arc::new(RealFile { name: name.to_owned(), buffered, direct, refused: false.into() }))
    }

    fn open_append(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        let buffered = self.file(name, OpenOptions::new().read(true).write(true))?;
        let direct = self.direct_file(name, true);
        Ok(Arc::new(RealFile { name: name.to_owned(), buffered, direct, refused: false.into() }))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let buffered = self.file(name, &options)?;
        let direct = self.direct_file(name, true);
        Ok(Arc::new(RealFile { name: name.to_owned(), buffered, direct, refused: false.into() }))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        std::fs::remove_file(self.at(name)).map_err(|e| DiskError::of("remove", name, e))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        std::fs::rename(self.at(from), self.at(to)).map_err(|e| DiskError::of("rename", from, e))
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|e| DiskError::of("sync", &self.path.display().to_string(), e))
    }

    fn lock(&self, name: &str) -> Result<Box<dyn DiskLock>, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = self.file(name, &options)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(Errno::WOULDBLOCK) => Err(DiskError::Locked { name: name.to_owned() }),
            Err(error) => Err(DiskError::of("lock", name, error.into())),
        }
    }

    fn space(&self) -> Result<Space, DiskError> {
        let about = rustix::fs::statvfs(&self.path)
            .map_err(|e| DiskError::of("measure", &self.path.display().to_string(), e.into()))?;
        Ok(Space {
            total: about.f_blocks.saturating_mul(about.f_frsize),
            free: about.f_bavail.saturating_mul(about.f_frsize),
        })
    }
}

#[derive(Debug)]
struct RealLock {
    /// The lock belongs to the descriptor and ends with it, also when the process is killed.
    _file: File,
}

impl DiskLock for RealLock {}

#[derive(Debug)]
struct RealFile {
    name: String,
    buffered: File,
    direct: Option<File>,
    /// The file system opened the file for direct access and then refused it.
    refused: AtomicBool,
}

impl RealFile {
    fn direct_for(&self, offset: u64, bytes: &[u8]) -> Option<&File> {
        let aligned = offset.is_multiple_of(ALIGNMENT as u64)
            && bytes.len().is_multiple_of(ALIGNMENT)
            && bytes.as_ptr().align_offset(ALIGNMENT) == 0;
        let usable = aligned && !self.refused.load(Ordering::Relaxed);
        self.direct.as_ref().filter(|_| usable)
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, DiskError> {
        let mut filled = 0;
        if out.len() >= DIRECT_READ_BYTES_MIN
            && let Some(direct) = self.direct_for(offset, out)
        {
            match direct.read_at(out, offset) {
                // What is missing is the end of the file, or comes the other way.
                Ok(count) => filled = count,
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.refused.store(true, Ordering::Relaxed);
                }
                // Whether the bytes are bad or only this way to them is out of order, the other way
                // tells.
                Err(_) => {}
            }
        }
        while filled < out.len() {
            match self.buffered.read_at(&mut out[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DiskError::of("read", &self.name, error)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if let Some(direct) = self.direct_for(offset, bytes) {
            match direct.write_all_at(bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.refused.store(true, Ordering::Relaxed);
                }
                done => return done.map_err(|e| DiskError::of("write", &self.name, e)),
            }
        }
        self.buffered.write_all_at(bytes, offset).map_err(|e| DiskError::of("write", &self.name, e))
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.buffered.sync_data().map_err(|e| DiskError::of("sync", &self.name, e))
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<bool, DiskError> {
        match rustix::fs::fallocate(&self.buffered, FallocateFlags::KEEP_SIZE, offset, length) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(DiskError::of("allocate", &self.name, error.into())),
        }
    }

    fn release_allocated(&self) -> Result<(), DiskError> {
        // Setting the length that the file has frees what was reserved beyond it (ext4, xfs).
        let length = self.length()?;
        self.buffered.set_len(length).map_err(|e| DiskError::of("release", &self.name, e))
    }

    fn length(&self) -> Result<u64, DiskError> {
        let about = self.buffered.metadata();
        about.map(|about| about.len()).map_err(|e| DiskError::of("measure", &self.name, e))
    }

    fn discard_cached(&self, offset: u64, length: u64) {
        // Only a hint: where it is refused, the read shows the cached bytes.
        let length = NonZeroU64::new(length);
        let _ = rustix::fs::fadvise(&self.buffered, offset, length, Advice::DontNeed);
    }
}
