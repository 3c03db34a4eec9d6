//! What was sealed once must open for ever: vectors of `docs/specs/segment.md`, `manifest.md`,
//! `keystore.md` and `sealed-archive.md`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use datamesh_core::epochs::{EPOCHS_LOG, Epochs, RevokedLog};
use datamesh_core::head::{Head, HeadBody, Page};
use datamesh_core::wire::{self, Encode};
use datamesh_core::{
    ContentTag, DeviceId, Entropy, Hash, LogId, MeshId, SegmentId, Signer, VersionId,
};
use datamesh_crypto::compress::{Effort, Zstd};
use datamesh_crypto::frame::{Opener, Sealer, TAG_BYTES, frame_count, sealed_length};
use datamesh_crypto::manifest::Compression;
use datamesh_crypto::{
    DeviceKeys, Manifest, NextEpoch, NextRecord, Secret, Slice, Standing, VersionKey, Words, age,
    keystore,
};

use crate::keys::KNOWN;
use crate::vectors::golden;

/// Drawn bytes are 0, 1, 2 and so on, counted over all draws.
struct Sequence(Mutex<u8>);

impl Sequence {
    fn from(first: u8) -> Self {
        Self(Mutex::new(first))
    }
}

impl Entropy for Sequence {
    fn fill(&self, bytes: &mut [u8]) {
        let mut next = self.0.lock().unwrap();
        for byte in bytes {
            *byte = *next;
            *next = next.wrapping_add(1);
        }
    }
}

/// Where a vector is.
fn path(format: &str, name: &str) -> PathBuf {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    testdata.join(format).join(format!("{name}.hex"))
}

/// The bytes of a vector.
fn vector(format: &str, name: &str) -> Vec<u8> {
    let digits: Vec<u32> = std::fs::read_to_string(path(format, name))
        .unwrap()
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| c.to_digit(16).unwrap())
        .collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// The device of all vectors: its account has the words of 32 times 0x7F.
fn device() -> DeviceKeys {
    DeviceKeys::set_up(&Words::parse(KNOWN).unwrap(), &Sequence::from(0), 1_700_000_000_000)
}

#[test]
fn a_slice_of_three_frames_is_sealed_as_ever() {
    const FRAME: usize = 1024;
    let plain: Vec<u8> = (0..2 * (FRAME - TAG_BYTES) + 500).map(|i| (i % 251) as u8).collect();
    let (mut sealer, key) = Sealer::draw(&Sequence::from(0));
    assert_eq!(key[..3], [0, 1, 2]);
    assert_eq!(frame_count(plain.len(), FRAME), 3);
    let mut sealed = Vec::new();
    for (number, piece) in plain.chunks(FRAME - TAG_BYTES).enumerate() {
        let start = sealed.len();
        sealed.resize(start + piece.len() + TAG_BYTES, 0);
        sealer.seal(number == 2, piece, &mut sealed[start..]).unwrap();
    }
    assert_eq!(sealed.len(), sealed_length(plain.len(), FRAME));
    golden("segment", "slice.key", &*key);
    golden("segment", "slice.sealed", &sealed);

    let key = Secret::new(vector("segment", "slice.key").try_into().unwrap());
    let opener = Opener::new(&key);
    let mut opened = Vec::new();
    for (number, frame) in vector("segment", "slice.sealed").chunks(FRAME).enumerate() {
        let mut out = vec![0; frame.len() - TAG_BYTES];
        opener.open(number as u32, number == 2, frame, &mut out).unwrap();
        opened.extend_from_slice(&out);
    }
    assert_eq!(opened, plain);
}

/// The file is written where there is none and never again: another release of the library may compress
/// otherwise, and must read this all the same.
#[test]
fn what_was_compressed_once_decompresses_for_ever() {
    let content = b"a line that comes again\n".repeat(200);
    let zstd = Zstd::default();
    let bless = std::env::var("DATAMESH_BLESS").is_ok_and(|value| value == "1");
    if bless && !path("segment", "slice.compressed").exists() {
        let mut opened = zstd.shrunk(&content, Effort::Put).unwrap();
        opened.resize(opened.len() + 40, 0);
        golden("segment", "slice.compressed", &opened);
    }
    let mut plain = vec![0; content.len()];
    zstd.expand(&vector("segment", "slice.compressed"), &mut plain).unwrap();
    assert_eq!(plain, content);
}

