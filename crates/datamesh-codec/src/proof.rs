//! Proofs that a range of cells belongs to a shard's root.
//!
//! A shard's root is the BLAKE3 hash of its cells, and BLAKE3 is a Merkle tree over chunks of
//! 1 KiB. A proof lists, in the order of a walk from the root to the left first, the chaining
//! values of the largest subtrees that lie wholly outside the range; the verifier computes the
//! rest from the cells. Whole shards need no proof. See section 2.1 of the BLAKE3 paper.

use std::ops::Range;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use datamesh_core::Hash;
use datamesh_core::message::PROOF_MAX;

/// The proof for `range` (in bytes, on cell boundaries) of a whole shard's `cells`.
///
/// Empty where the range is the whole shard, or does not lie within it.
pub fn prove(cells: &[u8], range: Range<usize>) -> Vec<Hash> {
    let mut proof = Vec::new();
    if range.start < range.end && range.end <= cells.len() && range != (0..cells.len()) {
        collect(cells, 0, &range, &mut proof);
    }
    proof
}

/// Lists the subtrees of `subtree`, which begins at byte `offset`, that lie outside `range`.
fn collect(subtree: &[u8], offset: usize, range: &Range<usize>, proof: &mut Vec<Hash>) {
    let end = offset + subtree.len();
    if offset >= range.end || end <= range.start {
        proof.push(Hash(chaining_value(subtree, offset)));
    } else if offset < range.start || end > range.end {
        let middle = left_subtree_len(subtree.len() as u64) as usize;
        collect(&subtree[..middle], offset, range, proof);
        collect(&subtree[middle..], offset + middle, range, proof);
    }
}

fn chaining_value(subtree: &[u8], offset: usize) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset as u64);
    hasher.update(subtree);
    hasher.finalize_non_root()
}

/// Checks that `cells` are bytes `range` of a shard of `shard_length` bytes with this root.
///
/// `range` and `shard_length` must lie on boundaries of cells, which are powers of two of at least
/// 1 KiB; a range that does not fit is simply not proved.
pub fn verify(
    root: &Hash,
    shard_length: usize,
    range: Range<usize>,
    cells: &[u8],
    proof: &[Hash],
) -> bool {
    let chunk = datamesh_core::descriptor::CELL_BYTES_MIN;
    let fits = range.start < range.end
        && range.end <= shard_length
        && range.len() == cells.len()
        && proof.len() <= PROOF_MAX
        && range.start.is_multiple_of(chunk)
        && range.end.is_multiple_of(chunk)
        && shard_length.is_multiple_of(chunk);
    if !fits {
        return false;
    }
    if range.len() == shard_length {
        return proof.is_empty() && Hash::of(cells) == *root;
    }
    let mut walk = Walk { range, cells, proof };
    let middle = left_subtree_len(shard_length as u64) as usize;
    let left = walk.value(0, middle);
    let right = walk.value(middle, shard_length - middle);
    match (left, right) {
        (Some(left), Some(right)) => {
            walk.proof.is_empty()
                && *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes() == root.0
        }
        _ => false,
    }
}

/// The verifier's walk: takes chaining values from the proof in the order they were collected.
struct Walk<'a> {
    range: Range<usize>,
    cells: &'a [u8],
    proof: &'a [Hash],
}

impl Walk<'_> {
    /// The chaining value of the subtree at `offset` of `length` bytes; nothing where the proof is
    /// too short.
    fn value(&mut self, offset: usize, length: usize) -> Option<ChainingValue> {
        let end = offset + length;
        if offset >= self.range.end || end <= self.range.start {
            let (first, rest) = self.proof.split_first()?;
            self.proof = rest;
            return Some(first.0);
        }
        if offset >= self.range.start && end <= self.range.end {
            let from = offset - self.range.start;
            return Some(chaining_value(&self.cells[from..from + length], offset));
        }
        let middle = left_subtree_len(length as u64) as usize;
        let left = self.value(offset, middle)?;
        let right = self.value(offset + middle, length - middle)?;
        Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
    }
}
