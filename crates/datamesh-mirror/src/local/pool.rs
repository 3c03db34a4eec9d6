//! Buffers that are used again: touching fresh memory costs more than filling it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datamesh_core::stream::PIECE_BYTES_MAX;

/// Buffers that are kept for later; more than the queue and one segment can hold at once.
const BUFFERS_KEPT: usize = 48;

/// Buffers of one piece each.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A buffer that returns to its pool when the last reference to its bytes is gone.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
    pool: Pool,
}

impl Pool {
    /// A buffer with room for one piece.
    pub(super) fn take(&self) -> Buffer {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = kept.unwrap_or_else(|| vec![0; PIECE_BYTES_MAX].into_boxed_slice());
        Buffer { bytes, filled: 0, pool: self.clone() }
    }
}

impl Buffer {
    /// The whole room.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The first `filled` bytes.
    pub(super) fn into_bytes(mut self, filled: usize) -> Bytes {
        self.filled = filled.min(self.bytes.len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < BUFFERS_KEPT {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}
