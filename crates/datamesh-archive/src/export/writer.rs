//! Writes the archive, on a thread of its own.
//!
//! Promised: a file appears under its name only when it is whole and synced, in one step, and only its
//! owner can read it; where the writing is given up, nothing is left of it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use datamesh_api::{ErrorKind, OperationError};
use datamesh_core::Entropy;
use datamesh_core::stream::StreamError;
use datamesh_crypto::age;
use tempfile::NamedTempFile;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::entry::{Entry, Pen};
use crate::error::ArchiveError;
use crate::format::Format;
use crate::layers::{Bottom, Compressing, Layer};
use crate::sealed::Sealing;
use crate::tar::TarPen;
use crate::zip::ZipPen;

/// Orders that wait, at most 256 KiB each but for small files of up to 1 MiB.
const ORDERS_WAITING: usize = 8;

/// Where an archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// How an archive is written.
#[derive(Clone)]
pub(super) struct Form {
    pub(super) format: Format,
    pub(super) password: Option<Zeroizing<String>>,
    pub(super) work: u8,
    pub(super) entropy: Arc<dyn Entropy>,
}

/// What the writer is to do next.
pub(super) enum Order {
    /// Write this entry, which is here as a whole.
    Whole(Entry, Bytes),
    /// Begin this one.
    Begin(Entry),
    /// Some of its content.
    Bytes(Bytes),
    /// Its end.
    End,
    /// The end of the archive.
    Finish,
}

/// Where the thread writes to.
enum Place {
    /// A file that gets its name at the end.
    Named(NamedTempFile, PathBuf),
    /// Something that is written as it comes.
    Straight(File),
}

impl Place {
    fn open(target: &Target) -> Result<Self, OperationError> {
        let path = match target {
            Target::Stdout => {
                let out = io::stdout().as_fd().try_clone_to_owned();
                return Ok(Self::Straight(out.map_err(|error| unwritable("-", &error))?.into()));
            }
            Target::File(path) => path,
        };
        let shown = path.display().to_string();
        let failed = |error: io::Error| unwritable(&shown, &error);
        match std::fs::metadata(path) {
            Ok(there) if there.is_dir() => {
                let message = format!("\"{shown}\" is a folder");
                return Err(
                    OperationError::usage(message).hint("name the archive: FOLDER/NAME.tar.zst")
                );
            }
            // A device or a pipe stays what it is.
            Ok(there) if !there.is_file() => {
                let opened = File::options().write(true).open(path);
                return opened.map(Self::Straight).map_err(failed);
            }
            _ => {}
        }
        let name = path
            .file_name()
            .ok_or_else(|| OperationError::usage(format!("\"{shown}\" is no name of a file")))?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let prefix = format!(".{}.", name.to_string_lossy());
        let part = tempfile::Builder::new().prefix(&prefix).suffix(".part").tempfile_in(folder);
        part.map(|part| Self::Named(part, path.clone())).map_err(failed)
    }

    fn writer(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(match self {
            Self::Named(part, _) => part.as_file().try_clone()?,
            Self::Straight(file) => file.try_clone()?,
        }))
    }

    /// Gives the file its name.
    fn keep(self) -> io::Result<()> {
        let Self::Named(part, path) = self else { return Ok(()) };
        part.as_file().sync_all()?;
        part.persist(&path).map_err(|error| error.error)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn unwritable(shown: &str, error: &io::Error) -> OperationError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::NotFound,
        _ => ErrorKind::Failed,
    };
    OperationError::new(kind, format!("\"{shown}\" cannot be written: {error}"))
}

/// The thread that writes, and the way to it.
pub(super) struct Writer {
    orders: Option<mpsc::Sender<Order>>,
    done: Option<oneshot::Receiver<Result<u64, ArchiveError>>>,
    thread: Option<JoinHandle<()>>,
    /// Something is to be removed where it is given up.
    leaves: bool,
}

