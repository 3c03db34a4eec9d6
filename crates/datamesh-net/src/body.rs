//! Memory for bodies: used again, because the first touch of fresh pages costs more than moving
//! the bytes into them (0.6 to 0.75 processor seconds a gigabyte against 0.05).

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datamesh_core::seam::BODY_BYTES_MAX;

/// Sizes of buffers: powers of two from 64 KiB, and the largest body. Smaller bodies are not
/// worth pooling.
const CLASSES: [usize; 7] =
    [64 << 10, 128 << 10, 256 << 10, 512 << 10, 1088 << 10, 2112 << 10, BODY_BYTES_MAX];

/// Bodies below this size are allocated as they come.
const POOLED_BYTES_MIN: usize = 32 << 10;

/// Used buffers, by size.
#[derive(Debug)]
pub(crate) struct Bodies {
    kept_bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    classes: [Vec<Vec<u8>>; CLASSES.len()],
}

impl Bodies {
    pub(crate) fn new(kept_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { kept_bytes_max, kept: Mutex::default() })
    }

    /// A buffer of `length` bytes, which the caller has bounded. What it holds is unspecified: it
    /// may be an earlier body, so it must be filled before it is shown to anyone.
    pub(crate) fn take(self: &Arc<Self>, length: usize) -> Body {
        let class = CLASSES.iter().position(|size| *size >= length);
        let bytes = match class {
            Some(class) if length >= POOLED_BYTES_MIN => {
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                let used = kept.classes[class].pop();
                if used.is_some() {
                    kept.bytes -= CLASSES[class];
                }
                drop(kept);
                used.unwrap_or_else(|| vec![0; CLASSES[class]])
            }
            _ => vec![0; length],
        };
        Body { bytes, length, bodies: Arc::clone(self) }
    }

    fn put_back(&self, bytes: Vec<u8>) {
        let Some(class) = CLASSES.iter().position(|size| *size == bytes.len()) else { return };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + bytes.len() <= self.kept_bytes_max {
            kept.bytes += bytes.len();
            kept.classes[class].push(bytes);
        }
    }
}

/// A buffer that goes back to its [`Bodies`] when it is dropped.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    length: usize,
    bodies: Arc<Bodies>,
}

impl Body {
    /// The bytes to fill.
    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    /// The filled bytes.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        if self.length < POOLED_BYTES_MIN {
            return Bytes::from(std::mem::take(&mut self.bytes));
        }
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.bodies.put_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_keeps_its_length() {
        let bodies = Bodies::new(4 << 20);
        let mut body = bodies.take(1 << 20);
        body.as_mut().fill(7);
        let place = body.as_ref().as_ptr();
        let bytes = body.into_bytes();
        assert_eq!(bytes, vec![7; 1 << 20]);
        let part = bytes.slice(10..20);
        drop(bytes);
        let other = bodies.take(1 << 20);
        assert_ne!(other.as_ref().as_ptr(), place, "a part of the first is still in use");
        drop(part);
        let third = bodies.take((1 << 20) - 5);
        assert_eq!(third.as_ref().as_ptr(), place);
        assert_eq!(third.as_ref().len(), (1 << 20) - 5);
    }

    #[test]
    fn no_more_is_kept_than_allowed() {
        let bodies = Bodies::new(3 << 20);
        let taken: Vec<Body> = (0..8).map(|_| bodies.take(1 << 20)).collect();
        drop(taken);
        let kept = bodies.kept.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(kept.bytes <= 3 << 20 && kept.bytes > 2 << 20, "{}", kept.bytes);
    }

    #[test]
    fn every_allowed_length_is_served() {
        let bodies = Bodies::new(0);
        for length in [0, 1, POOLED_BYTES_MIN, 64 << 10, (64 << 10) + 1, 4 << 20, BODY_BYTES_MAX] {
            assert_eq!(bodies.take(length).into_bytes().len(), length);
        }
    }
}
