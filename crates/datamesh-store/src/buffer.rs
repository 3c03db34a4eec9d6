//! Reused memory: a fresh page costs the kernel more time than filling it costs us.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::disk::ALIGNMENT;

/// Bytes that begin at an [aligned](ALIGNMENT) address, filled from the front and reused.
///
/// The memory is somewhat larger than the capacity and the contents begin at its first aligned
/// byte, which needs no unsafe code.
#[derive(Debug, Default)]
pub(crate) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    /// Makes room for `additional` bytes; moves the contents where that takes new memory.
    pub(crate) fn reserve(&mut self, additional: usize) {
        let needed = self.length + additional;
        if self.memory.len() >= self.start + needed {
            return;
        }
        let memory = vec![0; needed.next_power_of_two() + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let old = std::mem::replace(self, Self { memory, start, length: 0 });
        self.append(old.as_slice());
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let at = self.start + self.length;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Appends zeros up to a multiple of `granule`.
    pub(crate) fn pad(&mut self, granule: usize) {
        let missing = self.length.next_multiple_of(granule) - self.length;
        self.reserve(missing);
        let at = self.start + self.length;
        self.memory[at..at + missing].fill(0);
        self.length += missing;
    }
}

/// Buffers for reads. A buffer goes back when the last [`Bytes`] over it is dropped; what does not
/// fit the pool is freed.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadPool(Arc<Mutex<Vec<Vec<u8>>>>);

/// Most buffers kept for reuse.
const POOLED_MAX: usize = 16;

/// Smallest buffer worth keeping; the allocator serves smaller ones well.
const POOLED_BYTES_MIN: usize = 32 * 1024;

impl ReadPool {
    /// A buffer of exactly `length` bytes with any contents. Where it is worth keeping it begins at
    /// an [aligned](ALIGNMENT) address, so that it can be read into past the page cache.
    pub(crate) fn take(&self, length: usize) -> PooledBuffer {
        if length < POOLED_BYTES_MIN {
            return PooledBuffer { memory: vec![0; length], start: 0, length, pool: self.clone() };
        }
        let whole = length.next_multiple_of(POOLED_BYTES_MIN) + ALIGNMENT;
        let pooled = {
            let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // A buffer far too large would stay tied up under a few bytes.
            let fitting =
                free.iter().rposition(|buffer| (whole..=2 * whole).contains(&buffer.len()));
            fitting.map(|at| free.swap_remove(at))
        };
        let memory = pooled.unwrap_or_else(|| vec![0; whole]);
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        PooledBuffer { memory, start, length, pool: self.clone() }
    }
}

/// A buffer on loan.
#[derive(Debug)]
pub(crate) struct PooledBuffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
    pool: ReadPool,
}

impl PooledBuffer {
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }

    /// Leaves of the contents `length` bytes from `from` on.
    pub(crate) fn cut(&mut self, from: usize, length: usize) {
        let from = from.min(self.length);
        self.start += from;
        self.length = length.min(self.length - from);
    }

    /// The contents, to share without copying.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        if self.memory.len() < POOLED_BYTES_MIN {
            return;
        }
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < POOLED_MAX {
            free.push(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_stay_and_stay_aligned_while_the_buffer_grows() {
        let mut buffer = AlignedBuffer::default();
        let mut expected = Vec::new();
        for round in 0..40u8 {
            let bytes = vec![round; 1 + 777 * round as usize];
            buffer.append(&bytes);
            expected.extend_from_slice(&bytes);
            assert_eq!(buffer.as_slice().as_ptr().align_offset(ALIGNMENT), 0);
        }
        buffer.pad(ALIGNMENT);
        assert_eq!(buffer.len() % ALIGNMENT, 0);
        assert_eq!(&buffer.as_slice()[..expected.len()], expected);
        assert!(buffer.as_slice()[expected.len()..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_read_buffer_comes_back_when_its_last_bytes_are_dropped() {
        let pool = ReadPool::default();
        let bytes = pool.take(100_000).into_bytes();
        let part = bytes.slice(5..10);
        drop(bytes);
        assert_eq!(pool.0.lock().map(|free| free.len()).ok(), Some(0));
        drop(part);
        assert_eq!(pool.0.lock().map(|free| free.len()).ok(), Some(1));
        let mut again = pool.take(70_000);
        assert_eq!((again.memory.len(), again.as_ref().len()), (131_072 + ALIGNMENT, 70_000));
        assert_eq!(again.as_ref().as_ptr().align_offset(ALIGNMENT), 0);
        again.as_mut_slice()[100..103].copy_from_slice(b"abc");
        again.cut(100, 2);
        assert_eq!(again.as_ref(), b"ab");
        drop(again);
        let small = pool.take(32_768);
        assert_eq!(small.memory.len(), 32_768 + ALIGNMENT, "far too large a buffer is left alone");
    }
}
