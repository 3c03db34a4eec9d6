//! Tar: the pax interchange format of POSIX.1-2001, which every tar of today reads, and of others'
//! archives also those of GNU tar and of before POSIX.
//!
//! An archive is a row of blocks of 512 bytes: a header, the content filled up to whole blocks, the
//! next header, and at the end blocks of zeros. Headers have checksums, contents have none.

mod header;
mod pax;
mod read;
mod write;

pub(crate) use header::begins;
pub use read::TarWalk;
pub use write::TarPen;

/// Bytes of a block.
const BLOCK: usize = 512;

/// Bytes that fill content of this length up to whole blocks.
fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}
