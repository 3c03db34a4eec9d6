//! The command's end: the daemon's operations behind the same trait.

use std::io;
use std::sync::{Mutex, PoisonError};

use datamesh_api::{
    Answer, Call, ErrorKind, EventFn, GetReply, GetRequest, OperationError, Operations, Progress,
    PutReply, PutRequest,
};
use datamesh_core::BoxFuture;
use datamesh_core::stream::{EntryHead, Piece, Sink, Source};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::frame::{FrameReader, FrameWriter, Kind, value};
use super::reach::reach_daemon;
use super::{Operation, Outcome};
use crate::account::PasswordSource;
use crate::home::Home;

/// The operations of a running daemon.
pub(crate) struct Remote {
    home: Home,
    password: PasswordSource,
    /// The connection by which the daemon was found, for the first operation.
    found: Mutex<Option<UnixStream>>,
}

fn broken(error: &io::Error) -> OperationError {
    OperationError::new(ErrorKind::Failed, format!("the connection to the daemon broke: {error}"))
        .hint("see the daemon's log; what was acknowledged stays")
}

fn ended() -> OperationError {
    broken(&io::Error::new(io::ErrorKind::UnexpectedEof, "it ended"))
}

impl Remote {
    /// The daemon of a home, if one answers.
    pub(crate) async fn find(
        home: &Home,
        password: PasswordSource,
    ) -> Result<Option<Self>, OperationError> {
        let Some(stream) = reach_daemon(home).await? else { return Ok(None) };
        Ok(Some(Self { home: home.clone(), password, found: Mutex::new(Some(stream)) }))
    }

    async fn begin(
        &self,
        operation: &Operation,
    ) -> Result<(FrameReader, FrameWriter), OperationError> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = match found {
            Some(stream) => stream,
            None => reach_daemon(&self.home).await?.ok_or_else(ended)?,
        };
        let (read, write) = stream.into_split();
        let (reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
        writer.send_value(Kind::Begin, operation).await.map_err(|error| broken(&error))?;
        Ok((reader, writer))
    }

    /// Answers the daemon's question for the password. May ask a person.
    async fn send_password(&self, writer: &mut FrameWriter) -> Result<(), OperationError> {
        let source = std::sync::Arc::clone(&self.password);
        let password = tokio::task::spawn_blocking(move || source()).await;
        let password = match password {
            Ok(password) => password?,
            Err(_) => return Err(OperationError::new(ErrorKind::Failed, "no password was given")),
        };
        writer.send_value(Kind::Password, &*password).await.map_err(|error| broken(&error))
    }

    /// Waits for the outcome and answers a question for the password on the way.
    async fn outcome(
        &self,
        mut reader: FrameReader,
        mut writer: FrameWriter,
    ) -> Result<Outcome, OperationError> {
        loop {
            match reader.next().await.map_err(|error| broken(&error))? {
                Some((Kind::PasswordWanted, _)) => self.send_password(&mut writer).await?,
                Some((Kind::Done, payload)) => {
                    return value::<Result<Outcome, OperationError>>(&payload)
                        .map_err(|error| broken(&error))?;
                }
                Some(_) => {}
                None => return Err(ended()),
            }
        }
    }

    async fn do_call(&self, call: Call) -> Result<Answer, OperationError> {
        let (reader, writer) = self.begin(&Operation::Call(call)).await?;
        match self.outcome(reader, writer).await? {
            Outcome::Call(answer) => Ok(answer),
            _ => Err(ended()),
        }
    }

