//! The descriptor: its golden vectors, its one encoding, and what it refuses
//! (`docs/specs/descriptor.md`).

use datamesh_core::descriptor::{
    CELL_BYTES_MAX, CELL_BYTES_MIN, Descriptor, SEGMENT_BYTES_MAX, SUITE_AES256GCM_BLAKE3_RS,
};
use datamesh_core::wire::{Encode, WireError, decode};
use datamesh_core::{Hash, PublicKey, Scheme};
use proptest::prelude::*;

use crate::vectors::{foreign, golden, one_encoding};

/// A descriptor whose roots and key are easy to see in a dump: root i is the byte i + 1, repeated.
pub(crate) fn plain(scheme: Scheme, cell: u32, length: u32) -> Descriptor {
    let roots = (1..=scheme.n() as u8).map(|number| Hash([number; 32])).collect();
    Descriptor {
        suite: SUITE_AES256GCM_BLAKE3_RS,
        scheme,
        cell,
        length,
        roots,
        lease_key: PublicKey([0xEE; 32]),
    }
}

pub(crate) fn any_scheme() -> impl Strategy<Value = Scheme> {
    let copies = (1u8..=16).prop_filter_map("offered", |m| Scheme::new(1, m).ok());
    prop_oneof![
        Just(Scheme::FOUR_TWO),
        Just(Scheme::EIGHT_FOUR),
        Just(Scheme::SIXTEEN_EIGHT),
        copies,
    ]
}

pub(crate) fn any_descriptor() -> impl Strategy<Value = Descriptor> {
    let cell = (CELL_BYTES_MIN.ilog2()..=CELL_BYTES_MAX.ilog2()).prop_map(|bits| 1u32 << bits);
    let length = 1..=SEGMENT_BYTES_MAX as u32;
    (any_scheme(), cell, length, any::<[u8; 32]>()).prop_flat_map(|(scheme, cell, length, key)| {
        proptest::collection::vec(any::<[u8; 32]>(), scheme.n()).prop_map(move |roots| Descriptor {
            suite: SUITE_AES256GCM_BLAKE3_RS,
            scheme,
            cell,
            length,
            roots: roots.into_iter().map(Hash).collect(),
            lease_key: PublicKey(key),
        })
    })
}

#[test]
fn vectors_hold() {
    let vectors = [
        ("4+2", plain(Scheme::FOUR_TWO, 65_536, 4_194_304)),
        ("8+4", plain(Scheme::EIGHT_FOUR, 4096, 1_000_000)),
        ("16+8", plain(Scheme::SIXTEEN_EIGHT, 16_384, 4_194_303)),
        ("1+5", plain(Scheme::ONE_FIVE, 1024, 1)),
    ];
    for (name, descriptor) in vectors {
        golden("descriptor", name, &descriptor.to_bytes());
        golden("descriptor", &format!("{name}.id"), &descriptor.id().0);
    }
}

#[test]
fn sizes_are_those_of_the_page() {
    let size = |scheme| plain(scheme, 1024, 1).to_bytes().len();
    assert_eq!(size(Scheme::FOUR_TWO), 236);
    assert_eq!(size(Scheme::EIGHT_FOUR), 428);
    assert_eq!(size(Scheme::SIXTEEN_EIGHT), Descriptor::BYTES_MAX);
    let descriptor = plain(Scheme::FOUR_TWO, 4096, 4 * 4096 * 2 + 1);
    assert_eq!((descriptor.rows(), descriptor.shard_length()), (3, 3 * 4096));
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let good = plain(Scheme::FOUR_TWO, 4096, 70_000).to_bytes();
    let refused = |at: usize, bytes: &[u8], error: WireError| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(decode::<Descriptor>(&changed), Err(error), "{bytes:?} at {at}");
    };
    let version = |version| WireError::Version { record: "descriptor", version, known: 1 };
    refused(0, &[0], version(0));
    refused(0, &[2], version(2));
    let invalid = |field| WireError::Invalid { field };
    refused(1, &[0], invalid("descriptor suite"));
    refused(1, &[2], invalid("descriptor suite"));
    refused(2, &[4, 3], invalid("descriptor scheme"));
    refused(2, &[0, 0], invalid("descriptor scheme"));
    for cell in [0u32, 512, 1023, 1025, 5000, 131_072, 1 << 31, u32::MAX] {
        refused(4, &cell.to_le_bytes(), invalid("descriptor cell"));
    }
    for length in [0u32, 4 * 1024 * 1024 + 1, u32::MAX] {
        refused(8, &length.to_le_bytes(), invalid("descriptor length"));
    }
}

proptest! {
    #[test]
    fn every_descriptor_has_one_encoding(descriptor in any_descriptor()) {
        one_encoding(&descriptor);
    }

    #[test]
    fn a_changed_byte_is_refused_or_another_segment(
        descriptor in any_descriptor(),
        at in any::<prop::sample::Index>(),
        change in 1u8..,
    ) {
        let mut bytes = descriptor.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        if let Ok(changed) = decode::<Descriptor>(&bytes) {
            prop_assert_ne!(changed.id(), descriptor.id());
        }
    }

    #[test]
    fn foreign_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..1000)) {
        foreign::<Descriptor>(&bytes);
    }

    #[test]
    fn damaged_bytes_are_read_without_harm(
        descriptor in any_descriptor(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = descriptor.to_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        foreign::<Descriptor>(&bytes);
    }
}
