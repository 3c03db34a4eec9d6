//! The files of this machine that a put stores.
//!
//! Promised: entries come in the order of their names, folder by folder; an entry whose file
//! changes while it is read is broken off and never ends well; what cannot be stored at all
//! (symbolic links, devices, names that are not Unicode, files that cannot be opened) is listed by
//! [`LocalSource::problems`] and the rest goes on.
//! Not promised: one moment for the whole tree. Each file is read when its turn comes.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use datamesh_api::{EntryFailure, ErrorKind, OperationError};
use datamesh_core::stream::{EntryHead, Piece, Source, StreamError};
use datamesh_core::{BoxFuture, MeshPath};
use tokio::sync::mpsc;

use super::pick::LocalFile;
use super::reader::{Item, Reader};
use super::readings::Readings;
use super::{QUEUE_ITEMS, reason};

/// Entries that were not stored and why, shared with the reading thread.
pub(super) type Problems = Arc<Mutex<Vec<EntryFailure>>>;

/// A stream of local files.
pub struct LocalSource {
    items: mpsc::Receiver<Item>,
    problems: Problems,
    /// Bytes that there are, where that is known beforehand.
    size: Option<u64>,
}

impl LocalSource {
    /// One entry from standard input.
    pub fn stdin(path: MeshPath) -> io::Result<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        Self::start(None, move |reader| reader.stream(File::from(input), path))
    }

    /// One entry from `file`, which is opened here so that a wrong name fails at once. Links are
    /// followed; pipes and devices are read as streams.
    ///
    /// # Errors
    /// [`OperationError`] where there is no such file, it is a folder, or it cannot be opened.
    pub fn file(file: &Path, path: MeshPath) -> Result<Self, OperationError> {
        let opened = open_named(file)?;
        let failed = |error: io::Error| not_readable(file, &error);
        let metadata = opened.metadata().map_err(failed)?;
        let stream = !metadata.is_file() || metadata.len() == 0;
        if stream {
            // Files of the kernel say that they are empty and are not; an empty one costs nothing
            // as a stream.
            return Self::start(None, move |reader| reader.stream(opened, path)).map_err(failed);
        }
        let name = file.canonicalize().map_err(failed)?;
        let size = Some(metadata.len());
        Self::start(size, move |reader| reader.file(opened, &name, path, Vec::new()))
            .map_err(failed)
    }

    /// Everything below `folder`, named by its way from there, below `into` if it is given.
    ///
    /// # Errors
    /// [`OperationError`] where there is no such folder or it cannot be read.
    pub fn tree(folder: &Path, into: Option<MeshPath>) -> Result<Self, OperationError> {
        let failed = |error: io::Error| not_readable(folder, &error);
        let root = folder.canonicalize().map_err(failed)?;
        // Read once here, so that a folder without permission fails before the mesh is asked.
        let metadata = std::fs::read_dir(&root).map(drop);
        metadata.map_err(failed)?;
        Self::start(None, move |reader| reader.tree(root, into)).map_err(failed)
    }

    /// These files and empty folders below `folder`, each under the name that is given with it. What
    /// is read of each file is told.
    ///
    /// # Errors
    /// [`OperationError`] where no thread can be started to read them.
    pub fn listed(
        folder: &Path,
        entries: Vec<(MeshPath, MeshPath)>,
    ) -> Result<(Self, Readings), OperationError> {
        let (readings, root) = (Readings::default(), folder.to_owned());
        let noted = readings.clone();
        let source = Self::start(None, move |reader| {
            reader.note_to(noted);
            reader.listed(&root, entries)
        });
        let source = source.map_err(|error| not_readable(folder, &error))?;
        Ok((source, readings))
    }

    /// These files, each with its own tags.
    ///
    /// # Errors
    /// [`OperationError`] where no thread can be started to read them.
    pub fn picked(files: Vec<LocalFile>) -> Result<Self, OperationError> {
        let size = files.iter().map(|file| file.size).sum();
        let source = Self::start(Some(size), move |reader| reader.picked(files));
        source.map_err(|error| OperationError::of(ErrorKind::Failed, &error))
    }

    fn start(
        size: Option<u64>,
        read: impl FnOnce(&mut Reader) -> Result<(), super::reader::Gone> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, items) = mpsc::channel(QUEUE_ITEMS);
        let problems = Problems::default();
        let mut reader = Reader::new(sender, Arc::clone(&problems));
        std::thread::Builder::new().name("read files".to_owned()).spawn(move || {
            // Nobody is left to hear of a reader that has nobody to read for.
            drop(read(&mut reader));
        })?;
        Ok(Self { items, problems, size })
    }

    /// Bytes that there are, where that is known beforehand.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// What was not given to the stream, so far.
    pub fn problems(&self) -> Vec<EntryFailure> {
        std::mem::take(&mut self.problems.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Opens a file that the user named.
fn open_named(file: &Path) -> Result<File, OperationError> {
    let failed = |error: io::Error| not_readable(file, &error);
    let metadata = std::fs::metadata(file).map_err(failed)?;
    if metadata.is_dir() {
        let message = format!("\"{}\" is a folder", file.display());
        return Err(OperationError::usage(message).hint("store a folder and all below it with -r"));
    }
    if metadata.file_type().is_socket() || metadata.file_type().is_block_device() {
        let message = format!("\"{}\" is not a file", file.display());
        return Err(OperationError::usage(message));
    }
    let flags = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(file).map_err(failed)
}

fn not_readable(file: &Path, error: &io::Error) -> OperationError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::NotADirectory => ErrorKind::Usage,
        _ => ErrorKind::Failed,
    };
    let message = format!("\"{}\" cannot be read: {}", file.display(), reason(error));
    OperationError::new(kind, message)
}

impl Source for LocalSource {
    fn next_entry(&mut self) -> BoxFuture<'_, Result<Option<EntryHead>, StreamError>> {
        Box::pin(async move {
            match self.items.recv().await {
                None => Ok(None),
                Some(Item::Head(head)) => Ok(Some(head)),
                Some(Item::Piece(_)) => {
                    Err(StreamError::new("the entry before was not read to its end"))
                }
            }
        })
    }

    fn next_piece(&mut self) -> BoxFuture<'_, Result<Piece, StreamError>> {
        Box::pin(async move {
            match self.items.recv().await {
                Some(Item::Piece(piece)) => Ok(piece),
                // A reading thread that died in the middle of a file must not look like its end.
                None | Some(Item::Head(_)) => {
                    Err(StreamError::new("reading stopped in the middle of a file"))
                }
            }
        })
    }
}

/// The folder's own name, for files that are stored under it; nothing for the root.
pub fn folder_name(folder: &Path) -> Result<Option<String>, OperationError> {
    let failed = |error: io::Error| not_readable(folder, &error);
    let full: PathBuf = folder.canonicalize().map_err(failed)?;
    Ok(full.file_name().map(|name| name.to_string_lossy().into_owned()))
}