    async fn do_put(
        &self,
        request: PutRequest,
        source: &mut dyn Source,
        events: EventFn,
    ) -> Result<PutReply, OperationError> {
        let (mut reader, mut writer) = self.begin(&Operation::Put(request)).await?;
        // The daemon's frames are read on a task of their own, so that neither side waits for the
        // other to read.
        let (sender, mut frames) = mpsc::channel(4);
        let reading = tokio::spawn(async move {
            while let Ok(Some((kind, payload))) = reader.next().await {
                match kind {
                    Kind::Progress => {
                        if let Ok(progress) = value::<Progress>(&payload) {
                            events(progress);
                        }
                    }
                    kind => {
                        if sender.send((kind, payload)).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        // The daemon says first whether it wants the password; an outcome here is a refusal.
        let outcome = match frames.recv().await {
            Some((Kind::PasswordWanted, _)) => {
                self.send_password(&mut writer).await?;
                None
            }
            Some((Kind::Begin, _)) => None,
            other => other,
        };
        let outcome = match outcome {
            Some(outcome) => Some(outcome),
            None => {
                tokio::select! {
                    biased;
                    // An outcome before the end of the stream: the daemon gives up.
                    early = frames.recv() => early,
                    sent = send_entries(source, &mut writer) => match sent {
                        Ok(()) => frames.recv().await,
                        Err(SendError::Source(message)) => {
                            return Err(OperationError::new(ErrorKind::Failed, message));
                        }
                        // The daemon closed: its outcome may still be on the way.
                        Err(SendError::Socket(error)) => match frames.recv().await {
                            Some(frame) => Some(frame),
                            None => return Err(broken(&error)),
                        },
                    },
                }
            }
        };
        reading.abort();
        match outcome {
            Some((Kind::Done, payload)) => {
                let outcome: Result<Outcome, OperationError> =
                    value(&payload).map_err(|error| broken(&error))?;
                match outcome? {
                    Outcome::Put(reply) => Ok(reply),
                    _ => Err(ended()),
                }
            }
            _ => Err(ended()),
        }
    }

    async fn do_get(
        &self,
        request: GetRequest,
        sink: &mut dyn Sink,
        events: EventFn,
    ) -> Result<GetReply, OperationError> {
        let (mut reader, mut writer) = self.begin(&Operation::Get(request)).await?;
        let sink_error = |error: datamesh_core::stream::StreamError| {
            OperationError::new(ErrorKind::Failed, error)
        };
        let mut progress = Progress::default();
        loop {
            let frame = reader.next().await.map_err(|error| broken(&error))?;
            match frame.ok_or_else(ended)? {
                (Kind::PasswordWanted, _) => self.send_password(&mut writer).await?,
                (Kind::Head, payload) => {
                    let head: EntryHead = value(&payload).map_err(|error| broken(&error))?;
                    let waits = head.resumable().is_some();
                    let held = sink.begin(head).await.map_err(sink_error)?;
                    if waits {
                        let sent = writer.send_value(Kind::Held, &held).await;
                        sent.map_err(|error| broken(&error))?;
                        progress.bytes += held;
                    }
                }
                (Kind::Bytes, bytes) => {
                    progress.bytes += bytes.len() as u64;
                    events(progress);
                    sink.write(bytes).await.map_err(sink_error)?;
                }
                (Kind::End, payload) => {
                    let failure = value(&payload).map_err(|error| broken(&error))?;
                    progress.files += 1;
                    events(progress);
                    sink.end(failure).await.map_err(sink_error)?;
                }
                (Kind::Done, payload) => {
                    let outcome: Result<Outcome, OperationError> =
                        value(&payload).map_err(|error| broken(&error))?;
                    return match outcome? {
                        Outcome::Get(reply) => Ok(reply),
                        _ => Err(ended()),
                    };
                }
                _ => {}
            }
        }
    }
}

enum SendError {
    Source(String),
    Socket(io::Error),
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

/// Sends every entry of a source.
async fn send_entries(source: &mut dyn Source, writer: &mut FrameWriter) -> Result<(), SendError> {
    let source_error = |error: datamesh_core::stream::StreamError| SendError::Source(error.message);
    while let Some(head) = source.next_entry().await.map_err(source_error)? {
        let mut payload = Vec::new();
        ciborium::into_writer(&head, &mut payload)
            .map_err(|error| SendError::Source(error.to_string()))?;
        writer.send(Kind::Head, &payload).await?;
        let end = loop {
            match source.next_piece().await.map_err(source_error)? {
                Piece::Bytes(bytes) => writer.send(Kind::Bytes, &bytes).await?,
                Piece::End => break None,
                Piece::Broken(reason) => break Some(reason),
            }
        };
        let mut payload = Vec::new();
        ciborium::into_writer(&end, &mut payload)
            .map_err(|error| SendError::Source(error.to_string()))?;
        writer.send(Kind::End, &payload).await?;
    }
    writer.send(Kind::StreamEnd, &[]).await?;
    writer.flush().await?;
    Ok(())
}

impl Operations for Remote {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, OperationError>> {
        Box::pin(self.do_call(call))
    }

    fn put<'a>(
        &'a self,
        request: PutRequest,
        source: &'a mut dyn Source,
        events: EventFn,
    ) -> BoxFuture<'a, Result<PutReply, OperationError>> {
        Box::pin(self.do_put(request, source, events))
    }

    fn get<'a>(
        &'a self,
        request: GetRequest,
        sink: &'a mut dyn Sink,
        events: EventFn,
    ) -> BoxFuture<'a, Result<GetReply, OperationError>> {
        Box::pin(self.do_get(request, sink, events))
    }
}