fn manifest() -> Manifest {
    let slices = vec![
        // A full slice with a segment of its own.
        Slice {
            segment: SegmentId([0xA0; 32]),
            offset: 0,
            length: 4_194_304,
            plain_length: 4_193_280,
            frame: 65_536,
            compression: Compression::None,
            key: Secret::new([0xB0; 32]),
            tag: ContentTag([0; 16]),
            epoch: 0,
        },
        // One that ends with padding, in small frames.
        Slice {
            segment: SegmentId([0xA1; 32]),
            offset: 0,
            length: 5 * 1024,
            plain_length: 5000,
            frame: 1024,
            compression: Compression::None,
            key: Secret::new([0xB1; 32]),
            tag: ContentTag([0xF1; 16]),
            epoch: 1,
        },
        // One inside a packed segment, compressed.
        Slice {
            segment: SegmentId([0xA2; 32]),
            offset: 70_000,
            length: 1000,
            plain_length: 3000,
            frame: 65_536,
            compression: Compression::Zstd,
            key: Secret::new([0xB2; 32]),
            tag: ContentTag([0xF2; 16]),
            epoch: 2,
        },
    ];
    Manifest { size: 4_193_280 + 5000 + 3000, hash: Hash([0xC0; 32]), known: 3000, slices }
}

#[test]
fn manifests_are_written_as_ever() {
    golden("manifest", "manifest", &manifest().to_bytes());
    let read: Manifest = wire::decode(&vector("manifest", "manifest")).unwrap();
    assert_eq!(read, manifest());
}

#[test]
fn content_and_its_key_are_sealed_as_ever_and_open() {
    let (keys, version) = (device(), VersionId([0xD0; 16]));
    let key = VersionKey::draw(&Sequence::from(0x40));
    let wrapped = keys.wrap(&Sequence::from(0x60), &version, &key).unwrap();
    let inline = key.seal(&Sequence::from(0x70), &version, 1, b"a small file\n").unwrap();
    let bytes = manifest().to_bytes();
    let sealed = key.seal(&Sequence::from(0x80), &version, 2, &bytes).unwrap();
    golden("manifest", "wrapped-key", &wrapped.to_bytes());
    golden("manifest", "content-inline", &inline);
    golden("manifest", "content-manifest", &sealed);

    let wrapped = wire::decode(&vector("manifest", "wrapped-key")).unwrap();
    let key = keys.unwrap_key(&version, &wrapped).unwrap();
    let opened = |tag, name| key.open(&version, tag, &vector("manifest", name)).unwrap();
    assert_eq!(opened(1, "content-inline").as_slice(), b"a small file\n");
    assert_eq!(opened(2, "content-manifest").as_slice(), bytes);
}

#[test]
fn heads_and_pages_are_sealed_as_ever_and_open() {
    let (keys, mesh, log) = (device(), MeshId([0xE0; 32]), LogId([0xE1; 16]));
    let body = HeadBody {
        certificate: keys.log_certificate().clone(),
        grant: None,
        closed: false,
        sequence: 5,
        hash: Hash([5; 32]),
        index: None,
        pages: Vec::new(),
        operations: Vec::new(),
        seen: Vec::new(),
    };
    let page = Page { operations: Vec::new() };
    let head = keys.seal_head(&Sequence::from(0xB0), &mesh, (log, 3), &body).unwrap();
    let sealed_page = keys.seal_page(&Sequence::from(0xC0), &log, &page).unwrap();
    golden("head", "sealed-head", &head.to_bytes());
    golden("head", "sealed-page", &sealed_page);

    let read: Head = wire::decode(&vector("head", "sealed-head")).unwrap();
    assert_eq!(read.account, keys.pseudonym(&mesh).unwrap());
    assert!(read.verify(&mesh).is_ok());
    assert_eq!(keys.open_head(&read).unwrap(), body);
    let sealed_page = vector("head", "sealed-page");
    assert_eq!(keys.open_page(&log, 0, &sealed_page).unwrap(), page);
    // Elsewhere, or as something else, it does not open.
    assert!(keys.open_page(&log, 1, &sealed_page).is_err());
    assert!(keys.open_page(&LogId([0xE2; 16]), 0, &sealed_page).is_err());
    assert!(keys.open_index(&log, 0, &sealed_page).is_err());
    assert!(keys.open_head(&Head { revision: 4, ..read }).is_err());
    for end in [0, 1, 37, sealed_page.len() - 1] {
        assert!(keys.open_page(&log, 0, &sealed_page[..end]).is_err());
    }
    assert_ne!(keys.pseudonym(&mesh).unwrap(), keys.pseudonym(&MeshId([0xE3; 32])).unwrap());
}