impl Writer {
    /// Begins an archive.
    ///
    /// # Errors
    /// [`OperationError`] where the target cannot be written to.
    pub(super) fn begin(target: &Target, form: Form) -> Result<Self, OperationError> {
        let place = Place::open(target)?;
        let leaves = matches!(place, Place::Named(..));
        let (orders, queue) = mpsc::channel(ORDERS_WAITING);
        let (tell, done) = oneshot::channel();
        let thread = std::thread::Builder::new().name("write archive".to_owned());
        let thread = thread.spawn(move || {
            // Nobody waits where it was given up.
            let _ = tell.send(run(place, &form, queue));
        });
        let thread = thread.map_err(|error| OperationError::of(ErrorKind::Failed, &error))?;
        Ok(Self { orders: Some(orders), done: Some(done), thread: Some(thread), leaves })
    }

    /// Orders something.
    ///
    /// # Errors
    /// [`StreamError`] where the writing has failed; [`failure`](Self::failure) says how.
    pub(super) async fn send(&self, order: Order) -> Result<(), StreamError> {
        let gone = || StreamError::new("the archive cannot be written");
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        orders.send(order).await.map_err(|_| gone())
    }

    /// What was written can be thrown away.
    pub(super) fn can_begin_again(&self) -> bool {
        self.leaves
    }

    /// The thread has ended, which it does by itself only where it fails.
    pub(super) fn has_failed(&self) -> bool {
        self.orders.as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    /// Ends the archive. Answers how many bytes it has.
    ///
    /// # Errors
    /// [`OperationError`] where it cannot be written.
    pub(super) async fn finish(self) -> Result<u64, OperationError> {
        // Where the thread has ended already, it says why.
        let _ = self.send(Order::Finish).await;
        self.outcome().await
    }

    /// Why the writing failed.
    pub(super) async fn failure(self) -> OperationError {
        match self.outcome().await {
            Ok(_) => OperationError::new(ErrorKind::Failed, "the archive was ended too early"),
            Err(error) => error,
        }
    }

    async fn outcome(mut self) -> Result<u64, OperationError> {
        drop(self.orders.take());
        let died = || OperationError::new(ErrorKind::Failed, "the writing thread died");
        let outcome = match self.done.take() {
            Some(done) => done.await.map_err(|_| died())?,
            None => return Err(died()),
        };
        outcome.map_err(|error| match error.is_closed() {
            // In a pipe the exit code is all that tells a whole archive from one that is cut short.
            true => OperationError::new(
                ErrorKind::Failed,
                "the output was closed before the end: what was written is cut short",
            ),
            false => error.into(),
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.orders.take());
        // Without waiting, the process could end before what is half-written is removed. A pipe may keep
        // its writer waiting for ever, and leaves nothing.
        if let Some(thread) = self.thread.take().filter(|_| self.leaves) {
            drop(thread.join());
        }
    }
}

/// What writes the format that is wanted, through its layers.
fn pen(out: Box<dyn Layer>, form: &Form) -> Result<Box<dyn Pen>, ArchiveError> {
    let mut out = out;
    if let Some(password) = &form.password {
        let (beginning, key) = age::begin(password, form.work, &*form.entropy)?;
        out = Box::new(Sealing::new(out, &beginning, key).map_err(ArchiveError::writing)?);
    }
    Ok(match form.format {
        Format::Tar => Box::new(TarPen::new(out)),
        Format::TarZst => {
            let out = Compressing::new(out).map_err(ArchiveError::writing)?;
            Box::new(TarPen::new(Box::new(out)))
        }
        Format::Zip => Box::new(ZipPen::new(out)),
    })
}

/// Does what is ordered, to the end of the archive. Without it what was written goes.
fn run(place: Place, form: &Form, mut orders: mpsc::Receiver<Order>) -> Result<u64, ArchiveError> {
    let written = Arc::<AtomicU64>::default();
    let out = Bottom::new(place.writer().map_err(ArchiveError::Write)?, Arc::clone(&written));
    let mut pen = pen(Box::new(out), form)?;
    while let Some(order) = orders.blocking_recv() {
        match order {
            Order::Whole(entry, content) => pen.whole(&entry, &content)?,
            Order::Begin(entry) => pen.begin(&entry)?,
            Order::Bytes(bytes) => pen.write(&bytes)?,
            Order::End => pen.end()?,
            Order::Finish => {
                pen.finish()?;
                place.keep().map_err(ArchiveError::Write)?;
                return Ok(written.load(Ordering::Relaxed));
            }
        }
    }
    Err(ArchiveError::Gone)
}
