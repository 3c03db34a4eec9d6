//! Incompressible content that follows from a seed, written and checked without being kept.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Bytes handled at once.
const BLOCK: usize = 1 << 20;

/// The content of `seed` as a stream of any length.
fn stream(seed: u64) -> blake3::OutputReader {
    blake3::Hasher::new().update(b"datamesh bench").update(&seed.to_le_bytes()).finalize_xof()
}

/// Writes `length` bytes of the content of `seed`.
pub(crate) fn write(path: &Path, seed: u64, length: u64) {
    let mut file = File::create(path).unwrap();
    let (mut content, mut block, mut left) = (stream(seed), vec![0; BLOCK], length);
    while left > 0 {
        let count = left.min(BLOCK as u64) as usize;
        content.fill(&mut block[..count]);
        file.write_all(&block[..count]).unwrap();
        left -= count as u64;
    }
}

/// Whether a file is just `length` bytes of the content of `seed`.
pub(crate) fn is(path: &Path, seed: u64, length: u64) -> bool {
    let mut file = File::open(path).unwrap();
    if file.metadata().unwrap().len() != length {
        return false;
    }
    let mut content = stream(seed);
    let (mut want, mut got, mut left) = (vec![0; BLOCK], vec![0; BLOCK], length);
    while left > 0 {
        let count = left.min(BLOCK as u64) as usize;
        content.fill(&mut want[..count]);
        if file.read_exact(&mut got[..count]).is_err() || want[..count] != got[..count] {
            return false;
        }
        left -= count as u64;
    }
    true
}
