//! What archives say of their entries, in every format.

use datamesh_core::Timestamp;

use crate::error::ArchiveError;
use crate::metadata::Metadata;

/// Permissions of a file where none are known.
const FILE_MODE: u32 = 0o644;

/// Permissions of a folder where none are known.
const FOLDER_MODE: u32 = 0o755;

/// Bytes of a name that are shown: the longest path of the mesh.
const SHOWN_BYTES_MAX: usize = 4096;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file with content.
    File,
    /// A folder.
    Folder,
    /// What is not taken in; the reason.
    Other(&'static str),
}

/// An entry as it stands in an archive that was made anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name, byte for byte.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Bytes that it says it has.
    pub size: u64,
    /// POSIX permission bits; 0 where unknown.
    pub mode: u32,
    /// When it was last changed; 0 where unknown.
    pub modified: Timestamp,
    /// What an export with metadata wrote.
    pub metadata: Option<Metadata>,
}

impl Found {
    /// Its name for people, the beginning of it where it is long.
    pub fn shown(&self) -> String {
        let beginning = &self.name[..self.name.len().min(SHOWN_BYTES_MAX)];
        String::from_utf8_lossy(beginning).into_owned()
    }
}

/// An entry to be written.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name: a path without a slash at its end.
    pub name: String,
    /// A folder; else a file.
    pub folder: bool,
    /// Bytes of its content.
    pub size: u64,
    /// POSIX permission bits; 0 where unknown.
    pub mode: u32,
    /// When it was last changed; 0 where unknown.
    pub modified: Timestamp,
    /// What goes with it, if anything should.
    pub metadata: Option<Metadata>,
}

impl Entry {
    /// Its name as archives write it: a folder's ends with a slash.
    pub(crate) fn stored_name(&self) -> String {
        if self.folder { format!("{}/", self.name) } else { self.name.clone() }
    }

    /// Its permissions. What would run as somebody else is left out.
    pub(crate) fn permissions(&self) -> u32 {
        match self.mode & 0o777 {
            0 if self.folder => FOLDER_MODE,
            0 => FILE_MODE,
            mode => mode,
        }
    }
}

/// An archive that is read from one entry to the next.
pub trait Walk: Send {
    /// The next entry; nothing at the end of the archive, which is checked. What was not read of the
    /// one before is passed over, unchecked.
    ///
    /// # Errors
    /// [`ArchiveError`] where the archive is damaged or cut short.
    fn next(&mut self) -> Result<Option<Found>, ArchiveError>;

    /// Reads on in the entry. Gives 0 at its end, and only where all of it was sound.
    ///
    /// # Errors
    /// [`ArchiveError`] where the content is damaged or cut short.
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ArchiveError>;

    /// Bytes of the archive as it lies there that were read so far, or all that it has.
    fn consumed(&self) -> u64;

    /// Bytes that came of them: contents, and in a tar headers too.
    fn expanded(&self) -> u64;
}

/// An archive that is written from one entry to the next.
pub trait Pen: Send {
    /// Writes an entry with its whole content, which is at hand.
    ///
    /// # Errors
    /// [`ArchiveError::Write`]; [`ArchiveError::Length`] where the content has another length.
    fn whole(&mut self, entry: &Entry, content: &[u8]) -> Result<(), ArchiveError> {
        self.begin(entry)?;
        self.write(content)?;
        self.end()
    }

    /// Begins an entry whose content follows.
    ///
    /// # Errors
    /// [`ArchiveError::Write`].
    fn begin(&mut self, entry: &Entry) -> Result<(), ArchiveError>;

    /// Writes some of its content.
    ///
    /// # Errors
    /// [`ArchiveError::Write`].
    fn write(&mut self, content: &[u8]) -> Result<(), ArchiveError>;

    /// Ends it.
    ///
    /// # Errors
    /// [`ArchiveError::Write`]; [`ArchiveError::Length`] where the content had another length.
    fn end(&mut self) -> Result<(), ArchiveError>;

    /// Writes what stands at the end of an archive, through to the last layer below.
    ///
    /// # Errors
    /// [`ArchiveError::Write`].
    fn finish(self: Box<Self>) -> Result<(), ArchiveError>;
}
