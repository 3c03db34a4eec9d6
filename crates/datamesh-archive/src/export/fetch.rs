//! Fetching the files of an archive: small ones into memory, large ones straight to the writer.

use bytes::{Bytes, BytesMut};
use datamesh_api::{
    ErrorKind, EventFn, FileVersion, GetReply, GetRequest, OperationError, Operations,
};
use datamesh_core::BoxFuture;
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{EntryHead, Sink, StreamError};

use crate::entry::Entry;
use crate::metadata::Metadata;

use super::writer::{Order, Writer};

/// Files below this size are fetched into memory, several at once.
pub(super) const SMALL_BYTES: u64 = 1 << 20;

/// The request for just this version.
fn request(version: &FileVersion) -> GetRequest {
    let (name, version) = (version.path.to_string(), Some(version.number));
    GetRequest::File { name, version, range: None }
}

/// What the archive says of an entry.
fn entry(version: &FileVersion, head: &EntryHead, metadata: bool) -> Entry {
    let metadata = metadata.then(|| Metadata::of(version));
    Entry {
        name: version.path.to_string(),
        folder: head.kind == EntryKind::Folder,
        size: head.size.unwrap_or(version.size),
        mode: head.mode,
        modified: head.modified,
        // Nothing of it is about folders.
        metadata: metadata.filter(|_| head.kind == EntryKind::File),
    }
}

/// Keeps one entry in memory.
#[derive(Default)]
struct Memory {
    head: Option<EntryHead>,
    content: BytesMut,
    failure: Option<String>,
}

impl Sink for Memory {
    fn begin(&mut self, head: EntryHead) -> BoxFuture<'_, Result<u64, StreamError>> {
        self.head = Some(head);
        Box::pin(std::future::ready(Ok(0)))
    }

    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StreamError>> {
        self.content.extend_from_slice(&bytes);
        Box::pin(std::future::ready(Ok(())))
    }

    fn end(&mut self, failure: Option<String>) -> BoxFuture<'_, Result<(), StreamError>> {
        self.failure = failure;
        Box::pin(std::future::ready(Ok(())))
    }
}

fn failed(reason: &str) -> OperationError {
    OperationError::new(ErrorKind::Failed, reason)
}

/// A small file or folder, whole.
pub(super) async fn small(
    operations: &dyn Operations,
    version: &FileVersion,
    metadata: bool,
    events: EventFn,
) -> Result<(Entry, Bytes, GetReply), OperationError> {
    let mut memory = Memory::default();
    let reply = operations.get(request(version), &mut memory, events).await?;
    if let Some(reason) = &memory.failure {
        return Err(failed(reason));
    }
    let head = memory.head.ok_or_else(|| failed("nothing of it came"))?;
    Ok((entry(version, &head, metadata), memory.content.freeze(), reply))
}

/// Gives one entry on to the writer.
struct Forward<'a> {
    version: &'a FileVersion,
    metadata: bool,
    writer: &'a Writer,
    begun: bool,
    ended: bool,
}

impl Sink for Forward<'_> {
    fn begin(&mut self, head: EntryHead) -> BoxFuture<'_, Result<u64, StreamError>> {
        let entry = entry(self.version, &head, self.metadata);
        Box::pin(async move {
            self.begun = true;
            self.writer.send(Order::Begin(entry)).await?;
            Ok(0)
        })
    }

    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StreamError>> {
        Box::pin(self.writer.send(Order::Bytes(bytes)))
    }

    fn end(&mut self, failure: Option<String>) -> BoxFuture<'_, Result<(), StreamError>> {
        Box::pin(async move {
            if failure.is_none() {
                self.ended = true;
                self.writer.send(Order::End).await?;
            }
            Ok(())
        })
    }
}

/// What came of a large file.
pub(super) enum Fetched {
    /// It is in the archive.
    Whole(GetReply),
    /// Nothing of it is.
    Nothing(OperationError),
    /// A part of it is: the archive cannot be finished.
    Part(String),
}

/// A large file, piece by piece.
pub(super) async fn large(
    operations: &dyn Operations,
    version: &FileVersion,
    metadata: bool,
    writer: &Writer,
    events: EventFn,
) -> Fetched {
    let mut sink = Forward { version, metadata, writer, begun: false, ended: false };
    let reply = operations.get(request(version), &mut sink, events).await;
    match (sink.begun, sink.ended, reply) {
        (true, true, Ok(reply)) => Fetched::Whole(reply),
        // It came whole, whatever was said afterwards.
        (true, true, Err(_)) => Fetched::Whole(GetReply::default()),
        (false, _, Ok(_)) => Fetched::Nothing(failed("nothing of it came")),
        (false, _, Err(error)) => Fetched::Nothing(error),
        (true, false, Ok(_)) => Fetched::Part("it did not come whole".to_owned()),
        (true, false, Err(error)) => Fetched::Part(error.message),
    }
}
