//! Heads, pages and indexes are written as ever (`docs/specs/head.md`).

use bytes::Bytes;
use datamesh_core::catalog::{EncapsulationKey, LogCertificate};
use datamesh_core::certificate::Issuer;
use datamesh_core::epochs::{
    DEVICES_MAX, DeviceWrap, EARLIER_BYTES_MAX, EPOCH_MAX, Epochs, REVOKED_MAX, RevokedLog,
};
use datamesh_core::head::{
    HEAD_PAGES_MAX, HEAD_SEALED_BYTES_MAX, Head, HeadBody, ObjectPlace, Page, PageIndex, PagePlace,
    Seen,
};
use datamesh_core::signature::signed_bytes;
use datamesh_core::wire::{Encode, WireError, decode};
use datamesh_core::{
    AccountId, Context, DeviceId, Hash, LogId, MeshId, PublicKey, SegmentId, Signature,
};
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use crate::operation;
use crate::records::{grant, mesh};
use crate::vectors::{foreign, golden, one_encoding};

const LOG: LogId = LogId([0xd1; 16]);

/// A head whose sealed bytes are none: sealing is crypto's.
pub(crate) fn head() -> Head {
    let key = SigningKey::from_bytes(&[0x21; 32]);
    let account = PublicKey(key.verifying_key().to_bytes());
    let sealed = Bytes::copy_from_slice(&[0x5e; 100]);
    let body = Head::signed_part(&account, &LOG, 7, &sealed);
    let bytes = signed_bytes(Context::Head, &mesh(), &body);
    let signature = Signature(key.sign(&bytes).to_bytes());
    Head { account, log: LOG, revision: 7, expiry: 0, ended: false, sealed, signature }
}

fn place(n: u8) -> ObjectPlace {
    ObjectPlace { segment: SegmentId([n; 32]), length: 1000 + u32::from(n) }
}

/// The operations that there were when these vectors were written.
fn operations() -> Vec<(&'static str, datamesh_core::catalog::Operation)> {
    operation::log()
        .into_iter()
        .filter(|(name, _)| !["purge", "rewrite", "label"].contains(name))
        .filter(|(name, _)| !name.contains("share"))
        .collect()
}

fn body() -> HeadBody {
    let operations = operations();
    let last = operations.last().map(|(_, operation)| operation).unwrap();
    HeadBody {
        certificate: LogCertificate {
            account: AccountId([0xa1; 32]),
            device: DeviceId([0xa2; 16]),
            log_key: PublicKey([0xa3; 32]),
            encapsulation: EncapsulationKey(Box::new([0xa5; 1216])),
            issued: 1_700_000_000_000,
            signature: Signature([0xa4; 64]),
        },
        grant: Some(grant(Issuer::Authority, 0)),
        closed: false,
        sequence: last.sequence,
        hash: last.hash(),
        index: Some(place(1)),
        pages: vec![PagePlace { place: place(2), first: 1, last: 2 }],
        operations: operations.into_iter().skip(2).map(|(_, operation)| operation).collect(),
        seen: vec![Seen { log: LogId([9; 16]), sequence: 12, hash: Hash([8; 32]) }],
    }
}

#[test]
fn heads_and_their_bodies_are_written_as_ever() {
    golden("head", "head", &head().to_bytes());
    golden("head", "body", &body().to_bytes());
    let first = HeadBody {
        grant: None,
        closed: true,
        sequence: 0,
        hash: Hash([0; 32]),
        index: None,
        pages: Vec::new(),
        operations: Vec::new(),
        seen: Vec::new(),
        ..body()
    };
    golden("head", "body-empty", &first.to_bytes());
    one_encoding(&head());
    one_encoding(&body());
    one_encoding(&first);
}

#[test]
fn pages_and_indexes_are_written_as_ever() {
    let page = Page { operations: operations().into_iter().map(|(_, o)| o).collect() };
    let index = PageIndex {
        pages: (0..3).map(|n| PagePlace { place: place(n), first: 1, last: 9 }).collect(),
    };
    golden("head", "page", &page.to_bytes());
    golden("head", "index", &index.to_bytes());
    one_encoding(&page);
    one_encoding(&index);
}

