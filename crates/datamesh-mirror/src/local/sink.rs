//! Where fetched files go on this machine.
//!
//! Promised: a file appears under its name only when it is whole and verified, replacing what was
//! there in one step; whatever ends the operation, no part of a small file stays behind, but where
//! the process is killed, and then the next get of the file removes it; what was fetched of a large
//! one stays under a hidden name, and the next get of it goes on there; below a folder nothing is
//! written through a symbolic link.
//! Not promised: that the files are synced to the disk. They can be fetched again. A mirror's are
//! synced, because its base must not outlive them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use datamesh_api::{EntryFailure, ErrorKind, OperationError};
use datamesh_core::BoxFuture;
use datamesh_core::stream::{EntryHead, Sink, StreamError};
use tokio::sync::{mpsc, oneshot};

use super::places::Places;
use super::writer::{Item, Place, Writer};
use super::{QUEUE_ITEMS, reason};

/// Where files are written.
#[derive(Debug, Clone)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// To this place: a folder that is there, or a file's name.
    Path(PathBuf),
    /// Into a folder, by the last part of their name; no two can have the same.
    Folder(PathBuf),
    /// Below a folder, by their whole name.
    Tree(PathBuf),
    /// The same, but only what is wanted there, each file synced.
    Mirror(PathBuf, Arc<Places>),
}

/// What the writing thread has to tell.
#[derive(Default)]
pub(super) struct Told {
    /// Entries that could not be written.
    pub(super) failed: Vec<EntryFailure>,
    /// Why no further entry can be written.
    pub(super) stopped: Option<StreamError>,
    /// The reader of the stream has left, which is no fault.
    pub(super) closed: bool,
    /// Bytes of files that are not whole, and stay for the next get.
    pub(super) left: u64,
    /// Bytes that arrived of entries which could not be written.
    pub(super) lost: u64,
    /// Entries that were written whole.
    pub(super) whole: u64,
}

/// Who is told of a number of bytes.
type Tell = Box<dyn Fn(u64) + Send + Sync>;

/// Writes fetched entries.
pub struct LocalSink {
    items: Option<mpsc::Sender<Item>>,
    done: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
    told: Arc<Mutex<Told>>,
    /// Tells the thread that nobody waits for it any more.
    given_up: Arc<AtomicBool>,
    /// It may leave something half-written.
    leaves: bool,
    length: Option<Tell>,
    left: Option<Tell>,
    /// Whose files stay as they are.
    kept: Option<PathBuf>,
}

/// What came of the writing.
#[derive(Debug)]
pub struct Written {
    /// Entries that arrived and could not be written.
    pub failed: Vec<EntryFailure>,
    /// Bytes of these.
    pub lost: u64,
    /// The reader of the stream has left.
    pub closed: bool,
}

impl LocalSink {
    /// A sink that writes to `target`. Nothing is written yet, but what can be checked is.
    ///
    /// # Errors
    /// [`OperationError`] where the target's folder is not there or cannot be opened.
    pub fn open(target: Target) -> Result<Self, OperationError> {
        let places = match &target {
            Target::Mirror(_, places) => Some(Arc::clone(places)),
            _ => None,
        };
        let place = place(target)?;
        let leaves = !matches!(place, Place::Stream(_));
        let (items, queue) = mpsc::channel(QUEUE_ITEMS);
        let (finished, done) = oneshot::channel();
        let told = Arc::<Mutex<Told>>::default();
        let given_up = Arc::<AtomicBool>::default();
        let mut writer = Writer::new(place, Arc::clone(&told), Arc::clone(&given_up), places);
        let thread = std::thread::Builder::new().name("write files".to_owned()).spawn(move || {
            writer.run(queue);
            drop(writer);
            // Nobody waits where the operation was given up.
            let _ = finished.send(());
        });
        let thread = thread.map_err(|error| OperationError::of(ErrorKind::Failed, &error))?;
        Ok(Self {
            items: Some(items),
            done: Some(done),
            thread: Some(thread),
            leaves,
            told,
            given_up,
            length: None,
            left: None,
            kept: None,
        })
    }

    /// Tells `length` how long each entry is before it comes.
    pub fn length_to(&mut self, length: impl Fn(u64) + Send + Sync + 'static) {
        self.length = Some(Box::new(length));
    }

    /// Tells `left` in the end how many bytes of files that are not whole stay for the next get, if
    /// any do.
    pub fn left_to(&mut self, left: impl Fn(u64) + Send + Sync + 'static) {
        self.left = Some(Box::new(left));
    }

