//! Hands what is read of an archive from the reading thread to the task that stores it: small files
//! together, because a put of many packs them, and large ones piece by piece.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use datamesh_core::Hash;
use datamesh_core::stream::Piece;
use tokio::sync::mpsc;

use crate::error::ArchiveError;

use super::item::Item;
use super::scan::Taker;

/// Files below this size are small.
const SMALL_BYTES: u64 = 1 << 20;

/// Bytes and files of a parcel of small files.
const PARCEL_BYTES: u64 = 32 << 20;
const PARCEL_FILES: usize = 1000;

/// Pieces of a large file that wait.
const PIECES_WAITING: usize = 8;

/// Parcels that wait: one is stored while the next is read.
pub(super) const PARCELS_WAITING: usize = 1;

/// A small file with its content, or an empty folder.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) item: Item,
    pub(super) content: Bytes,
    pub(super) hash: Hash,
}

/// What is stored at once.
#[derive(Debug)]
pub(super) enum Parcel {
    /// Small files.
    Small(Vec<Packed>),
    /// A large file.
    Large(Large),
}

/// A large file.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) item: Item,
    pub(super) pieces: mpsc::Receiver<Piece>,
    /// The hash of its content, once the last piece was given.
    pub(super) hash: Arc<OnceLock<Hash>>,
}

/// The reading thread's end.
pub(super) struct Parcels {
    out: mpsc::Sender<Parcel>,
    waiting: Vec<Packed>,
    waiting_bytes: u64,
    open: Option<Open>,
}

enum Open {
    Small(Item, Vec<u8>),
    Large(mpsc::Sender<Piece>, Arc<OnceLock<Hash>>),
}

impl Parcels {
    pub(super) fn new(out: mpsc::Sender<Parcel>) -> Self {
        Self { out, waiting: Vec::new(), waiting_bytes: 0, open: None }
    }

    /// Gives on what waits.
    pub(super) fn flush(&mut self) -> Result<(), ArchiveError> {
        self.waiting_bytes = 0;
        if self.waiting.is_empty() {
            return Ok(());
        }
        let parcel = Parcel::Small(std::mem::take(&mut self.waiting));
        self.out.blocking_send(parcel).map_err(|_| ArchiveError::Gone)
    }

    /// Ends a large file that cannot be read to its end.
    pub(super) fn break_off(&mut self, reason: &str) {
        if let Some(Open::Large(pieces, _)) = self.open.take() {
            // Nobody is left to be told where it has gone.
            let _ = pieces.blocking_send(Piece::Broken(reason.to_owned()));
        }
    }

    fn add(&mut self, packed: Packed) -> Result<(), ArchiveError> {
        self.waiting_bytes += packed.content.len() as u64;
        self.waiting.push(packed);
        if self.waiting_bytes >= PARCEL_BYTES || self.waiting.len() >= PARCEL_FILES {
            self.flush()?;
        }
        Ok(())
    }
}

impl Taker for Parcels {
    fn begin(&mut self, item: Item) -> Result<(), ArchiveError> {
        if item.size < SMALL_BYTES {
            let content = Vec::with_capacity(item.size as usize);
            self.open = Some(Open::Small(item, content));
            return Ok(());
        }
        self.flush()?;
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let hash = Arc::<OnceLock<Hash>>::default();
        self.open = Some(Open::Large(sender, Arc::clone(&hash)));
        let parcel = Parcel::Large(Large { item, pieces, hash });
        self.out.blocking_send(parcel).map_err(|_| ArchiveError::Gone)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        match &mut self.open {
            Some(Open::Small(_, content)) => content.extend_from_slice(bytes),
            Some(Open::Large(pieces, _)) => {
                let piece = Piece::Bytes(Bytes::copy_from_slice(bytes));
                pieces.blocking_send(piece).map_err(|_| ArchiveError::Gone)?;
            }
            None => {}
        }
        Ok(())
    }

    fn end(&mut self, hash: Hash) -> Result<(), ArchiveError> {
        match self.open.take() {
            Some(Open::Small(item, content)) => {
                self.add(Packed { item, content: content.into(), hash })
            }
            Some(Open::Large(pieces, known)) => {
                let _first = known.set(hash);
                pieces.blocking_send(Piece::End).map_err(|_| ArchiveError::Gone)
            }
            None => Ok(()),
        }
    }

    fn folders(&mut self, folders: Vec<Item>) -> Result<(), ArchiveError> {
        for item in folders {
            self.add(Packed { item, content: Bytes::new(), hash: Hash::of(&[]) })?;
        }
        Ok(())
    }
}