#[test]
fn an_epochs_record_is_made_as_ever_and_opens_for_its_devices() {
    let words = Words::parse(KNOWN).unwrap();
    let mesh = MeshId([0xE0; 32]);
    let other = DeviceKeys::set_up(&words, &Sequence::from(0x21), 1_700_000_000_001);
    let lost = DeviceKeys::set_up(&words, &Sequence::from(0x42), 1_700_000_000_002);
    let keys = device();
    let revoked = RevokedLog {
        device: lost.device(),
        log_key: lost.log_certificate().log_key,
        log: LogId([0xE4; 16]),
        sequence: 9,
        hash: Hash([0xE5; 32]),
        epoch: 2,
    };
    let devices = [other.log_certificate().clone(), keys.log_certificate().clone()];
    let record = NextRecord {
        began: 1_700_000_000_003,
        previous: Hash([0xE6; 32]),
        devices: &devices,
        revoked: vec![revoked],
    };
    let next = NextEpoch::new(&words, &mesh, 2);
    let record = next.record(&Sequence::from(0x11), record).unwrap();
    golden("epochs", "record", &record.to_bytes());

    let read: Head = wire::decode(&vector("epochs", "record")).unwrap();
    assert!(read.verify(&mesh).is_ok());
    assert_eq!(
        (read.account, read.log, read.revision),
        (keys.epochs_slot(&mesh).unwrap(), EPOCHS_LOG, 2)
    );
    for (keys, standing) in
        [(&keys, Standing::Member), (&other, Standing::Member), (&lost, Standing::Revoked)]
    {
        let body = keys.open_epochs(&read).unwrap();
        assert_eq!(
            (body.epoch, body.devices.len(), body.revoked.as_slice()),
            (2, 2, &[revoked][..])
        );
        let before = keys.pseudonym(&mesh).unwrap();
        assert_eq!(keys.take_epochs(&body).unwrap(), standing);
        let member = standing == Standing::Member;
        assert_eq!(keys.epochs(), if member { vec![0, 1, 2] } else { vec![0] });
        let now = keys.pseudonym(&mesh).unwrap();
        assert_eq!(now == next.pseudonym(), member);
        assert_eq!(now != before, member);
    }
    // Who has the words needs no wrap, and one who was not thought of gets none.
    let late = DeviceKeys::set_up(&words, &Sequence::from(0x63), 1_700_000_000_004);
    let body = late.open_epochs(&read).unwrap();
    assert_eq!(late.take_epochs(&body).unwrap(), Standing::Unknown);
    late.derive_epochs(&words, 2);
    assert_eq!(late.take_epochs(&body).unwrap(), Standing::Member);
    assert_eq!(late.pseudonym(&mesh).unwrap(), next.pseudonym());
    // A wrap for another device, or of another epoch, is none.
    let keys = device();
    let mut swapped = body.clone();
    let (a, b) = (swapped.devices[0].wrapped.clone(), swapped.devices[1].wrapped.clone());
    (swapped.devices[0].wrapped, swapped.devices[1].wrapped) = (b, a);
    assert!(keys.take_epochs(&swapped).is_err());
    assert!(keys.take_epochs(&Epochs { epoch: 1, ..body }).is_err());
    assert_eq!(keys.epochs(), [0]);
}

