//! Shares, contacts, and heads that expire or have ended are written as ever (`docs/specs/share.md`,
//! `docs/specs/head.md`).

use bytes::Bytes;
use datamesh_core::catalog::{EncapsulationKey, WrappedKey};
use datamesh_core::head::{HEAD_SEALED_BYTES_MAX, Head};
use datamesh_core::share::{
    Contact, SHARE_BODY_BYTES_MAX, SealedShare, Share, ShareLock, ShareWith, Stretch, Unshare,
};
use datamesh_core::signature::signed_bytes;
use datamesh_core::wire::{Encode, WireError, decode};
use datamesh_core::{Context, FileId, PublicKey, Signature};
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use crate::head;
use crate::records::mesh;
use crate::vectors::{foreign, golden, one_encoding};

const STRETCH: Stretch = Stretch { memory_kib: 65_536, passes: 3, lanes: 1, salt: [0x5a; 16] };

fn signed(head: Head) -> Head {
    let key = SigningKey::from_bytes(&[0x21; 32]);
    let bytes = signed_bytes(Context::Head, &mesh(), &head.signed());
    Head { signature: Signature(key.sign(&bytes).to_bytes()), ..head }
}

fn expiring() -> Head {
    signed(Head { expiry: 1_700_000_000_000, ..head::head() })
}

fn ended() -> Head {
    signed(Head { revision: 8, ended: true, sealed: Bytes::new(), ..head::head() })
}

fn sealed(lock: ShareLock) -> SealedShare {
    let sealed = Bytes::copy_from_slice(&[0x5e; 80]);
    SealedShare { mark: [0x3a; 16], lock, salt: [0x3b; 32], sealed }
}

fn locks() -> [(&'static str, ShareLock); 3] {
    [
        ("sealed-link", ShareLock::Link),
        ("sealed-password", ShareLock::Password(STRETCH)),
        ("sealed-person", ShareLock::Person(Box::new([0x77; 1168]))),
    ]
}

fn contact() -> Contact {
    Contact { key: EncapsulationKey(Box::new([0xa5; 1216])) }
}

/// What the catalog keeps of shares, with each lock.
pub(crate) fn shares() -> [(&'static str, Share); 3] {
    let share = |with| Share {
        share: PublicKey([0x31; 32]),
        file: FileId([0xf1; 16]),
        created: 1_700_000_000_009,
        expiry: 1_800_000_000_000,
        with,
        secrets: WrappedKey {
            suite: WrappedKey::SYMMETRIC,
            epoch: 3,
            bytes: Bytes::copy_from_slice(&[0xab; 126]),
        },
    };
    let person = ShareWith::Person { contact: PublicKey([0x41; 32]), key: contact().key };
    [
        ("share-link", share(ShareWith::Link(None))),
        ("share-password", share(ShareWith::Link(Some(STRETCH)))),
        ("share-person", share(person)),
    ]
}

pub(crate) fn unshare() -> Unshare {
    Unshare { share: PublicKey([0x31; 32]), created: 1_700_000_000_010 }
}

#[test]
fn heads_that_expire_or_have_ended_are_written_as_ever() {
    golden("head", "expiring", &expiring().to_bytes());
    golden("head", "ended", &ended().to_bytes());
    for head in [expiring(), ended()] {
        one_encoding(&head);
        assert!(head.verify(&mesh()).is_ok());
        // Neither can be taken away or put there without the key.
        let other = Head { expiry: head.expiry + 1, ..head.clone() };
        assert!(other.verify(&mesh()).is_err());
        let lasting = Head { expiry: 0, ended: false, ..head.clone() };
        assert!(lasting.verify(&mesh()).is_err());
    }
    assert!(
        !expiring().has_expired(1_699_999_999_999) && expiring().has_expired(1_700_000_000_000)
    );
    assert!(!head::head().has_expired(u64::MAX));
}

#[test]
fn a_head_has_one_layout() {
    // One that neither expires nor has ended is written in the first version, and in no other.
    assert_eq!(head::head().to_bytes()[0], 1);
    let mut bytes = expiring().to_bytes();
    assert_eq!(bytes[0], 2);
    bytes[57..65].fill(0);
    assert_eq!(decode::<Head>(&bytes), Err(WireError::Invalid { field: "expiry" }));
    bytes[65] = 2;
    assert_eq!(decode::<Head>(&bytes), Err(WireError::Invalid { field: "end of a log" }));
    // What has ended holds nothing.
    bytes[65] = 1;
    let full = decode::<Head>(&bytes);
    assert!(matches!(full, Err(WireError::Bound { bound: 0, .. })), "{full:?}");
    let long = Bytes::from(vec![0; HEAD_SEALED_BYTES_MAX + 1]);
    let long = decode::<Head>(&Head { sealed: long, ..expiring() }.to_bytes());
    assert!(matches!(long, Err(WireError::Bound { .. })), "{long:?}");
}

#[test]
fn shares_and_contacts_are_written_as_ever() {
    for (name, lock) in locks() {
        golden("share", name, &sealed(lock.clone()).to_bytes());
        one_encoding(&sealed(lock));
    }
    golden("share", "contact", &contact().to_bytes());
    one_encoding(&contact());
    for (_, share) in shares() {
        one_encoding(&share);
    }
    one_encoding(&unshare());
}

#[test]
fn what_a_link_may_ask_of_a_machine_is_bounded() {
    let read = |stretch| decode::<Stretch>(&Stretch::to_bytes(&stretch));
    let most = Stretch { memory_kib: 256 * 1024, passes: 8, lanes: 4, ..STRETCH };
    assert_eq!(read(most), Ok(most));
    for beyond in [
        Stretch { memory_kib: 256 * 1024 + 1, ..STRETCH },
        Stretch { memory_kib: 7, ..STRETCH },
        Stretch { memory_kib: 31, lanes: 4, ..STRETCH },
        Stretch { passes: 0, ..STRETCH },
        Stretch { passes: 9, ..STRETCH },
        Stretch { lanes: 0, ..STRETCH },
        Stretch { lanes: 5, ..STRETCH },
        Stretch { lanes: u32::MAX, ..STRETCH },
    ] {
        assert_eq!(read(beyond), Err(WireError::Invalid { field: "password costs" }), "{beyond:?}");
    }
    let long = Bytes::from(vec![0; SHARE_BODY_BYTES_MAX + 1]);
    let long = SealedShare { sealed: long, ..sealed(ShareLock::Link) };
    let refused = decode::<SealedShare>(&long.to_bytes());
    assert!(matches!(refused, Err(WireError::Bound { .. })), "{refused:?}");
}

proptest! {
    #[test]
    fn foreign_bytes_are_refused_or_have_one_meaning(
        at in 0usize..2000,
        byte in any::<u8>(),
        noise in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut all: Vec<Vec<u8>> =
            locks().into_iter().map(|(_, lock)| sealed(lock).to_bytes()).collect();
        all.extend(shares().iter().map(|(_, share)| share.to_bytes()));
        all.extend([contact().to_bytes(), expiring().to_bytes(), ended().to_bytes(), noise]);
        for bytes in &mut all {
            if !bytes.is_empty() {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            foreign::<Head>(bytes);
            foreign::<SealedShare>(bytes);
            foreign::<Contact>(bytes);
            foreign::<Share>(bytes);
            foreign::<Unshare>(bytes);
        }
    }
}
