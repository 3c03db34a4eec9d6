//! Bytes and folders to put in and to get back.

mod digest;
mod tree;

pub use digest::tree_digest;
pub use tree::{TreeShape, tree, tree_of};

use crate::random::Dice;

/// Incompressible bytes that follow from `seed` alone; a shorter one begins a longer one.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Dice::new(seed).fill(&mut bytes);
    bytes
}
