//! A stream under a password, in the format of age ([`datamesh_crypto::age`]), as reader and writer.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use datamesh_crypto::age::{AgeError, CHUNK_BYTES, CHUNK_TAG_BYTES, ChunkKey};
use zeroize::Zeroizing;

use crate::error::ArchiveError;
use crate::layers::{Layer, place};

/// Bytes of a whole sealed chunk.
const SEALED_BYTES: usize = CHUNK_BYTES + CHUNK_TAG_BYTES;

fn sealed(error: AgeError) -> io::Error {
    ArchiveError::Sealed(error).into_io()
}

/// Seals what is written.
pub(crate) struct Sealing {
    out: Box<dyn Layer>,
    key: ChunkKey,
    chunk: Zeroizing<Vec<u8>>,
    number: u64,
}

impl Sealing {
    /// Seals into `out`, after what comes before the chunks.
    pub(crate) fn new(
        mut out: Box<dyn Layer>,
        beginning: &[u8],
        key: ChunkKey,
    ) -> io::Result<Self> {
        out.write_all(beginning)?;
        let chunk = Zeroizing::new(Vec::with_capacity(SEALED_BYTES));
        Ok(Self { out, key, chunk, number: 0 })
    }

    fn send(&mut self, last: bool) -> io::Result<()> {
        self.key.seal(self.number, last, &mut self.chunk).map_err(sealed)?;
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        self.number += 1;
        Ok(())
    }
}

impl Write for Sealing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits: whether it is the last is known when more comes or nothing does.
        if self.chunk.len() == CHUNK_BYTES && !bytes.is_empty() {
            self.send(false)?;
        }
        let count = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Layer for Sealing {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.send(true)?;
        self.out.finish()
    }
}

/// Opens what is read from a stream that goes one way.
pub(crate) struct Opening<R> {
    input: R,
    key: Arc<ChunkKey>,
    number: u64,
    /// The chunk that is open, and how much of it was read.
    plain: Zeroizing<Vec<u8>>,
    at: usize,
    /// The byte behind the chunk, if there is one.
    next: Option<u8>,
    ended: bool,
}

impl<R: Read> Opening<R> {
    /// Opens the chunks that `input` gives.
    pub(crate) fn new(input: R, key: Arc<ChunkKey>) -> Self {
        let plain = Zeroizing::new(Vec::new());
        Self { input, key, number: 0, plain, at: 0, next: None, ended: false }
    }

    fn chunk(&mut self) -> io::Result<()> {
        self.plain.clear();
        self.at = 0;
        self.plain.extend(self.next.take());
        let missing = (SEALED_BYTES + 1 - self.plain.len()) as u64;
        self.input.by_ref().take(missing).read_to_end(&mut self.plain)?;
        if self.plain.len() > SEALED_BYTES {
            self.next = self.plain.pop();
        }
        self.ended = self.next.is_none();
        self.key.open(self.number, self.ended, &mut self.plain).map_err(sealed)?;
        self.number += 1;
        Ok(())
    }
}

impl<R: Read> Read for Opening<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() {
            if self.ended || out.is_empty() {
                return Ok(0);
            }
            self.chunk()?;
        }
        Ok(give(&self.plain, &mut self.at, out))
    }
}

/// Gives on what is open.
fn give(plain: &[u8], at: &mut usize, out: &mut [u8]) -> usize {
    let count = out.len().min(plain.len() - *at);
    out[..count].copy_from_slice(&plain[*at..*at + count]);
    *at += count;
    count
}

/// Opens what is read from a file at any place.
pub(crate) struct OpeningAt<R> {
    input: R,
    key: Arc<ChunkKey>,
    /// Where the chunks begin, and how many there are.
    begin: u64,
    chunks: u64,
    length: u64,
    at: u64,
    open: Option<u64>,
    plain: Zeroizing<Vec<u8>>,
}

impl<R: Read + Seek> OpeningAt<R> {
    /// Opens the chunks of `input` from `begin` on. The last is opened at once, so that a file that was
    /// cut short is noticed before anything of it is believed.
    pub(crate) fn new(mut input: R, begin: u64, key: Arc<ChunkKey>) -> io::Result<Self> {
        let all = input.seek(SeekFrom::End(0))?.saturating_sub(begin);
        let chunks = all.div_ceil(SEALED_BYTES as u64).max(1);
        let length = all.saturating_sub(chunks * CHUNK_TAG_BYTES as u64);
        let plain = Zeroizing::new(Vec::with_capacity(SEALED_BYTES));
        let mut opening = Self { input, key, begin, chunks, length, at: 0, open: None, plain };
        opening.chunk(chunks - 1)?;
        Ok(opening)
    }

    fn chunk(&mut self, number: u64) -> io::Result<()> {
        if self.open == Some(number) {
            return Ok(());
        }
        self.open = None;
        self.plain.clear();
        self.input.seek(SeekFrom::Start(self.begin + number * SEALED_BYTES as u64))?;
        self.input.by_ref().take(SEALED_BYTES as u64).read_to_end(&mut self.plain)?;
        self.key.open(number, number + 1 == self.chunks, &mut self.plain).map_err(sealed)?;
        self.open = Some(number);
        Ok(())
    }
}

impl<R: Read + Seek> Read for OpeningAt<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.length || out.is_empty() {
            return Ok(0);
        }
        self.chunk(self.at / CHUNK_BYTES as u64)?;
        let mut within = (self.at % CHUNK_BYTES as u64) as usize;
        if within >= self.plain.len() {
            return Ok(0);
        }
        let count = give(&self.plain, &mut within, out);
        self.at += count as u64;
        Ok(count)
    }
}

impl<R: Read + Seek> Seek for OpeningAt<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = place(to, self.at, self.length)?;
        Ok(self.at)
    }
}
