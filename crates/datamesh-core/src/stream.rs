//! Streams of files between a face and the client: what a put reads from and a get writes to.
//!
//! A stream carries any number of entries, one after another, each a head and then its bytes in
//! pieces, so that one operation moves one file or a whole tree.

use bytes::Bytes;

use crate::catalog::EntryKind;
use crate::id::Hash;
use crate::path::MeshPath;
use crate::seam::{BoxFuture, Timestamp};

/// Largest piece of an entry's bytes.
pub const PIECE_BYTES_MAX: usize = 256 * 1024;

/// Entries below this size are small: they are fetched anew rather than continued.
pub const LARGE_BYTES_MIN: u64 = 32 * 1024 * 1024;

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
    /// What is to be stored: tags of its own, besides those that all entries of the stream get.
    /// What is fetched has none here.
    pub tags: Vec<String>,
    /// Bytes, where they are known beforehand.
    pub size: Option<u64>,
    /// What it is read from; nothing for streams, which cannot be resumed.
    pub source: Option<SourceIdentity>,
    /// The BLAKE3 hash of the whole content, where a whole file is fetched; nothing for what is to
    /// be stored, for ranges and for folders.
    pub hash: Option<Hash>,
}

impl EntryHead {
    /// The hash and the size of an entry that a sink may continue: a large file that is fetched
    /// whole.
    pub fn resumable(&self) -> Option<(Hash, u64)> {
        let size = self.size.filter(|size| *size >= LARGE_BYTES_MIN)?;
        let hash = self.hash.filter(|_| self.kind == EntryKind::File)?;
        Some((hash, size))
    }
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
    /// Begins an entry. Answers how many bytes of its content, from the first on, the sink has
    /// already; the pieces that come are those behind them.
    ///
    /// More than 0 may be answered for a [resumable](EntryHead::resumable) entry alone, and never
    /// more than its size. Nobody but the sink sees those bytes again, so the sink that answers
    /// more than 0 takes the check of the whole upon itself: see [`end`](Self::end).
    fn begin(&mut self, head: EntryHead) -> BoxFuture<'_, Result<u64, StreamError>>;

    /// Takes some of its bytes, in order.
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StreamError>>;

    /// Ends the entry: with `None` it is complete, with a reason it failed and is not to be shown
    /// as the file.
    ///
    /// Every byte that came is verified. Where the sink had none before, so is the whole; where it
    /// had some, the sink must hash what it had and what came, and must throw both away and let
    /// the entry fail if that is not the head's hash: then what it had was damaged.
    fn end(&mut self, failure: Option<String>) -> BoxFuture<'_, Result<(), StreamError>>;
}
