//! Version keys and manifests.

use datamesh_core::wire::{self, Encode};
use datamesh_core::{ContentTag, Hash, SegmentId, VersionId};
use datamesh_crypto::content::{SealError, VersionKey};
use datamesh_crypto::manifest::Compression;
use datamesh_crypto::{DeviceKeys, Manifest, Secret, Slice, Words};

use crate::Counter;

fn manifest(slices: u32) -> Manifest {
    let slice = |i: u32| Slice {
        segment: SegmentId([i as u8; 32]),
        offset: i * 64,
        length: 4 * 1024 * 1024,
        plain_length: 1000 + i,
        frame: 65_536,
        compression: Compression::None,
        key: Secret::new([i as u8 + 1; 32]),
        tag: ContentTag([i as u8 + 2; 16]),
        epoch: i,
    };
    let slices: Vec<Slice> = (0..slices).map(slice).collect();
    let size = slices.iter().map(|slice| u64::from(slice.plain_length)).sum();
    Manifest { size, hash: Hash([7; 32]), known: 0, slices }
}

#[test]
fn a_manifest_reads_back_and_every_cut_is_refused() {
    let bytes = manifest(3).to_bytes();
    assert_eq!(wire::decode::<Manifest>(&bytes).unwrap(), manifest(3));
    for cut in 0..bytes.len() {
        assert!(wire::decode::<Manifest>(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut long = bytes;
    long.push(0);
    assert!(wire::decode::<Manifest>(&long).is_err());
}

#[test]
fn a_slice_whose_last_frame_has_no_room_for_its_tag_is_refused() {
    for (length, holds) in [(0, false), (15, false), (16, true), (1024, true), (1039, false)] {
        let mut manifest = manifest(1);
        manifest.size = 0;
        manifest.slices[0].plain_length = 0;
        manifest.slices[0].frame = 1024;
        manifest.slices[0].length = length;
        let read = wire::decode::<Manifest>(&manifest.to_bytes());
        assert_eq!(read.is_ok(), holds, "{length}");
    }
}

#[test]
fn a_compressed_slice_claims_no_more_than_a_segment_has() {
    let largest = 4 * 1024 * 1024;
    for (compression, plain_length, holds) in [
        (Compression::Zstd, largest, true),
        (Compression::Zstd, largest + 1, false),
        (Compression::Zstd, u32::MAX, false),
        (Compression::None, largest - 64 * 16, true),
        (Compression::None, largest - 64 * 16 + 1, false),
    ] {
        let mut manifest = manifest(1);
        manifest.size = u64::from(plain_length);
        manifest.slices[0].plain_length = plain_length;
        manifest.slices[0].compression = compression;
        let read = wire::decode::<Manifest>(&manifest.to_bytes());
        assert_eq!(read.is_ok(), holds, "{compression:?} {plain_length}");
    }
}

#[test]
fn a_manifest_whose_count_lies_reserves_nothing() {
    let mut bytes = manifest(0).to_bytes();
    let count = bytes.len() - 4;
    bytes[count..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(wire::decode::<Manifest>(&bytes).is_err());
}

#[test]
fn content_opens_only_for_its_version_form_and_key() {
    let entropy = Counter::new(3);
    let keys = DeviceKeys::set_up(&Words::draw(&entropy), &entropy, 1);
    let (version, other) = (VersionId([1; 16]), VersionId([2; 16]));
    let key = VersionKey::draw(&entropy);
    let wrapped = keys.wrap(&entropy, &version, &key).unwrap();
    let sealed = key.seal(&entropy, &version, 1, b"hello").unwrap();

    let again = keys.unwrap_key(&version, &wrapped).unwrap();
    assert_eq!(again.open(&version, 1, &sealed).unwrap().as_slice(), b"hello");
    assert!(again.open(&other, 1, &sealed).is_err());
    assert!(again.open(&version, 2, &sealed).is_err());
    assert!(VersionKey::draw(&entropy).open(&version, 1, &sealed).is_err());
    assert!(again.open(&version, 1, &sealed[..20]).is_err());
    assert!(keys.unwrap_key(&other, &wrapped).is_err());

    let mut epoch = wrapped.clone();
    epoch.epoch = 9;
    assert_eq!(
        keys.unwrap_key(&version, &epoch).err(),
        Some(SealError::Wrap { suite: 1, epoch: 9 })
    );
    let stranger = DeviceKeys::set_up(&Words::draw(&entropy), &entropy, 1);
    assert!(stranger.unwrap_key(&version, &wrapped).is_err());
}
