//! Where a segment's bytes lie in its shards.
//!
//! Cell j of a segment lies in shard j mod k, row j div k. A buffer in shard order holds shard 0
//! whole, then shard 1, and so on; the parity shards follow the data shards.

use std::ops::Range;

use datamesh_core::{Descriptor, Scheme, descriptor};

/// The sizes of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Data and parity shards.
    pub scheme: Scheme,
    /// Bytes of a cell.
    pub cell: usize,
    /// Bytes of ciphertext.
    pub length: usize,
}

/// A stretch of a segment that lies in one shard without a break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The data shard.
    pub shard: usize,
    /// Where in the shard the stretch begins.
    pub offset: usize,
    /// Its bytes in the segment.
    pub segment: Range<usize>,
}

impl Layout {
    /// The layout that suits a segment of `length` bytes, by [`descriptor::cell_for`].
    pub fn suited(scheme: Scheme, length: usize) -> Self {
        Self { scheme, cell: descriptor::cell_for(scheme, length), length }
    }

    /// The layout that a descriptor names.
    pub fn of(descriptor: &Descriptor) -> Self {
        Self {
            scheme: descriptor.scheme,
            cell: descriptor.cell as usize,
            length: descriptor.length as usize,
        }
    }

    /// Rows of cells.
    pub fn rows(&self) -> usize {
        descriptor::rows(self.scheme, self.cell, self.length)
    }

    /// Bytes of each shard.
    pub fn shard_length(&self) -> usize {
        self.rows() * self.cell
    }

    /// Bytes of a buffer that holds all n shards.
    pub fn buffer_length(&self) -> usize {
        self.shard_length() * self.scheme.n()
    }

    /// The stretches that make up `range` of the segment, in the segment's order. Neighbouring
    /// cells of one shard are one stretch only where k = 1.
    pub fn runs(&self, range: Range<usize>) -> impl Iterator<Item = Run> + use<> {
        let Self { scheme, cell, .. } = *self;
        let k = scheme.k();
        let mut at = range.start;
        std::iter::from_fn(move || {
            if at >= range.end {
                return None;
            }
            let (index, within) = (at / cell, at % cell);
            let end = if k == 1 { range.end } else { range.end.min(at - within + cell) };
            let run =
                Run { shard: index % k, offset: (index / k) * cell + within, segment: at..end };
            at = end;
            Some(run)
        })
    }

    /// Where stretch `run` lies in a buffer in shard order.
    pub fn place(&self, run: &Run) -> Range<usize> {
        let start = run.shard * self.shard_length() + run.offset;
        start..start + run.segment.len()
    }

    /// Lays a segment's contiguous ciphertext out in shard order and zeroes what the last row does
    /// not fill. `buffer` holds at least the data shards.
    pub fn scatter(&self, ciphertext: &[u8], buffer: &mut [u8]) {
        for run in self.runs(0..self.length) {
            buffer[self.place(&run)].copy_from_slice(&ciphertext[run.segment]);
        }
        self.zero_fill(buffer);
    }

    /// Zeroes the part of the data shards that the segment does not fill.
    pub fn zero_fill(&self, buffer: &mut [u8]) {
        let capacity = self.shard_length() * self.scheme.k();
        for run in self.runs(self.length..capacity) {
            buffer[self.place(&run)].fill(0);
        }
    }

    /// Puts `range` of the segment together from its data shards. `data(i)` gives shard i whole.
    pub fn gather<'a>(
        &self,
        range: Range<usize>,
        data: impl Fn(usize) -> &'a [u8],
        out: &mut Vec<u8>,
    ) {
        for run in self.runs(range) {
            out.extend_from_slice(&data(run.shard)[run.offset..run.offset + run.segment.len()]);
        }
    }
}
