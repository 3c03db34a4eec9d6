//! The generator matrix is part of the format: two independent libraries must agree on every byte.

use datamesh_codec::code::erasure_code;
use datamesh_core::Scheme;
use reed_solomon_erasure::galois_8::ReedSolomon;

fn schemes() -> Vec<Scheme> {
    let mut schemes = vec![Scheme::FOUR_TWO, Scheme::EIGHT_FOUR, Scheme::SIXTEEN_EIGHT];
    schemes.extend((1..=16).map(|m| Scheme::new(1, m).unwrap()));
    schemes
}

/// Bytes without a pattern, the same on every machine.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn two_libraries_make_the_same_parity_for_every_scheme() {
    for scheme in schemes() {
        for length in [1, 63, 1024, 4096 + 17] {
            let data: Vec<Vec<u8>> = (0..scheme.k()).map(|i| noise(i as u64 + 1, length)).collect();
            let mut ours = vec![vec![0; length]; scheme.m()];
            let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            let mut out: Vec<&mut [u8]> = ours.iter_mut().map(Vec::as_mut_slice).collect();
            erasure_code(scheme).unwrap().encode(&slices, &mut out).unwrap();

            let mut theirs = data.clone();
            theirs.resize(scheme.n(), vec![0; length]);
            ReedSolomon::new(scheme.k(), scheme.m()).unwrap().encode(&mut theirs).unwrap();
            assert_eq!(ours, theirs[scheme.k()..], "{scheme} {length}");
        }
    }
}

#[test]
fn the_other_library_decodes_what_ours_encoded() {
    for scheme in schemes() {
        let length = 2048;
        let data: Vec<Vec<u8>> = (0..scheme.k()).map(|i| noise(i as u64, length)).collect();
        let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let mut parity = vec![vec![0; length]; scheme.m()];
        let mut out: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
        erasure_code(scheme).unwrap().encode(&slices, &mut out).unwrap();
        let all: Vec<Vec<u8>> = data.iter().chain(&parity).cloned().collect();
        let mut shards: Vec<Option<Vec<u8>>> = all.iter().cloned().map(Some).collect();
        for lost in shards.iter_mut().take(scheme.m()) {
            *lost = None;
        }
        ReedSolomon::new(scheme.k(), scheme.m()).unwrap().reconstruct(&mut shards).unwrap();
        assert!(shards.iter().zip(&all).all(|(got, want)| got.as_ref() == Some(want)), "{scheme}");
    }
}

#[test]
fn every_loss_of_two_in_four_plus_two_is_rebuilt() {
    let scheme = Scheme::FOUR_TWO;
    let length = 1500;
    let data: Vec<Vec<u8>> = (0..4).map(|i| noise(i, length)).collect();
    let slices: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let mut parity = vec![vec![0; length]; 2];
    let mut out: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
    let code = erasure_code(scheme).unwrap();
    code.encode(&slices, &mut out).unwrap();
    let all: Vec<&[u8]> = data.iter().chain(&parity).map(Vec::as_slice).collect();
    for a in 0..6 {
        for b in a + 1..6 {
            let shards: Vec<_> =
                all.iter().enumerate().map(|(i, s)| (i != a && i != b).then_some(*s)).collect();
            let mut rebuilt = vec![vec![0; length]; 2];
            let mut out: Vec<&mut [u8]> = rebuilt.iter_mut().map(Vec::as_mut_slice).collect();
            code.rebuild(&shards, &[a, b], &mut out).unwrap();
            assert_eq!((rebuilt[0].as_slice(), rebuilt[1].as_slice()), (all[a], all[b]));
        }
    }
}
