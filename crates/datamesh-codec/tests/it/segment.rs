//! Segments survive the loss of any m shards, and nothing unverified is ever released.

use bytes::Bytes;
use datamesh_codec::{CodecError, Layout, Pool, check_shard, encode, rebuild};
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::{Descriptor, PublicKey, Scheme};
use proptest::prelude::*;

use crate::code::noise;

fn segment(scheme: Scheme, ciphertext: &[u8]) -> (Descriptor, Vec<Bytes>) {
    let layout = Layout::suited(scheme, ciphertext.len());
    let mut buffer = Pool::new(1).take(layout.buffer_length());
    buffer.fill(0xEE);
    layout.scatter(ciphertext, &mut buffer);
    let roots = encode(&layout, &mut buffer).unwrap();
    let descriptor = Descriptor {
        suite: SUITE_AES256GCM_BLAKE3_RS,
        scheme,
        cell: layout.cell as u32,
        length: ciphertext.len() as u32,
        roots,
        lease_key: PublicKey([0; 32]),
    };
    let whole = buffer.into_bytes();
    let shards = (0..scheme.n())
        .map(|i| whole.slice(i * layout.shard_length()..(i + 1) * layout.shard_length()))
        .collect();
    (descriptor, shards)
}

fn scheme() -> impl Strategy<Value = Scheme> {
    prop_oneof![
        Just(Scheme::FOUR_TWO),
        Just(Scheme::EIGHT_FOUR),
        Just(Scheme::SIXTEEN_EIGHT),
        Just(Scheme::ONE_FIVE),
        Just(Scheme::ONE_EIGHT),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_m_shards_may_be_lost(
        scheme in scheme(), length in 1usize..300_000, seed in any::<u64>(),
        order in proptest::collection::vec(any::<u32>(), 24),
    ) {
        let ciphertext = noise(seed, length);
        let (descriptor, shards) = segment(scheme, &ciphertext);
        let mut numbers: Vec<usize> = (0..scheme.n()).collect();
        numbers.sort_by_key(|&i| order[i]);
        let lost = &numbers[..scheme.m()];
        let kept: Vec<Option<Bytes>> = shards
            .iter().enumerate().map(|(i, s)| (!lost.contains(&i)).then(|| s.clone())).collect();
        let rebuilt = rebuild(&descriptor, &kept, lost, &Pool::new(1)).unwrap();
        for (&i, cells) in lost.iter().zip(&rebuilt) {
            prop_assert_eq!(cells, &shards[i]);
        }
        let mut again = Vec::new();
        Layout::of(&descriptor).gather(0..length, |i| &shards[i], &mut again);
        prop_assert_eq!(again, ciphertext);
    }
}

#[test]
fn a_range_gathers_the_same_bytes_as_the_whole() {
    let ciphertext = noise(5, 100_000);
    let (descriptor, shards) = segment(Scheme::FOUR_TWO, &ciphertext);
    for range in [0..1, 0..100_000, 16_383..16_385, 50_000..99_999, 7..7] {
        let mut out = Vec::new();
        Layout::of(&descriptor).gather(range.clone(), |i| &shards[i], &mut out);
        assert_eq!(out, ciphertext[range]);
    }
}

#[test]
fn a_damaged_source_never_becomes_a_rebuilt_shard() {
    let (descriptor, shards) = segment(Scheme::FOUR_TWO, &noise(1, 70_000));
    let mut kept: Vec<Option<Bytes>> = shards.iter().cloned().map(Some).collect();
    kept[0] = None;
    let mut bad = shards[1].to_vec();
    bad[100] ^= 1;
    assert!(check_shard(&descriptor, 1, &bad).is_err());
    kept[1] = Some(bad.into());
    let error = rebuild(&descriptor, &kept, &[0], &Pool::new(1)).unwrap_err();
    assert_eq!(error, CodecError::Root { segment: descriptor.id(), shard: 0 });
}

#[test]
fn fewer_than_k_shards_are_an_error() {
    let (descriptor, shards) = segment(Scheme::FOUR_TWO, &noise(1, 5000));
    let mut kept: Vec<Option<Bytes>> = vec![None; 6];
    kept[..3].clone_from_slice(&shards[..3].iter().cloned().map(Some).collect::<Vec<_>>());
    let error = rebuild(&descriptor, &kept, &[3], &Pool::new(1)).unwrap_err();
    assert!(matches!(error, CodecError::TooFew { present: 3, needed: 4, .. }));
}
