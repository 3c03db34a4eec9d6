//! Streams of files in memory.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{
    EntryHead, PIECE_BYTES_MAX, Piece, Sink, Source, SourceIdentity, StreamError,
};
use datamesh_core::{BoxFuture, Hash, MeshPath};

/// Files to be stored, by name.
pub(crate) struct Files {
    entries: VecDeque<(MeshPath, Bytes)>,
    current: Bytes,
    /// They lie somewhere: what is broken off can be taken up again.
    placed: bool,
    /// Tags of their own.
    tags: BTreeMap<MeshPath, Vec<String>>,
}

impl Files {
    pub(crate) fn new(entries: &BTreeMap<MeshPath, Vec<u8>>) -> Self {
        let entries =
            entries.iter().map(|(path, bytes)| (path.clone(), bytes.clone().into())).collect();
        Self { entries, current: Bytes::new(), placed: false, tags: BTreeMap::new() }
    }

    /// Files that lie on a disk, so that a put of large ones can be resumed.
    pub(crate) fn placed(entries: &BTreeMap<MeshPath, Vec<u8>>) -> Self {
        Self { placed: true, ..Self::new(entries) }
    }

    /// Gives a file tags of its own.
    pub(crate) fn tagged(mut self, path: &MeshPath, tags: Vec<String>) -> Self {
        self.tags.insert(path.clone(), tags);
        self
    }
}

impl Source for Files {
    fn next_entry(&mut self) -> BoxFuture<'_, Result<Option<EntryHead>, StreamError>> {
        Box::pin(async {
            let Some((path, bytes)) = self.entries.pop_front() else { return Ok(None) };
            self.current = bytes;
            let size = self.current.len() as u64;
            let source = self.placed.then(|| SourceIdentity {
                name: path.to_string(),
                size,
                modified: 12_345,
                identity: [1, 2, 3],
            });
            let tags = self.tags.remove(&path).unwrap_or_default();
            Ok(Some(EntryHead {
                path,
                kind: EntryKind::File,
                mode: 0o640,
                modified: 12_345,
                tags,
                size: Some(size),
                source,
                hash: None,
            }))
        })
    }

    fn next_piece(&mut self) -> BoxFuture<'_, Result<Piece, StreamError>> {
        Box::pin(async {
            if self.current.is_empty() {
                return Ok(Piece::End);
            }
            let length = self.current.len().min(PIECE_BYTES_MAX);
            Ok(Piece::Bytes(self.current.split_to(length)))
        })
    }
}

/// Fetched files, by name. A file counts only once its end said that it is complete.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) files: BTreeMap<MeshPath, Vec<u8>>,
    pub(crate) broken: Vec<(MeshPath, String)>,
    /// Bytes that it says it has of every resumable entry; they are not in `files`.
    held: u64,
    /// What the head of the last entry said.
    pub(crate) hash: Option<Hash>,
    current: Option<(MeshPath, Vec<u8>)>,
}

impl Collected {
    /// One that has so many bytes of every resumable entry already.
    pub(crate) fn holding(held: u64) -> Self {
        Self { held, ..Self::default() }
    }
}

impl Sink for Collected {
    fn begin(&mut self, head: EntryHead) -> BoxFuture<'_, Result<u64, StreamError>> {
        Box::pin(async move {
            assert!(self.current.is_none(), "an entry began before the last one ended");
            let held = head.resumable().map_or(0, |_| self.held);
            self.hash = head.hash;
            self.current = Some((head.path, Vec::new()));
            Ok(held)
        })
    }

    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StreamError>> {
        Box::pin(async move {
            self.current.as_mut().unwrap().1.extend_from_slice(&bytes);
            Ok(())
        })
    }

    fn end(&mut self, failure: Option<String>) -> BoxFuture<'_, Result<(), StreamError>> {
        Box::pin(async move {
            let (path, bytes) = self.current.take().unwrap();
            match failure {
                None => {
                    self.files.insert(path, bytes);
                }
                Some(reason) => self.broken.push((path, reason)),
            }
            Ok(())
        })
    }
}
