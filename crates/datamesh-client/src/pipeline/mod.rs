//! How files become segments and come back.

mod get;
mod packs;
mod put;
pub(crate) mod segment;
pub(crate) mod sending;
pub(crate) mod slices;

pub use get::{GetItem, GetReport, Wanted, get_shared};
pub use packs::Packs;
pub(crate) use put::checked_tags;
pub use put::{Compress, EntryFailure, PutOptions, PutReport, StoredEntry};

use datamesh_core::descriptor::{CELL_BYTES_MAX, SEGMENT_BYTES_MAX};
use datamesh_crypto::Slice;
use datamesh_crypto::frame::TAG_BYTES;

use self::sending::Stored;
use crate::error::ClientError;

/// Bytes of a frame in segments that hold one slice, and in packed ones: the largest.
pub(crate) const FRAME: usize = CELL_BYTES_MAX;

/// Plaintext of a frame.
pub(crate) const FRAME_PLAIN: usize = FRAME - TAG_BYTES;

/// Plaintext of a full segment: 64 frames. Larger files are cut here; smaller ones are packed.
pub(crate) const SEGMENT_PLAIN: usize = SEGMENT_BYTES_MAX / FRAME * FRAME_PLAIN;

/// What became of a segment, for one of the puts that have slices in it.
#[derive(Default)]
struct Done {
    /// File, place in the file, slice.
    slices: Vec<(usize, u32, Slice)>,
    /// Nothing where the put gave the slices up.
    stored: Option<Stored>,
}

/// As [`Done`], or the files of the put that the failure costs.
type Finished = Result<Done, (Vec<usize>, ClientError)>;
