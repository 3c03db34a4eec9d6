//! Proofs hold for what is there and for nothing else.

use datamesh_codec::proof::{prove, verify};
use datamesh_core::Hash;
use proptest::prelude::*;

use crate::code::noise;

#[test]
fn every_cell_range_of_small_shards_is_proved() {
    for cells in 1..=9 {
        let shard = noise(cells as u64, cells * 1024);
        let root = Hash::of(&shard);
        for first in 0..cells {
            for end in first + 1..=cells {
                let range = first * 1024..end * 1024;
                let proof = prove(&shard, range.clone());
                assert!(
                    verify(&root, shard.len(), range.clone(), &shard[range.clone()], &proof),
                    "{cells} {first}..{end}"
                );
                assert!(proof.len() <= 8);
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_else_passes(
        cells in 2usize..40, pick in any::<(u16, u16)>(), flip in any::<u32>(), log in 10u32..14,
    ) {
        let cell = 1usize << log;
        let shard = noise(flip as u64, cells * cell);
        let root = Hash::of(&shard);
        let first = pick.0 as usize % cells;
        let end = first + 1 + pick.1 as usize % (cells - first);
        let range = first * cell..end * cell;
        let proof = prove(&shard, range.clone());
        let bytes = shard[range.clone()].to_vec();
        prop_assert!(verify(&root, shard.len(), range.clone(), &bytes, &proof));

        let mut changed = bytes.clone();
        let at = flip as usize % changed.len();
        changed[at] ^= 1 << (flip % 8);
        prop_assert!(!verify(&root, shard.len(), range.clone(), &changed, &proof));
        prop_assert!(!verify(&Hash([9; 32]), shard.len(), range.clone(), &bytes, &proof));
        // The same cells shown as others of the same shard.
        if end < cells {
            let moved = range.start + cell..range.end + cell;
            prop_assert!(!verify(&root, shard.len(), moved, &bytes, &proof));
        }
        if !proof.is_empty() {
            prop_assert!(!verify(&root, shard.len(), range.clone(), &bytes, &proof[1..]));
            let mut long = proof.clone();
            long.push(Hash([0; 32]));
            prop_assert!(!verify(&root, shard.len(), range, &bytes, &long));
        }
    }

    #[test]
    fn hostile_proofs_never_panic(
        length in 0usize..100_000, start in 0usize..100_000, end in 0usize..100_000,
        bytes in proptest::collection::vec(any::<u8>(), 0..5000), hashes in 0usize..80,
    ) {
        let proof = vec![Hash([1; 32]); hashes];
        prop_assert!(!verify(&Hash([0; 32]), length, start..end, &bytes, &proof));
    }
}
