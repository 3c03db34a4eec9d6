//! What is sealed: objects of the catalog, keystores, manifests; and proofs.

use std::sync::LazyLock;

use datamesh_core::wire::{Encode, decode};
use datamesh_core::{Hash, LogId, VersionId};
use datamesh_crypto::compress::{Effort, Zstd};
use datamesh_crypto::{DeviceKeys, Manifest, Words};
use datamesh_testkit::SeededEntropy;

/// Keys of an account that has nothing.
static KEYS: LazyLock<DeviceKeys> = LazyLock::new(|| {
    let entropy = SeededEntropy::new(1);
    DeviceKeys::set_up(&Words::draw(&entropy), &entropy, 1)
});

static ZSTD: LazyLock<Zstd> = LazyLock::new(Zstd::default);

/// Nothing that was not sealed by these keys opens.
pub(crate) fn sealed(bytes: &[u8]) {
    let log = LogId([1; 16]);
    assert!(KEYS.open_page(&log, 1, bytes).is_err(), "a page of foreign bytes");
    assert!(KEYS.open_index(&log, 1, bytes).is_err(), "an index of foreign bytes");
    assert!(KEYS.open_note(bytes).is_err(), "a note of foreign bytes");
    if let Ok(wrapped) = decode::<datamesh_core::catalog::WrappedKey>(bytes) {
        assert!(KEYS.unwrap_key(&VersionId([1; 16]), &wrapped).is_err(), "a key of foreign bytes");
    }
}

/// The part of a keystore that is read before the password is asked for. What its costs would take
/// is not paid here.
pub(crate) fn keystore(bytes: &[u8]) {
    if datamesh_crypto::keystore::check(bytes).is_ok() {
        assert!(bytes.starts_with(b"DMKS"), "a keystore without its mark");
    }
}

/// Content of the golden vector's size.
const CONTENT_BYTES: usize = 4800;

/// Opened bytes of a slice whose manifest says that they are compressed.
pub(crate) fn compressed(bytes: &[u8]) {
    let mut plain = vec![0; CONTENT_BYTES];
    if ZSTD.expand(bytes, &mut plain).is_ok()
        && let Some(again) = ZSTD.shrunk(&plain, Effort::Put)
    {
        let mut back = vec![0; plain.len()];
        assert!(ZSTD.expand(&again, &mut back).is_ok() && back == plain, "other bytes come back");
    }
}

pub(crate) fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = decode::<Manifest>(bytes) {
        assert!(manifest.to_bytes() == bytes, "a manifest with two encodings");
    }
}

/// Proofs of ranges: the first bytes choose the range, the rest is proof and cells.
pub(crate) fn proof(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first_chunk::<6>() else { return };
    let cell = 1024usize << (choice[0] % 7);
    let first = usize::from(choice[1]) % 64;
    let count = usize::from(choice[2]) % 8 + 1;
    let length = cell * (usize::from(choice[3]) % 64 + 1);
    let range = first * cell..(first + count) * cell;
    let hashes = usize::from(choice[4]).min(rest.len() / 32);
    let (proof, cells) = rest.split_at(hashes * 32);
    let proof: Vec<Hash> = proof
        .chunks_exact(32)
        .map(|hash| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(hash);
            Hash(bytes)
        })
        .collect();
    let root = Hash([choice[5]; 32]);
    assert!(
        !datamesh_codec::proof::verify(&root, length, range, cells, &proof),
        "a proof of a root that nobody knows"
    );
}
