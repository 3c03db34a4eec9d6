//! Reused buffers. Fresh memory costs ten times what reused memory does, because the kernel zeroes
//! each page when it is first touched.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Smaller buffers are left to the allocator, which serves them well: kept here, one would be given
/// to who asks for a large one, or a large one be tied up under a few bytes.
const POOLED_BYTES_MIN: usize = 256 * 1024;

/// Keeps up to a number of large buffers for reuse. Buffers of several sizes may share a pool; one
/// that is too small is replaced.
#[derive(Debug, Clone)]
pub struct Pool {
    shelf: Arc<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    kept_max: usize,
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    /// A pool that keeps at most `kept_max` buffers while they are not used.
    pub fn new(kept_max: usize) -> Self {
        Self { shelf: Arc::new(Shelf { kept_max, free: Mutex::new(Vec::new()) }) }
    }

    /// A buffer of exactly `length` bytes. Its content is whatever its last user left.
    pub fn take(&self, length: usize) -> Buffer {
        if length < POOLED_BYTES_MIN {
            return Buffer { bytes: vec![0; length], length, shelf: Arc::clone(&self.shelf) };
        }
        let kept = self.shelf.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bytes = kept.unwrap_or_default();
        if bytes.len() < length {
            // A fresh zeroed allocation comes lazily from the kernel; growing would copy.
            bytes = vec![0; length];
        }
        Buffer { bytes, length, shelf: Arc::clone(&self.shelf) }
    }
}

/// A buffer that returns to its pool when it is dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    shelf: Arc<Shelf>,
}

impl Buffer {
    /// Cuts the buffer to at most `length` bytes.
    pub fn shorten(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// The buffer as shared bytes; it returns to its pool when the last slice is dropped.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() < POOLED_BYTES_MIN {
            return;
        }
        let mut free = self.shelf.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.shelf.kept_max {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}
