//! Compression of a slice's content before it is sealed, and back.
//!
//! One zstd frame for a slice. A sample decides whether the whole is tried, so that content which
//! does not shrink costs a few microseconds; and the whole is kept only where it became smaller by an
//! eighth.
//!
//! Decompression is bounded by what the manifest says: the plaintext goes into a buffer of exactly
//! that size, more or less of it is an error, and a frame gets no memory of its own for the asking.

use std::sync::{Mutex, PoisonError};

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::find_frame_compressed_size;

/// How much time compression may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// zstd level 1, faster than sealing and sending: higher levels would be what a put waits for.
    Put,
    /// zstd level 12, for content that lies long and is read seldom: a seventh to a quarter smaller than level
    /// 1 for text and source code, and less than a tenth as fast.
    Rest,
}

impl Effort {
    fn level(self) -> i32 {
        match self {
            Self::Put => 1,
            Self::Rest => 12,
        }
    }
}

/// Content up to this size is its own sample.
const SAMPLE_BYTES: usize = 12 * 1024;

/// Places of a larger content that make up its sample.
const SAMPLE_PIECES: usize = 3;

/// Contexts kept for reuse, of each kind: as many as segments are made at once.
const KEPT: usize = 6;

/// Compressed content that is not what its manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompressError {
    /// It does not begin with a whole zstd frame.
    #[error("the compressed content does not begin with a whole frame")]
    Frame,
    /// It does not decompress to as many bytes as it should.
    #[error("the compressed content does not give the bytes that it should")]
    Length,
    /// There is no memory for the decompressor.
    #[error("there is no memory to decompress with")]
    Memory,
}

/// Contexts, reused because making one takes longer than compressing a small file.
#[derive(Default)]
pub struct Zstd {
    compressors: Mutex<Vec<Compressor<'static>>>,
    decompressors: Mutex<Vec<Decompressor<'static>>>,
}

impl std::fmt::Debug for Zstd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Zstd")
    }
}

fn take<T>(kept: &Mutex<Vec<T>>) -> Option<T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn give_back<T>(kept: &Mutex<Vec<T>>, context: T) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < KEPT {
        kept.push(context);
    }
}

/// Most bytes that content of this size may have compressed: less than an eighth saved is not worth
/// that the slice opens only as a whole.
fn worth(length: usize) -> usize {
    length - length / 8
}

impl Zstd {
    /// The content as one frame, where that is smaller by an eighth or more.
    pub fn shrunk(&self, content: &[u8], effort: Effort) -> Option<Vec<u8>> {
        let kept = if effort == Effort::Put { take(&self.compressors) } else { None };
        let mut compressor = match kept {
            Some(compressor) => compressor,
            None => Compressor::new(effort.level()).ok()?,
        };
        let shrunk = shrunk_by(&mut compressor, content);
        // One of a higher level has some ten times the memory.
        if effort == Effort::Put {
            give_back(&self.compressors, compressor);
        }
        shrunk
    }

    /// Decompresses the frame that `opened` begins with, which must fill `plain`; what follows the
    /// frame is padding.
    ///
    /// # Errors
    /// [`CompressError`] for anything else.
    pub fn expand(&self, opened: &[u8], plain: &mut [u8]) -> Result<(), CompressError> {
        let length = find_frame_compressed_size(opened).map_err(|_| CompressError::Frame)?;
        let frame = opened.get(..length).ok_or(CompressError::Frame)?;
        let mut decompressor = match take(&self.decompressors) {
            Some(decompressor) => decompressor,
            None => Decompressor::new().map_err(|_| CompressError::Memory)?,
        };
        let room = plain.len();
        let expanded = decompressor.decompress_to_buffer(frame, plain);
        give_back(&self.decompressors, decompressor);
        match expanded {
            Ok(got) if got == room => Ok(()),
            _ => Err(CompressError::Length),
        }
    }
}

fn shrunk_by(compressor: &mut Compressor<'_>, content: &[u8]) -> Option<Vec<u8>> {
    if content.len() > SAMPLE_BYTES {
        let piece = SAMPLE_BYTES / SAMPLE_PIECES;
        let step = (content.len() - piece) / (SAMPLE_PIECES - 1);
        let mut sample = Vec::with_capacity(SAMPLE_BYTES);
        for number in 0..SAMPLE_PIECES {
            sample.extend_from_slice(&content[number * step..number * step + piece]);
        }
        within(compressor, &sample, worth(sample.len()))?;
    }
    within(compressor, content, worth(content.len()))
}

/// The frame, where it has at most so many bytes. The compressor ends when they are full.
fn within(compressor: &mut Compressor<'_>, content: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut frame = Vec::with_capacity(most);
    compressor.compress_to_buffer(content, &mut frame).ok()?;
    (frame.len() <= most).then_some(frame)
}
