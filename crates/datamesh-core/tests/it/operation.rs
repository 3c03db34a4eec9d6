//! `docs/specs/operation.md` by its golden vectors.

use std::path::PathBuf;

use bytes::Bytes;
use datamesh_core::catalog::{
    Change, Content, Delete, EntryKind, Label, Operation, Pin, Protection, Purge, Put, Rewrite,
    WrappedKey,
};
use datamesh_core::signature::signed_bytes;
use datamesh_core::wire::{self, Encode, WireError};
use datamesh_core::{
    Context, FileId, Hash, LogId, MeshId, PublicKey, Scheme, Signature, VersionId,
};
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

const LOG: LogId = LogId([0xd1; 16]);

fn key() -> SigningKey {
    SigningKey::from_bytes(&[0x11; 32])
}

fn public() -> PublicKey {
    PublicKey(key().verifying_key().to_bytes())
}

fn signed(sequence: u64, previous: Hash, change: Change) -> Operation {
    let clock = 1_700_000_000_000 << 16 | sequence;
    let body = Operation::signed_part(&LOG, sequence, clock, &previous, &change);
    let bytes = signed_bytes(Context::Operation, &MeshId([0; 32]), &body);
    let signature = Signature(key().sign(&bytes).to_bytes());
    Operation { log: LOG, sequence, clock, previous, change, signature }
}

fn put() -> Put {
    Put {
        file: FileId([0xf1; 16]),
        version: VersionId([0xe1; 16]),
        replaces: VersionId([0; 16]),
        path: "notes/été.txt".parse().unwrap(),
        kind: EntryKind::File,
        mode: 0o640,
        modified: 1_699_999_999_999,
        created: 1_700_000_000_000,
        size: 5,
        hash: Hash::of(b"hello"),
        tags: vec!["blue".to_owned(), "red".to_owned()],
        protection: None,
        key: WrappedKey {
            suite: WrappedKey::SYMMETRIC,
            epoch: 3,
            bytes: Bytes::copy_from_slice(&[0xaa; 60]),
        },
        content: Content::Inline(Bytes::copy_from_slice(&[0xbb; 21])),
    }
}

/// One log that uses every form once.
pub(crate) fn log() -> Vec<(&'static str, Operation)> {
    let protection = |degraded| Protection { scheme: Scheme::FOUR_TWO, degraded, margin: 1 };
    let manifest = Content::Manifest(Bytes::copy_from_slice(&[0xcc; 300]));
    let meta = Content::Meta(Bytes::copy_from_slice(&[0xdd; 80]));
    let version = |n| VersionId([n; 16]);
    let changes = [
        ("put-inline", Change::Put(Box::new(put()))),
        (
            "put-manifest",
            Change::Put(Box::new(Put {
                version: version(2),
                size: 10_000_000,
                tags: Vec::new(),
                protection: Some(protection(false)),
                content: manifest,
                ..put()
            })),
        ),
        (
            "put-meta",
            Change::Put(Box::new(Put {
                version: version(3),
                size: 1 << 43,
                protection: Some(protection(true)),
                content: meta,
                ..put()
            })),
        ),
        (
            "put-folder",
            Change::Put(Box::new(Put {
                file: FileId([0xf2; 16]),
                version: version(4),
                path: "empty".parse().unwrap(),
                kind: EntryKind::Folder,
                mode: 0,
                modified: 0,
                size: 0,
                hash: Hash::of(b""),
                tags: Vec::new(),
                content: Content::Inline(Bytes::new()),
                ..put()
            })),
        ),
        (
            "delete",
            Change::Delete(Delete {
                file: FileId([0xf1; 16]),
                version: version(5),
                replaces: VersionId([0xe1; 16]),
                path: "notes/été.txt".parse().unwrap(),
                created: 1_700_000_000_005,
            }),
        ),
        (
            "unknown",
            Change::Unknown { kind: 200, body: Bytes::from_static(b"from a later program") },
        ),
        (
            "purge",
            Change::Purge(Purge {
                versions: vec![version(1), version(5)],
                created: 1_700_000_000_006,
            }),
        ),
        (
            "rewrite",
            Change::Rewrite(Box::new(Rewrite {
                version: version(2),
                created: 1_700_000_000_007,
                protection: Protection { scheme: Scheme::FOUR_TWO, degraded: false, margin: 2 },
                key: put().key,
                content: Content::Manifest(Bytes::copy_from_slice(&[0xce; 300])),
            })),
        ),
        (
            "label",
            Change::Label(Label {
                version: version(1),
                created: 1_700_000_000_008,
                add: vec!["2026".to_owned(), "été".to_owned()],
                remove: vec!["draft".to_owned()],
                note: Some("signed by both".to_owned()),
            }),
        ),
        (
            "pin",
            Change::Pin(Pin {
                file: FileId([0xf1; 16]),
                created: 1_700_000_000_009,
                priority: 8,
                until: 1_800_000_000_000,
            }),
        ),
    ];
    let shares = crate::share::shares();
    let shares = shares.map(|(name, share)| (name, Change::Share(Box::new(share))));
    let changes = changes.into_iter().chain(shares);
    let changes = changes.chain([("unshare", Change::Unshare(crate::share::unshare()))]);
    let mut previous = Hash([0; 32]);
    let mut log = Vec::new();
    for ((name, change), sequence) in changes.zip(1..) {
        let operation = signed(sequence, previous, change);
        previous = operation.hash();
        log.push((name, operation));
    }
    log
}

