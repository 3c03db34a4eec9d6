//! The daemon's end: accepts commands and does their operations.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_api::{ErrorKind, OperationError, Operations, Progress};
use datamesh_core::BoxFuture;
use datamesh_core::stream::{EntryHead, Piece, Sink, Source, StreamError};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::frame::{FrameReader, FrameWriter, Kind, value};
use super::{Operation, Outcome};
use crate::account::PasswordSource;
use crate::home::file_error;
use crate::operations::{HomeOperations, Shared};

/// Commands served at once; more wait.
const COMMANDS_MAX: usize = 64;

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Listens on the home's socket.
pub(crate) struct LocalServer {
    listener: UnixListener,
    path: PathBuf,
    shared: Arc<Shared>,
}

impl LocalServer {
    /// Binds the socket. The caller holds the home's lock, so a socket that is there is a leftover.
    pub(crate) fn bind(path: &Path, shared: Arc<Shared>) -> Result<Self, OperationError> {
        let bound = (|| {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        })();
        let listener = bound.map_err(|error| file_error("binding the socket", path, &error))?;
        Ok(Self { listener, path: path.to_owned(), shared })
    }

    /// Serves until `stop`; commands under way are finished by `tasks`' owner.
    pub(crate) async fn run(self, stop: CancellationToken, tasks: TaskTracker) {
        let places = Arc::new(Semaphore::new(COMMANDS_MAX));
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a command could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            let shared = Arc::clone(&self.shared);
            let stop = stop.clone();
            tasks.spawn(async move {
                if let Err(error) = serve(stream, shared, stop).await {
                    tracing::debug!(%error, "a command went away");
                }
                drop(place);
            });
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the socket was gone already");
        }
    }
}

/// Does one command's operation.
async fn serve(stream: UnixStream, shared: Arc<Shared>, stop: CancellationToken) -> io::Result<()> {
    let (read, write) = stream.into_split();
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    let Some((Kind::Begin, payload)) = reader.next().await? else { return Ok(()) };
    let operation: Operation = match value(&payload) {
        Ok(operation) => operation,
        Err(error) => {
            let message = format!("the daemon does not understand the request: {error}");
            let refusal: Result<Outcome, OperationError> =
                Err(OperationError::new(ErrorKind::Failed, message)
                    .hint("is the daemon of the same version as the command?"));
            return writer.send_value(Kind::Done, &refusal).await;
        }
    };
    let mut password = None;
    if operation.needs_keys() && shared.keys.is_none() {
        writer.send_value(Kind::PasswordWanted, &()).await?;
        match reader.next().await? {
            Some((Kind::Password, payload)) => {
                password = Some(Zeroizing::new(value::<String>(&payload)?));
            }
            _ => return Ok(()),
        }
    } else if matches!(operation, Operation::Put(_)) {
        // Tells the command that its stream is wanted.
        writer.send_value(Kind::Begin, &()).await?;
    }
    let source: PasswordSource = Arc::new(move || {
        password.clone().ok_or_else(|| {
            OperationError::new(ErrorKind::Failed, "the keystore's password is not known here")
        })
    });
    let operations = HomeOperations::new(shared, source);
    let outcome = match operation {
        Operation::Call(call) => {
            tokio::select! {
                biased;
                answer = operations.call(call) => answer.map(Outcome::Call),
                // Nothing more is expected: the command has gone away.
                _ = reader.next() => return Ok(()),
                () = stop.cancelled() => Err(stopping()),
            }
        }
        Operation::Put(request) => {
            let (sender, mut progress) = watch::channel(Progress::default());
            let mut source = SocketSource { reader, ended: false };
            let events = Arc::new(move |done| {
                sender.send_replace(done);
            });
            let put = operations.put(request, &mut source, events);
            tokio::pin!(put);
            loop {
                tokio::select! {
                    biased;
                    reply = &mut put => break reply.map(Outcome::Put),
                    () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                        if progress.has_changed().unwrap_or(false) {
                            let done = *progress.borrow_and_update();
                            writer.send_value(Kind::Progress, &done).await?;
                        }
                    }
                }
            }
        }
        Operation::Get(request) => {
            let mut sink = SocketSink::new(&mut reader, &mut writer);
            operations.get(request, &mut sink, Arc::new(|_| {})).await.map(Outcome::Get)
        }
    };
    writer.send_value(Kind::Done, &outcome).await
}

fn stopping() -> OperationError {
    OperationError::new(ErrorKind::Failed, "the daemon is stopping")
}

/// Entries from a command.
struct SocketSource {
    reader: FrameReader,
    ended: bool,
}

fn gone() -> StreamError {
    StreamError::new("the command went away")
}

impl Source for SocketSource {
    fn next_entry(&mut self) -> BoxFuture<'_, Result<Option<EntryHead>, StreamError>> {
        Box::pin(async {
            if self.ended {
                return Ok(None);
            }
            match self.reader.next().await.map_err(StreamError::new)? {
                Some((Kind::Head, payload)) => value(&payload).map(Some).map_err(StreamError::new),
                Some((Kind::StreamEnd, _)) => {
                    self.ended = true;
                    Ok(None)
                }
                _ => Err(gone()),
            }
        })
    }

    fn next_piece(&mut self) -> BoxFuture<'_, Result<Piece, StreamError>> {
        Box::pin(async {
            match self.reader.next().await.map_err(StreamError::new)? {
                Some((Kind::Bytes, bytes)) => Ok(Piece::Bytes(bytes)),
                Some((Kind::End, payload)) => {
                    let end: Option<String> = value(&payload).map_err(StreamError::new)?;
                    Ok(end.map_or(Piece::End, Piece::Broken))
                }
                _ => Err(gone()),
            }
        })
    }
}

/// Entries to a command.
pub(super) struct SocketSink<'a> {
    reader: &'a mut FrameReader,
    writer: &'a mut FrameWriter,
}

impl<'a> SocketSink<'a> {
    /// Entries that go to `writer`; `reader` says what the command has of large ones.
    pub(super) fn new(reader: &'a mut FrameReader, writer: &'a mut FrameWriter) -> Self {
        Self { reader, writer }
    }
}

impl Sink for SocketSink<'_> {
    fn begin(&mut self, head: EntryHead) -> BoxFuture<'_, Result<u64, StreamError>> {
        Box::pin(async move {
            let mut payload = Vec::new();
            ciborium::into_writer(&head, &mut payload).map_err(StreamError::new)?;
            self.writer.send(Kind::Head, &payload).await.map_err(StreamError::new)?;
            if head.resumable().is_none() {
                return Ok(0);
            }
            self.writer.flush().await.map_err(StreamError::new)?;
            match self.reader.next().await.map_err(StreamError::new)? {
                Some((Kind::Held, payload)) => value(&payload).map_err(StreamError::new),
                _ => Err(gone()),
            }
        })
    }

    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StreamError>> {
        Box::pin(
            async move { self.writer.send(Kind::Bytes, &bytes).await.map_err(StreamError::new) },
        )
    }

    fn end(&mut self, failure: Option<String>) -> BoxFuture<'_, Result<(), StreamError>> {
        Box::pin(async move {
            let mut payload = Vec::new();
            ciborium::into_writer(&failure, &mut payload).map_err(StreamError::new)?;
            self.writer.send(Kind::End, &payload).await.map_err(StreamError::new)
        })
    }
}
