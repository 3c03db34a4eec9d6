//! The public, content-addressed description of a segment.
//!
//! Fixed little-endian layout, no optional fields (`docs/specs/descriptor.md`). Every shard carries
//! a copy, so one surviving shard tells any stranger what the others must be: repair needs no
//! trust. The segment's id is the hash of these bytes.

use crate::id::{Hash, SegmentId};
use crate::scheme::Scheme;
use crate::signature::PublicKey;
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// BLAKE3 derive-key context of segment ids.
const SEGMENT_ID_CONTEXT: &str = "datamesh 2026 segment id v1";

/// Largest segment in bytes of ciphertext: small enough that a segment being read, sealed, coded
/// and hashed stays in cache (`docs/performance.md`).
pub const SEGMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Smallest cell in bytes; also BLAKE3's chunk, below which there are no tree paths.
pub const CELL_BYTES_MIN: usize = 1024;

/// Largest cell in bytes.
pub const CELL_BYTES_MAX: usize = 64 * 1024;

/// AES-256-GCM frames, BLAKE3 roots, Reed-Solomon over GF(2⁸) with the systematic Vandermonde
/// matrix over 0x11D.
pub const SUITE_AES256GCM_BLAKE3_RS: u8 = 1;

/// What a segment is, to anybody: sizes, scheme, the root of every shard, and the key that may
/// end its lease. Says nothing about what is inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The ciphers, hash and code used: [`SUITE_AES256GCM_BLAKE3_RS`].
    pub suite: u8,
    /// Data and parity shards.
    pub scheme: Scheme,
    /// Bytes of a cell: a power of two from [`CELL_BYTES_MIN`] to [`CELL_BYTES_MAX`].
    pub cell: u32,
    /// Bytes of ciphertext in the segment, at least 1 and at most [`SEGMENT_BYTES_MAX`].
    pub length: u32,
    /// BLAKE3 root of each shard's cells in order, data shards first.
    pub roots: Vec<Hash>,
    /// The key whose signature renews or releases the lease of this segment's shards.
    pub lease_key: PublicKey,
}

impl Descriptor {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;

    /// Largest encoding in bytes.
    pub const BYTES_MAX: usize = 12 + 32 * crate::scheme::SHARDS_MAX + 32;

    /// The segment's id.
    pub fn id(&self) -> SegmentId {
        SegmentId(Hash::derive(SEGMENT_ID_CONTEXT, &self.to_bytes()).0)
    }

    /// Rows of cells in each shard.
    pub fn rows(&self) -> usize {
        rows(self.scheme, self.cell as usize, self.length as usize)
    }

    /// Bytes of each shard: whole cells, the last row filled with zeros.
    pub fn shard_length(&self) -> usize {
        self.rows() * self.cell as usize
    }
}

/// Rows of `k` cells that `length` bytes fill.
pub fn rows(scheme: Scheme, cell: usize, length: usize) -> usize {
    length.div_ceil(cell * scheme.k())
}

/// The cell that suits a segment of `length` bytes: the largest that fills at most an eighth of it
/// with zeros, so that a small segment is not stored twice over, and the smallest where none does.
/// A reader takes the cell from the descriptor; this rule binds nobody.
pub fn cell_for(scheme: Scheme, length: usize) -> usize {
    let mut cell = CELL_BYTES_MAX;
    while cell > CELL_BYTES_MIN {
        let filled = rows(scheme, cell, length) * cell * scheme.k() - length;
        if filled <= length / 8 {
            break;
        }
        cell /= 2;
    }
    cell
}

impl Encode for Descriptor {
    fn encode(&self, out: &mut Writer) {
        out.u8(Self::VERSION).u8(self.suite).u8(self.scheme.k() as u8).u8(self.scheme.m() as u8);
        out.u32(self.cell).u32(self.length);
        for root in &self.roots {
            out.raw(&root.0);
        }
        self.lease_key.encode(out);
    }
}

impl Decode for Descriptor {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("descriptor", Self::VERSION)?;
        let suite = from.u8()?;
        if suite != SUITE_AES256GCM_BLAKE3_RS {
            return Err(WireError::Invalid { field: "descriptor suite" });
        }
        let scheme = Scheme::new(from.u8()?, from.u8()?)
            .map_err(|_| WireError::Invalid { field: "descriptor scheme" })?;
        let (cell, length) = (from.u32()?, from.u32()?);
        let cell_valid =
            cell.is_power_of_two() && (CELL_BYTES_MIN..=CELL_BYTES_MAX).contains(&(cell as usize));
        if !cell_valid {
            return Err(WireError::Invalid { field: "descriptor cell" });
        }
        if length == 0 || length as usize > SEGMENT_BYTES_MAX {
            return Err(WireError::Invalid { field: "descriptor length" });
        }
        let mut roots = Vec::with_capacity(scheme.n());
        for _ in 0..scheme.n() {
            roots.push(Hash::decode(from)?);
        }
        Ok(Self { suite, scheme, cell, length, roots, lease_key: PublicKey::decode(from)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_segment_is_not_blown_up_by_its_cell() {
        for length in [1, 1000, 4096, 65_568, 70_000, 1 << 20, SEGMENT_BYTES_MAX] {
            let cell = cell_for(Scheme::FOUR_TWO, length);
            let stored = rows(Scheme::FOUR_TWO, cell, length) * cell * 4;
            assert!(stored - length <= (length / 8).max(4 * CELL_BYTES_MIN), "{length} {cell}");
        }
        assert_eq!(cell_for(Scheme::FOUR_TWO, SEGMENT_BYTES_MAX), CELL_BYTES_MAX);
    }
}