fn hex(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    lines.join("\n") + "\n"
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter_map(|c| (c as char).to_digit(16).map(|d| d as u8)).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Compares with a file, or writes it where `DATAMESH_BLESS` is set.
fn golden(name: &str, text: &str) {
    let file: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../testdata/operation", name].iter().collect();
    if std::env::var_os("DATAMESH_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "{name}");
}

#[test]
fn bytes_and_hashes_are_those_of_the_vectors() {
    let mut hashes = String::new();
    for (name, operation) in log() {
        golden(&format!("{name}.hex"), &hex(&operation.to_bytes()));
        hashes += &format!("{name} {}\n", operation.hash());
    }
    golden("hashes.txt", &hashes);
}

#[test]
fn the_vectors_read_back_and_form_a_log() {
    let mut previous = Hash([0; 32]);
    for ((name, operation), sequence) in log().into_iter().zip(1..) {
        let bytes = unhex(&hex(&operation.to_bytes()));
        let read: Operation = wire::decode(&bytes).unwrap();
        assert_eq!(read, operation, "{name}");
        assert_eq!((read.sequence, read.previous), (sequence, previous), "{name}");
        read.verify(&public()).unwrap();
        previous = read.hash();
    }
}

/// The table of the specification, by hand: where each field of a delete lies.
#[test]
fn a_delete_lies_as_the_specification_says() {
    let (_, operation) = log().remove(4);
    let bytes = operation.to_bytes();
    assert_eq!(bytes[0], 1);
    assert_eq!(bytes[1..17], LOG.0);
    assert_eq!(bytes[17..25], 5u64.to_le_bytes());
    assert_eq!(bytes[25..33], operation.clock.to_le_bytes());
    assert_eq!(bytes[33..65], operation.previous.0);
    assert_eq!(bytes[65], 2);
    let path = "notes/été.txt".as_bytes();
    assert_eq!(bytes[66..70], (16 + 16 + 16 + 4 + path.len() as u32 + 8).to_le_bytes());
    assert_eq!(bytes[70..86], [0xf1; 16]);
    assert_eq!(bytes[86..102], [5; 16]);
    assert_eq!(bytes[102..118], [0xe1; 16]);
    assert_eq!(bytes[118..122], (path.len() as u32).to_le_bytes());
    assert_eq!(&bytes[122..122 + path.len()], path);
    assert_eq!(bytes[122 + path.len()..130 + path.len()], 1_700_000_000_005u64.to_le_bytes());
    assert_eq!(bytes[130 + path.len()..], operation.signature.0);
}

#[test]
fn each_changed_bit_is_noticed() {
    for (name, operation) in log() {
        let bytes = operation.to_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            if let Ok(read) = wire::decode::<Operation>(&changed) {
                assert!(read.verify(&public()).is_err(), "{name} at {at}");
                assert_ne!(read.hash(), operation.hash(), "{name} at {at}");
                assert_eq!(read.to_bytes(), changed, "{name} at {at}");
            }
        }
        for length in 0..bytes.len() {
            assert!(wire::decode::<Operation>(&bytes[..length]).is_err(), "{name} cut at {length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(wire::decode::<Operation>(&longer), Err(WireError::Trailing(1)));
    }
}

#[test]
fn lengths_above_their_bounds_are_refused() {
    let refused =
        |change: Change| wire::decode::<Operation>(&signed(1, Hash([0; 32]), change).to_bytes());
    let body = Bytes::from(vec![0; 64 * 1024 + 1]);
    assert!(matches!(refused(Change::Unknown { kind: 9, body }), Err(WireError::Bound { .. })));
    let put_with = |edit: &dyn Fn(&mut Put)| {
        let mut put = put();
        edit(&mut put);
        refused(Change::Put(Box::new(put)))
    };
    let bound = |result| matches!(result, Err(WireError::Bound { .. }));
    assert!(bound(put_with(&|put| put.tags = vec!["x".to_owned(); 65])));
    assert!(bound(put_with(&|put| put.tags = vec!["x".repeat(129)])));
    assert!(bound(put_with(&|put| put.key.bytes = Bytes::from(vec![0; 2049]))));
    assert!(bound(put_with(&|put| put.content = Content::Inline(Bytes::from(vec![0; 16_449])))));
    let longest =
        |put: &mut Put| put.tags = (0..64).map(|n| format!("{n:02}{}", "x".repeat(126))).collect();
    assert!(put_with(&longest).is_ok());
    assert!(put_with(&|put| put.content = Content::Meta(Bytes::from(vec![0; 16_448]))).is_ok());
}

#[test]
fn tags_have_one_order() {
    for (tags, valid) in [
        (&["a", "b"][..], true),
        (&["b", "a"], false),
        (&["a", "a"], false),
        (&["", "a"], false),
        (&[""], false),
        (&[], true),
    ] {
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        let change = Change::Put(Box::new(Put { tags, ..put() }));
        let read = wire::decode::<Operation>(&signed(1, Hash([0; 32]), change.clone()).to_bytes());
        match read {
            Ok(read) => assert!(valid && read.change == change),
            Err(error) => assert!(!valid && error == WireError::Invalid { field: "tags" }),
        }
    }
}

#[test]
fn pins_have_their_bounds_too() {
    let read = |priority, until| {
        let change = Change::Pin(Pin { file: FileId([1; 16]), created: 5, priority, until });
        wire::decode::<Operation>(&signed(1, Hash([0; 32]), change).to_bytes()).map(drop)
    };
    assert!(read(10, 0).is_ok() && read(1, 9).is_ok() && read(0, 0).is_ok());
    for (priority, until) in [(11, 0), (255, 9), (0, 9)] {
        assert_eq!(read(priority, until), Err(WireError::Invalid { field: "pin" }));
    }
}

#[test]
fn labels_have_their_bounds_too() {
    let read = |edit: &dyn Fn(&mut Label)| {
        let (version, created) = (VersionId([1; 16]), 5);
        let (add, remove) = (Vec::new(), Vec::new());
        let mut label = Label { version, created, add, remove, note: None };
        edit(&mut label);
        let change = Change::Label(label);
        wire::decode::<Operation>(&signed(1, Hash([0; 32]), change).to_bytes()).map(drop)
    };
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    assert!(read(&|_| {}).is_ok());
    assert!(read(&|label| label.note = Some("é".repeat(2048))).is_ok());
    let longer = read(&|label| label.note = Some("x".repeat(4097)));
    assert!(matches!(longer, Err(WireError::Bound { .. })));
    let many = read(&|label| label.remove = (0..65).map(|n| format!("{n:02}")).collect());
    assert!(matches!(many, Err(WireError::Bound { .. })));
    let disorder = read(&|label| label.add = words(&["b", "a"]));
    assert_eq!(disorder, Err(WireError::Invalid { field: "tags" }));
    let empty = read(&|label| label.remove = words(&[""]));
    assert_eq!(empty, Err(WireError::Invalid { field: "tags" }));
}

proptest! {
    #[test]
    fn no_bytes_upset_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(read) = wire::decode::<Operation>(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
    }

    #[test]
    fn no_body_upsets_the_reader(kind in 0u8..10, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let operation = signed(1, Hash([0; 32]), Change::Unknown { kind, body: body.into() });
        if let Ok(read) = wire::decode::<Operation>(&operation.to_bytes()) {
            prop_assert_eq!(read.to_bytes(), operation.to_bytes());
        }
    }
}