    /// Refuses entries whose name something in this folder has: for names that strangers choose, by which
    /// nothing of the user's may be replaced.
    pub fn keep_those_in(&mut self, folder: PathBuf) {
        self.kept = Some(folder);
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// [`OperationError`] where the writing itself broke down.
    pub async fn finish(mut self) -> Result<Written, OperationError> {
        drop(self.items.take());
        let ended = match self.done.take() {
            Some(done) => done.await.is_ok(),
            None => false,
        };
        if !ended {
            return Err(OperationError::new(ErrorKind::Failed, "the writing thread died"));
        }
        let mut told = self.told();
        match &told.stopped {
            Some(stopped) if !told.closed => Err(match told.whole {
                0 => OperationError::new(ErrorKind::Failed, &stopped.message),
                whole => {
                    let message = format!("{}; written before it: {whole}", stopped.message);
                    OperationError::new(ErrorKind::Partial, message).hint(
                        "what is whole stays: the same command fetches all once it can be written",
                    )
                }
            }),
            _ => {
                let (lost, closed) = (told.lost, told.closed);
                Ok(Written { failed: std::mem::take(&mut told.failed), lost, closed })
            }
        }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, item: Item) -> Result<(), StreamError> {
        if let Some(stopped) = &self.told().stopped {
            return Err(stopped.clone());
        }
        let Some(items) = &self.items else {
            return Err(StreamError::new("the writing has ended"));
        };
        match items.send(item).await {
            Ok(()) => Ok(()),
            Err(_) => {
                let stopped = self.told().stopped.clone();
                Err(stopped.unwrap_or_else(|| StreamError::new("the writing thread died")))
            }
        }
    }
}

impl Drop for LocalSink {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
        drop(self.items.take());
        // The thread removes what is half-written; without waiting the process could end first. A pipe may
        // keep its writer waiting for ever, and leaves nothing.
        if let Some(thread) = self.thread.take().filter(|_| self.leaves) {
            drop(thread.join());
        }
        let bytes = self.told().left;
        if let Some(left) = self.left.as_ref().filter(|_| bytes > 0) {
            left(bytes);
        }
    }
}

impl Sink for LocalSink {
    fn begin(&mut self, head: EntryHead) -> BoxFuture<'_, Result<u64, StreamError>> {
        if let (Some(length), Some(size)) = (&self.length, head.size) {
            length(size);
        }
        let taken = self.kept.as_ref().map(|folder| folder.join(head.path.as_str()));
        let taken = taken.filter(|file| file.symlink_metadata().is_ok());
        Box::pin(async move {
            if let Some(file) = taken {
                let text = format!(
                    "\"{}\" is there already, and nothing is replaced by what somebody else named: \
                     say the name that it is to have",
                    file.display()
                );
                return Err(StreamError::new(text));
            }
            if head.resumable().is_none() {
                self.send(Item::Begin(head, None)).await?;
                return Ok(0);
            }
            let (waiting, held) = oneshot::channel();
            self.send(Item::Begin(head, Some(waiting))).await?;
            // There is no answer where it is not written to a file, or cannot be.
            Ok(held.await.unwrap_or(0))
        })
    }

    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StreamError>> {
        Box::pin(self.send(Item::Bytes(bytes)))
    }

    fn end(&mut self, failure: Option<String>) -> BoxFuture<'_, Result<(), StreamError>> {
        Box::pin(self.send(Item::End { whole: failure.is_none() }))
    }
}

/// What the target is, by a look at the disk.
fn place(target: Target) -> Result<Place, OperationError> {
    match target {
        Target::Stdout => {
            let output = io::stdout().as_fd().try_clone_to_owned();
            let output = output.map_err(|error| not_writable(Path::new("-"), &error))?;
            Ok(Place::Stream(File::from(output)))
        }
        Target::Path(path) => path_place(path),
        Target::Folder(folder) => Ok(Place::Folder { root: made(&folder)? }),
        Target::Tree(folder) | Target::Mirror(folder, _) => {
            Ok(Place::Tree { root: made(&folder)? })
        }
    }
}

/// Opens a folder, which is made where it is not there.
fn made(folder: &Path) -> Result<OwnedFd, OperationError> {
    let failed = |error: io::Error| not_writable(folder, &error);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let root: OwnedFd = File::open(folder).map_err(failed)?.into();
    // Nothing need be fetched to see that.
    let about = rustix::fs::fstatvfs(&root).map_err(|error| failed(error.into()))?;
    if about.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Err(failed(io::ErrorKind::ReadOnlyFilesystem.into()));
    }
    Ok(root)
}

fn path_place(path: PathBuf) -> Result<Place, OperationError> {
    // The link that the user named stays a link: what it points to is replaced.
    let path = path.canonicalize().unwrap_or(path);
    let failed = |error: io::Error| not_writable(&path, &error);
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => {
            let root = File::open(&path).map_err(failed)?;
            return Ok(Place::Folder { root: root.into() });
        }
        Ok(metadata) if metadata.file_type().is_char_device() || metadata.file_type().is_fifo() => {
            let stream = File::options().write(true).open(&path).map_err(failed)?;
            return Ok(Place::Stream(stream));
        }
        Ok(metadata) if !metadata.is_file() => {
            let message = format!("\"{}\" is not a file", path.display());
            return Err(OperationError::usage(message));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let is_folder_name = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    let (Some(name), false) = (path.file_name(), is_folder_name) else {
        let message = format!("the folder \"{}\" is not there", path.display());
        return Err(OperationError::usage(message));
    };
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let root = match File::open(folder) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = format!("the folder \"{}\" is not there", folder.display());
            return Err(OperationError::usage(message));
        }
        Err(error) => return Err(not_writable(folder, &error)),
    };
    Ok(Place::File { root: root.into(), name: name.to_owned() })
}

fn not_writable(path: &Path, error: &io::Error) -> OperationError {
    let message = format!("\"{}\" cannot be written: {}", path.display(), reason(error));
    OperationError::new(ErrorKind::Failed, message)
}
