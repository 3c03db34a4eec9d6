//! The disk as the store sees it: files of one directory.
//!
//! Two implementations: [`Directory`] is a directory of this machine; `datamesh-testkit` has one in
//! memory that loses, tears and reorders whatever was not synced. The traits are synchronous and
//! object safe; the store calls them from blocking threads.
//!
//! What the store assumes of a disk, and what it does not, is in `docs/specs/pack.md`.

mod directory;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use datamesh_core::seam::Moment;

pub use directory::Directory;

/// Writes that begin, end and lie in memory at multiples of this many bytes can bypass the page
/// cache. Every common device and file system is content with 4 KiB.
pub const ALIGNMENT: usize = 4096;

/// Why the disk did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DiskError {
    /// No room is left.
    #[error("the disk is full while {operation} {name}")]
    Full {
        /// What was tried.
        operation: &'static str,
        /// The file.
        name: String,
    },
    /// The file system takes no writes.
    #[error("the file system is read-only: {operation} {name}")]
    ReadOnly {
        /// What was tried.
        operation: &'static str,
        /// The file.
        name: String,
    },
    /// There is no such file.
    #[error("{name} does not exist")]
    Missing {
        /// The file.
        name: String,
    },
    /// The file is there, where a new one was to be created.
    #[error("{name} exists already")]
    Exists {
        /// The file.
        name: String,
    },
    /// Another store has the lock.
    #[error("{name} is locked: another process or another part of this one uses the store")]
    Locked {
        /// The lock file.
        name: String,
    },
    /// Anything else.
    #[error("{operation} {name} failed")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        name: String,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
}

impl DiskError {
    /// Names the operating system's error.
    pub fn of(operation: &'static str, name: &str, error: io::Error) -> Self {
        let name = name.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { operation, name }
            }
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { operation, name },
            io::ErrorKind::NotFound => Self::Missing { name },
            io::ErrorKind::AlreadyExists => Self::Exists { name },
            _ => Self::Io { operation, name, source: Arc::new(error) },
        }
    }

    /// Whether the disk had no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// Room on the file system in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What this process may still use.
    pub free: u64,
}

/// Held while a store is open; dropping it lets go.
pub trait DiskLock: Send + Sync + Debug {}

/// The files of one directory.
pub trait Disk: Send + Sync + Debug {
    /// Names of the regular files, in order.
    fn list(&self) -> Result<Vec<String>, DiskError>;

    /// Opens a file for reading.
    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Opens a file for reading and appending.
    fn open_append(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Creates a file that must not exist. It may vanish in a crash until the directory is synced.
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Removes a file.
    fn remove(&self, name: &str) -> Result<(), DiskError>;

    /// Gives a file another name, in place of a file that has it.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Makes creations, removals and renames durable.
    fn sync_directory(&self) -> Result<(), DiskError>;

    /// Takes the lock of that name, or refuses with [`DiskError::Locked`].
    fn lock(&self, name: &str) -> Result<Box<dyn DiskLock>, DiskError>;

    /// Room on the file system.
    fn space(&self) -> Result<Space, DiskError>;

    /// Tells that the store is about to take a named [step](crate::points), or has taken it. A disk
    /// that fails on purpose may crash there; others do nothing.
    fn reached(&self, point: &'static str, moment: Moment) -> Result<(), DiskError> {
        let _ = (point, moment);
        Ok(())
    }
}

/// One file.
pub trait DiskFile: Send + Sync + Debug {
    /// Fills `out` from `offset` on; fewer bytes come only at the end of the file.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, DiskError>;

    /// Writes all of `bytes` at `offset`. After an error any part of them may be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes written bytes and the length durable. After an error nothing may be assumed of the
    /// bytes written since the last success, not even when a later call succeeds.
    fn sync_data(&self) -> Result<(), DiskError>;

    /// Reserves room for bytes from `offset` on and leaves the length as it is. False where the
    /// file system cannot.
    fn allocate(&self, offset: u64, length: u64) -> Result<bool, DiskError>;

    /// Gives back room that was reserved beyond the end of the file.
    fn release_allocated(&self) -> Result<(), DiskError>;

    /// Length in bytes.
    fn length(&self) -> Result<u64, DiskError>;

    /// Drops synced bytes of the file from the page cache, so that the next read shows what is on
    /// the disk. A hint.
    fn discard_cached(&self, offset: u64, length: u64);
}
