//! Opening an archive: what lies in it is told by its bytes, layer by layer.

use std::fs::File;
use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datamesh_api::OperationError;
use datamesh_crypto::age::{self, ChunkKey, HEADER_BYTES_MAX};
use zeroize::Zeroizing;

use crate::entry::Walk;
use crate::error::ArchiveError;
use crate::format::{Format, PROBE_BYTES, Probe, probe};
use crate::layers::{Counted, FileView, expanding};
use crate::limits::Limits;
use crate::sealed::{Opening, OpeningAt};
use crate::tar::TarWalk;
use crate::zip::{ReadSeek, ZipWalk};

/// Asks for the password of an archive.
pub type AskPassword<'a> = &'a dyn Fn() -> Result<Zeroizing<String>, OperationError>;

/// An archive that is to be read.
pub struct Archive {
    body: Body,
    format: Format,
    sealed: bool,
}

enum Body {
    /// A file, which is read twice: first to see whether all of it is sound.
    File { file: Arc<File>, key: Option<Key> },
    /// What can be read once.
    Stream { input: Option<Box<dyn Read + Send>>, consumed: Arc<AtomicU64> },
}

/// Where the chunks of a sealed file begin, and their key.
#[derive(Clone)]
struct Key {
    begin: u64,
    chunks: Arc<ChunkKey>,
}

impl Archive {
    /// An archive in a file. Takes a second and some memory where it is sealed.
    ///
    /// # Errors
    /// [`ArchiveError`] where it is none, or does not open.
    pub fn file(file: File, ask: AskPassword<'_>) -> Result<Self, ArchiveError> {
        let file = Arc::new(file);
        let beginning = beginning(&mut view(&file)?, HEADER_BYTES_MAX)?;
        let (key, format) = match probe(&beginning)? {
            Probe::Archive(format) => (None, format),
            Probe::Sealed => {
                let key = unlock(&beginning, ask)?;
                let mut inner = opening(&file, &key)?;
                match probe(&self::beginning(&mut inner, PROBE_BYTES)?)? {
                    Probe::Archive(format) => (Some(key), format),
                    Probe::Sealed => return Err(twice()),
                }
            }
        };
        Ok(Self { sealed: key.is_some(), body: Body::File { file, key }, format })
    }

    /// An archive that comes in a stream, which no zip can: its directory is at its end.
    ///
    /// # Errors
    /// [`ArchiveError`] where it is none, or does not open.
    pub fn stream(input: Box<dyn Read + Send>, ask: AskPassword<'_>) -> Result<Self, ArchiveError> {
        let consumed = Arc::<AtomicU64>::default();
        let mut input: Box<dyn Read + Send> =
            Box::new(Counted { input, count: Arc::clone(&consumed) });
        let mut read = beginning(&mut input, HEADER_BYTES_MAX)?;
        let mut found = probe(&read)?;
        let sealed = found == Probe::Sealed;
        if sealed {
            let key = unlock(&read, ask)?;
            let rest = read.split_off(key.begin as usize);
            let mut inner = Opening::new(Cursor::new(rest).chain(input), key.chunks);
            read = beginning(&mut inner, PROBE_BYTES)?;
            found = probe(&read)?;
            input = Box::new(inner);
        }
        let format = match found {
            Probe::Archive(Format::Zip) => {
                return Err(ArchiveError::Unknown(
                    "a zip, which is read from its end: give it as a file",
                ));
            }
            Probe::Archive(format) => format,
            Probe::Sealed => return Err(twice()),
        };
        let input = Some(Box::new(Cursor::new(read).chain(input)) as Box<dyn Read + Send>);
        Ok(Self { body: Body::Stream { input, consumed }, format, sealed })
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// It was sealed under a password.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// It can be read once only.
    pub fn is_stream(&self) -> bool {
        matches!(self.body, Body::Stream { .. })
    }

    /// Reads it from its beginning; a stream only once.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn walk(&mut self, limits: &Limits) -> Result<Box<dyn Walk>, ArchiveError> {
        let format = self.format;
        let (input, consumed): (Box<dyn Read + Send>, _) = match &mut self.body {
            Body::Stream { input, consumed } => {
                (input.take().ok_or(ArchiveError::Gone)?, Arc::clone(consumed))
            }
            Body::File { file, key } => {
                let (file, key) = (&*file, &*key);
                let open = || -> Result<Box<dyn ReadSeek>, ArchiveError> {
                    Ok(match key {
                        Some(key) => Box::new(opening(file, key)?),
                        None => Box::new(view(file)?),
                    })
                };
                if format == Format::Zip {
                    return Ok(Box::new(ZipWalk::new(open()?, open()?, limits)?));
                }
                let length = file.metadata().map_err(ArchiveError::Read)?.len();
                let consumed = AtomicU64::new(0);
                consumed.store(length, Ordering::Relaxed);
                (Box::new(open()?), Arc::new(consumed))
            }
        };
        let input = match format {
            Format::TarZst => expanding(input).map_err(ArchiveError::reading)?,
            _ => Box::new(std::io::BufReader::with_capacity(READ_BYTES, input)),
        };
        Ok(Box::new(TarWalk::new(input, consumed)))
    }
}

/// Bytes of a tar that are read at once.
const READ_BYTES: usize = 256 * 1024;

fn twice() -> ArchiveError {
    ArchiveError::Unknown("it is sealed twice")
}

fn view(file: &Arc<File>) -> Result<FileView, ArchiveError> {
    FileView::new(Arc::clone(file)).map_err(ArchiveError::reading)
}

fn opening(file: &Arc<File>, key: &Key) -> Result<OpeningAt<FileView>, ArchiveError> {
    OpeningAt::new(view(file)?, key.begin, Arc::clone(&key.chunks)).map_err(ArchiveError::reading)
}

fn unlock(beginning: &[u8], ask: AskPassword<'_>) -> Result<Key, ArchiveError> {
    // Nobody is asked for the password of what would not open with any.
    age::check(beginning)?;
    let password = ask().map_err(ArchiveError::Password)?;
    let (begin, chunks) = age::open(beginning, &password)?;
    Ok(Key { begin: begin as u64, chunks: Arc::new(chunks) })
}

fn beginning(input: &mut dyn Read, most: usize) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::with_capacity(most);
    input.take(most as u64).read_to_end(&mut bytes).map_err(ArchiveError::reading)?;
    Ok(bytes)
}
