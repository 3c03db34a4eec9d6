//! Streams of files between a face and the client: what a put reads from and a get writes to.
//!
//! A stream carries any number of entries, one after another, each a head and then its bytes in
//! pieces, so that one operation moves one file or a whole tree.

use bytes::Bytes;

use crate::catalog::EntryKind;
use crate::path::MeshPath;
use crate::seam::{BoxFuture, Timestamp};

/// Largest piece of an entry's bytes.
pub const PIECE_BYTES_MAX: usize = 256 * 1024;

/// What tells one state of a local file from another, so that a transfer of it can be resumed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceIdentity {
    /// Where it is, for instance an absolute path.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it was last changed, as precisely as the system tells.
    pub modified: u64,
    /// What else the system tells files apart by: device, inode, time of the inode's change.
    pub identity: [u64; 3],
}

/// What comes before an entry's bytes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EntryHead {
    /// Its name in the account.
    pub path: MeshPath,
    /// File or folder.
    pub kind: EntryKind,
    /// POSIX permission bits; 0 where unknown.
    pub mode: u32,
    /// When it was last changed; 0 where unknown.
    pub modified: Timestamp,
    /// Bytes, where they are known beforehand.
    pub size: Option<u64>,
    /// What it is read from; nothing for streams, which cannot be resumed.
    pub source: Option<SourceIdentity>,
}

/// A stream that broke: the face's side could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StreamError {
    /// What happened, for people.
    pub message: String,
}

impl StreamError {
    /// An error with this message.
    pub fn new(message: impl ToString) -> Self {
        Self { message: message.to_string() }
    }
}

/// What came after an entry's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Some bytes, at least one and at most [`PIECE_BYTES_MAX`].
    Bytes(Bytes),
    /// The entry is complete.
    End,
    /// The entry cannot be read to its end; the reason. The stream goes on with the next entry.
    Broken(String),
}

/// Entries to be stored.
pub trait Source: Send {
    /// The next entry; nothing at the end. Called only after the last entry's end was read.
    fn next_entry(&mut self) -> BoxFuture<'_, Result<Option<EntryHead>, StreamError>>;

    /// The next piece of the current entry.
    fn next_piece(&mut self) -> BoxFuture<'_, Result<Piece, StreamError>>;
}

/// Where fetched entries go.
pub trait Sink: Send {
    /// Begins an entry.
    fn begin(&mut self, head: EntryHead) -> BoxFuture<'_, Result<(), StreamError>>;

    /// Takes some of its bytes, in order.
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StreamError>>;

    /// Ends the entry: with `None` it is complete and verified, with a reason it is to be thrown
    /// away.
    fn end(&mut self, failure: Option<String>) -> BoxFuture<'_, Result<(), StreamError>>;
}
