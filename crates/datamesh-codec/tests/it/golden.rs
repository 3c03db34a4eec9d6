//! Segments that the format has produced once and must produce for ever (`docs/specs/segment.md`).

use datamesh_codec::proof::{prove, verify};
use datamesh_codec::{Layout, Pool, encode};
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::wire::Encode;
use datamesh_core::{Descriptor, PublicKey};

use crate::code::noise;
use crate::vectors::golden;

/// Scheme, bytes of ciphertext, and the cell that follows.
const SEGMENTS: [(&str, usize, usize); 4] = [
    ("4+2", 20_000, 1024),
    ("8+4", 65_000, 8192),
    // No cell keeps the zero filling to an eighth, so the smallest is taken.
    ("16+8", 100_000, 1024),
    ("1+5", 4000, 4096),
];

/// Codes the segment whose ciphertext is `noise` of its length.
fn segment(scheme: &str, length: usize) -> (Layout, Vec<u8>, Descriptor) {
    let layout = Layout::suited(scheme.parse().unwrap(), length);
    let mut buffer = Pool::new(1).take(layout.buffer_length());
    layout.scatter(&noise(length as u64, length), &mut buffer);
    let roots = encode(&layout, &mut buffer).unwrap();
    let descriptor = Descriptor {
        suite: SUITE_AES256GCM_BLAKE3_RS,
        scheme: layout.scheme,
        cell: layout.cell as u32,
        length: length as u32,
        roots,
        lease_key: PublicKey([0xEE; 32]),
    };
    (layout, buffer.to_vec(), descriptor)
}

#[test]
fn segments_are_coded_as_ever() {
    for (scheme, length, cell) in SEGMENTS {
        let (layout, _, descriptor) = segment(scheme, length);
        assert_eq!(layout.cell, cell, "{scheme}");
        golden("segment", &format!("{scheme}.descriptor"), &descriptor.to_bytes());
        golden("segment", &format!("{scheme}.id"), &descriptor.id().0);
    }
}

#[test]
fn parity_is_made_as_ever() {
    let (layout, shards, _) = segment("4+2", 20_000);
    golden("segment", "4+2.parity", &shards[layout.shard_length() * 4..]);
}

#[test]
fn a_proof_lists_the_tree_in_the_order_of_the_walk() {
    let (layout, shards, descriptor) = segment("4+2", 20_000);
    // Cells 1 and 2 of the five of shard 2: two subtrees lie left and right of them, and one more
    // beside the whole of the first four.
    let shard = &shards[2 * layout.shard_length()..3 * layout.shard_length()];
    let range = layout.cell..3 * layout.cell;
    let proof = prove(shard, range.clone());
    assert_eq!(proof.len(), 3);
    assert!(verify(&descriptor.roots[2], shard.len(), range.clone(), &shard[range], &proof));
    let bytes: Vec<u8> = proof.iter().flat_map(|hash| hash.0).collect();
    golden("segment", "4+2.proof", &bytes);
}