#[test]
fn a_head_is_signed_by_its_account_in_its_mesh() {
    let head = head();
    assert!(head.verify(&mesh()).is_ok());
    assert!(head.verify(&MeshId([1; 32])).is_err());
    let later = Head { revision: 8, ..head.clone() };
    assert!(later.verify(&mesh()).is_err());
    assert_ne!(later.hash(), head.hash());
    let first = Head { revision: 0, ..head };
    let refused = decode::<Head>(&first.to_bytes());
    assert_eq!(refused, Err(WireError::Invalid { field: "revision" }));
}

#[test]
fn a_body_with_too_many_pages_is_refused() {
    let pages = vec![PagePlace { place: place(2), first: 1, last: 2 }; HEAD_PAGES_MAX + 1];
    let refused = decode::<HeadBody>(&HeadBody { pages, ..body() }.to_bytes());
    assert!(matches!(refused, Err(WireError::Bound { .. })), "{refused:?}");
}

proptest! {
    #[test]
    fn foreign_bytes_are_refused_or_have_one_meaning(
        at in 0usize..2000,
        byte in any::<u8>(),
        noise in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        for mut bytes in [head().to_bytes(), body().to_bytes()] {
            let at = at % bytes.len();
            bytes[at] = byte;
            foreign::<Head>(&bytes);
            foreign::<HeadBody>(&bytes);
        }
        foreign::<Head>(&noise);
        foreign::<Page>(&noise);
        foreign::<PageIndex>(&noise);
    }
}

fn epochs() -> Epochs {
    let wrap = |n: u8| DeviceWrap {
        device: DeviceId([n; 16]),
        wrapped: Box::new([n.wrapping_add(1); 1168]),
    };
    let revoked = |n: u8| RevokedLog {
        device: DeviceId([n; 16]),
        log_key: PublicKey([n.wrapping_add(2); 32]),
        log: LogId([n.wrapping_add(3); 16]),
        sequence: u64::from(n),
        hash: Hash([n.wrapping_add(4); 32]),
        epoch: 2,
    };
    Epochs {
        epoch: 3,
        began: 1_700_000_000_000,
        previous: Hash([0xb0; 32]),
        earlier: Bytes::copy_from_slice(&[0xb1; 12 + 96 + 16]),
        devices: vec![wrap(0xb2), wrap(0xb3)],
        revoked: vec![revoked(0x10), revoked(0x20)],
    }
}

#[test]
fn an_epochs_record_is_written_as_ever() {
    golden("epochs", "body", &epochs().to_bytes());
    let first = Epochs { devices: Vec::new(), revoked: Vec::new(), ..epochs() };
    golden("epochs", "body-empty", &first.to_bytes());
    one_encoding(&epochs());
    one_encoding(&first);
    for wrong in [
        Epochs { epoch: 0, ..epochs() },
        Epochs { epoch: 257, ..epochs() },
        Epochs { devices: epochs().devices.into_iter().rev().collect(), ..epochs() },
        Epochs { revoked: epochs().revoked.into_iter().rev().collect(), ..epochs() },
        Epochs { revoked: vec![epochs().revoked[0]; 2], ..epochs() },
    ] {
        assert!(decode::<Epochs>(&wrong.to_bytes()).is_err());
    }
}

#[test]
fn a_revoked_device_is_bounded_in_every_log() {
    let epochs = epochs();
    let [known, other] = [epochs.revoked[0], epochs.revoked[1]];
    assert_eq!(epochs.bound(&known.log_key, &known.log), Some(0x10));
    assert_eq!(epochs.bound(&known.log_key, &other.log), Some(0x20));
    assert_eq!(epochs.bound(&known.log_key, &LogId([9; 16])), Some(0), "a log begun afterwards");
    assert_eq!(epochs.bound(&PublicKey([9; 32]), &LogId([9; 16])), None);
    assert!(epochs.is_revoked(&known.device) && !epochs.is_revoked(&DeviceId([9; 16])));
}

/// The largest record fits a head.
#[test]
fn the_largest_epochs_record_fits_a_head() {
    let all = epochs();
    let largest = Epochs {
        epoch: EPOCH_MAX,
        earlier: Bytes::from(vec![0; EARLIER_BYTES_MAX]),
        devices: vec![all.devices[0].clone(); DEVICES_MAX],
        revoked: vec![all.revoked[0]; REVOKED_MAX],
        ..all
    };
    let padded = datamesh_core::padding::padme(largest.to_bytes().len() as u64 + 4) as usize;
    // Version, epoch, salt and tag are beside it.
    assert!(padded + 1 + 4 + 32 + 16 <= HEAD_SEALED_BYTES_MAX, "{padded}");
}
