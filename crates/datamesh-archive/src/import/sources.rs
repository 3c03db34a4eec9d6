//! What puts read from: small files in memory, and a large file whose pieces are being read.

use std::collections::VecDeque;

use datamesh_core::BoxFuture;
use datamesh_core::stream::{EntryHead, PIECE_BYTES_MAX, Piece, Source, StreamError};

use super::item::Item;
use super::parcels::{Large, Packed};

/// Small files in memory, one after the other.
pub(super) struct Small<'a> {
    files: std::slice::Iter<'a, Packed>,
    pieces: VecDeque<Piece>,
}

impl<'a> Small<'a> {
    pub(super) fn new(files: &'a [Packed]) -> Self {
        Self { files: files.iter(), pieces: VecDeque::new() }
    }
}

impl Source for Small<'_> {
    fn next_entry(&mut self) -> BoxFuture<'_, Result<Option<EntryHead>, StreamError>> {
        let next = self.files.next();
        if let Some(file) = next {
            let mut rest = file.content.clone();
            while !rest.is_empty() {
                let piece = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
                self.pieces.push_back(Piece::Bytes(piece));
            }
            self.pieces.push_back(Piece::End);
        }
        Box::pin(std::future::ready(Ok(next.map(|file| file.item.head()))))
    }

    fn next_piece(&mut self) -> BoxFuture<'_, Result<Piece, StreamError>> {
        let piece = self.pieces.pop_front();
        let piece = piece.ok_or_else(|| StreamError::new("the entry has ended already"));
        Box::pin(std::future::ready(piece))
    }
}

/// A large file.
pub(super) struct Single<'a> {
    item: Option<&'a Item>,
    large: &'a mut tokio::sync::mpsc::Receiver<Piece>,
}

impl<'a> Single<'a> {
    pub(super) fn new(large: &'a mut Large) -> Self {
        Self { item: Some(&large.item), large: &mut large.pieces }
    }
}

impl Source for Single<'_> {
    fn next_entry(&mut self) -> BoxFuture<'_, Result<Option<EntryHead>, StreamError>> {
        Box::pin(std::future::ready(Ok(self.item.take().map(Item::head))))
    }

    fn next_piece(&mut self) -> BoxFuture<'_, Result<Piece, StreamError>> {
        Box::pin(async move {
            // A reading thread that ended in the middle of a file must not look like its end.
            let ended = || Piece::Broken("the archive could not be read to its end".to_owned());
            Ok(self.large.recv().await.unwrap_or_else(ended))
        })
    }
}