#[test]
fn the_slot_of_the_record_is_the_words_alone_and_of_one_mesh() {
    let (keys, mesh, another) = (device(), MeshId([0xE0; 32]), MeshId([0xE3; 32]));
    let slot = keys.epochs_slot(&mesh).unwrap();
    golden("epochs", "slot", &slot.0);
    assert_ne!(slot, keys.epochs_slot(&another).unwrap());
    assert_ne!(slot, keys.pseudonym(&mesh).unwrap());
    assert_ne!(slot.0, keys.account().0);
    let words = Words::parse(KNOWN).unwrap();
    let record = |mesh: &MeshId, began| {
        let none = NextRecord { began, previous: Hash([0; 32]), devices: &[], revoked: Vec::new() };
        NextEpoch::new(&words, mesh, 1).record(&Sequence::from(1), none).unwrap()
    };
    let made = record(&mesh, 1);
    assert_eq!(made.account, slot);
    assert!(made.verify(&mesh).is_ok() && made.verify(&another).is_err());
    // Two records do not share a nonce: the first half of a signature is its commitment.
    assert_ne!(made.signature.0[..32], record(&mesh, 2).signature.0[..32]);
    let elsewhere = record(&another, 1);
    assert!(elsewhere.verify(&another).is_ok());
    assert_ne!(made.signature.0[..32], elsewhere.signature.0[..32]);
}

/// The file is written where there is none and never again: later programs may seal with higher
/// costs, and must open this one all the same.
#[test]
fn the_first_keystore_opens_for_ever() {
    const PASSWORD: &str = "correct horse battery staple";
    let (keys, version) = (device(), VersionId([0xD0; 16]));
    let bless = std::env::var("DATAMESH_BLESS").is_ok_and(|value| value == "1");
    if bless && !path("keystore", "keystore").exists() {
        let file = keystore::seal(&keys, PASSWORD, &Sequence::from(0xA0)).unwrap();
        golden("keystore", "keystore", &file);
        let note = keys.seal_note(&Sequence::from(0x90), b"a note").unwrap();
        golden("keystore", "note", &note);
    }
    let opened = keystore::open(&vector("keystore", "keystore"), PASSWORD).unwrap();
    assert_eq!(opened.account(), keys.account());
    assert_eq!(opened.device(), DeviceId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]));
    assert_eq!(opened.log_certificate(), keys.log_certificate());
    assert_eq!(opened.grant().public_key(), keys.grant().public_key());
    assert_eq!(opened.authority().public_key(), keys.authority().public_key());
    let roots = [Hash([1; 32]), Hash([2; 32])];
    assert_eq!(opened.lease_key(&roots).unwrap(), keys.lease_key(&roots).unwrap());
    let tag = keys.content_tag(&Hash([3; 32]), 5000);
    golden("keystore", "content-tag", &tag.0);
    assert_eq!(opened.content_tag(&Hash([3; 32]), 5000), tag);
    assert_ne!(opened.content_tag(&Hash([3; 32]), 5001), tag);
    assert_ne!(opened.content_tag(&Hash([4; 32]), 5000), tag);
    // The log key and the catalog key are there too: a note and a version key open.
    assert_eq!(opened.open_note(&vector("keystore", "note")).unwrap().as_slice(), b"a note");
    let key = VersionKey::draw(&Sequence::from(0x40));
    let wrapped = keys.wrap(&Sequence::from(0x60), &version, &key).unwrap();
    let inline = key.seal(&Sequence::from(0x70), &version, 1, b"a small file\n").unwrap();
    let key = opened.unwrap_key(&version, &wrapped).unwrap();
    assert_eq!(key.open(&version, 1, &inline).unwrap().as_slice(), b"a small file\n");
}

/// The same words as `age -p` would have written, had it drawn these bytes.
#[test]
fn a_stream_under_a_password_is_what_it_was() {
    let (mut stream, key) = age::begin("correct horse battery", 10, &Sequence::from(0)).unwrap();
    let begins = stream.len();
    let mut chunk = b"an archive\n".to_vec();
    key.seal(0, true, &mut chunk).unwrap();
    stream.extend_from_slice(&chunk);
    golden("age", "stream", &stream);
    let (at, key) = age::open(&vector("age", "stream"), "correct horse battery").unwrap();
    assert_eq!(at, begins);
    key.open(0, true, &mut chunk).unwrap();
    assert_eq!(chunk, b"an archive\n");
}
