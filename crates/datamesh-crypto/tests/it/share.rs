//! Shares open for whom they are meant and for nobody else, and as what they were made alone.

use std::sync::LazyLock;

use bytes::Bytes;
use datamesh_core::catalog::Content;
use datamesh_core::head::Head;
use datamesh_core::share::{CONTACT_LOG, SHARE_LOG, SealedShare, ShareLock, ShareWith};
use datamesh_core::wire::{self, Encode};
use datamesh_core::{Hash, MeshId, PublicKey, VersionId};
use datamesh_crypto::share::{LinkError, RecipientError, contact_key, open_by_link};
use datamesh_crypto::{
    DeviceKeys, Recipient, Secret, ShareBody, ShareError, ShareKeys, ShareLink, VersionKey, Words,
};
use proptest::prelude::*;

use crate::Counter;
use crate::keys::KNOWN;
use crate::vectors::golden;

const MESH: MeshId = MeshId([0xE0; 32]);
const PASSWORD: &str = "correct horse";

fn account(seed: u64) -> DeviceKeys {
    let entropy = Counter::new(seed);
    DeviceKeys::set_up(&Words::draw(&entropy), &entropy, 1)
}

fn body() -> ShareBody {
    let (entropy, version) = (Counter::new(7), VersionId([0xD0; 16]));
    let key = VersionKey::draw(&entropy);
    let sealed = key.seal(&entropy, &version, 1, b"a small file\n").unwrap();
    ShareBody {
        name: "report.pdf".parse().unwrap(),
        mode: 0o640,
        modified: 1_700_000_000_000,
        size: 13,
        hash: Hash::of(b"a small file\n"),
        version,
        key,
        content: Content::Inline(sealed),
        sharer: None,
    }
}

/// A share of that body by link, and its first head.
fn linked(seed: u64, password: Option<&str>) -> (ShareKeys, ShareWith, Head) {
    let entropy = Counter::new(seed);
    let (keys, stretch) = ShareKeys::draw_for_link(&entropy, password).unwrap();
    let with = ShareWith::Link(stretch);
    let head = keys.seal(&entropy, &MESH, (1, 0), &with, &body()).unwrap();
    (keys, with, head)
}

/// The same for a person, from `sharer`.
fn personal(seed: u64, sharer: &DeviceKeys, person: &DeviceKeys) -> (ShareKeys, Head) {
    let entropy = Counter::new(seed);
    let contact = person.contact_head(&MESH);
    let key = contact_key(&contact).unwrap();
    let keys = ShareKeys::draw_for_person(&entropy);
    let signed = sharer.sharer(&MESH, &keys.share(), &contact.account);
    let body = ShareBody { sharer: Some(signed), ..body() };
    let with = ShareWith::Person { contact: contact.account, key };
    let head = keys.seal(&entropy, &MESH, (1, 0), &with, &body).unwrap();
    (keys, head)
}

fn sealed(head: &Head) -> SealedShare {
    assert!(head.verify(&MESH).is_ok() && head.log == SHARE_LOG);
    wire::decode(&head.sealed).unwrap()
}

fn holds(opened: &ShareBody) {
    assert_eq!((opened.name.as_str(), opened.size, opened.mode), ("report.pdf", 13, 0o640));
    let content = &opened.content;
    let plain = opened.key.open(&opened.version, content.tag(), content.sealed()).unwrap();
    assert_eq!(plain.as_slice(), b"a small file\n");
}

#[test]
fn a_share_by_link_opens_by_its_secret_alone() {
    let (keys, _, head) = linked(1, None);
    let (share, secret, sealed) = (keys.share(), keys.link_secret().unwrap(), sealed(&head));
    golden("share", "head-link", &head.to_bytes());
    let open =
        |secret: &Secret, mesh: &MeshId, share: &PublicKey, revision, sealed: &SealedShare| {
            open_by_link(secret, None, (mesh, share, revision), sealed)
        };
    holds(&open(&secret, &MESH, &share, 1, &sealed).unwrap());

    let damaged = |opened: Result<ShareBody, ShareError>| {
        assert_eq!(opened.err(), Some(ShareError::Damaged));
    };
    damaged(open(&Secret::new([1; 32]), &MESH, &share, 1, &sealed));
    damaged(open(&secret, &MeshId([1; 32]), &share, 1, &sealed));
    damaged(open(&secret, &MESH, &PublicKey([1; 32]), 1, &sealed));
    // An older head as a newer one: the signature would have to be forged too.
    damaged(open(&secret, &MESH, &share, 2, &sealed));
    damaged(open(&secret, &MESH, &share, 1, &SealedShare { mark: [0; 16], ..sealed.clone() }));
    damaged(open(&secret, &MESH, &share, 1, &SealedShare { salt: [0; 32], ..sealed.clone() }));
    for at in 0..sealed.sealed.len() {
        let mut bytes = sealed.sealed.to_vec();
        bytes[at] ^= 1;
        damaged(open(
            &secret,
            &MESH,
            &share,
            1,
            &SealedShare { sealed: bytes.into(), ..sealed.clone() },
        ));
    }
    for end in [0, 1, 15, 16, sealed.sealed.len() - 1] {
        let cut = sealed.sealed.slice(..end);
        damaged(open(&secret, &MESH, &share, 1, &SealedShare { sealed: cut, ..sealed.clone() }));
    }
    // It is not a person's.
    assert_eq!(account(9).open_share((&MESH, &share, 1), &sealed).err(), Some(ShareError::Link));
}

#[test]
fn a_password_is_needed_where_there_is_one() {
    let (keys, _, head) = linked(2, Some(PASSWORD));
    let (share, secret, sealed) = (keys.share(), keys.link_secret().unwrap(), sealed(&head));
    golden("share", "head-password", &head.to_bytes());
    let open = |password, sealed: &SealedShare| {
        open_by_link(&secret, password, (&MESH, &share, 1), sealed)
    };
    holds(&open(Some(PASSWORD), &sealed).unwrap());
    assert_eq!(open(Some("wrong horse"), &sealed).err(), Some(ShareError::Password));
    assert_eq!(open(None, &sealed).err(), Some(ShareError::PasswordMissing));
    // Whoever can write the slot cannot take the password away: the secret alone opens nothing.
    let without = SealedShare { lock: ShareLock::Link, ..sealed.clone() };
    assert_eq!(open(None, &without).err(), Some(ShareError::Damaged));
    let short = ShareKeys::draw_for_link(&Counter::new(3), Some("short"));
    assert_eq!(short.err(), Some(ShareError::PasswordShort));
}

/// Accounts take some time to be made.
static PEOPLE: LazyLock<[DeviceKeys; 3]> =
    LazyLock::new(|| [account(20), account(21), account(22)]);

#[test]
fn a_share_for_a_person_opens_for_that_person_who_learns_whose_it_is() {
    let [sharer, person, other] = &*PEOPLE;
    let (keys, head) = personal(4, sharer, person);
    let (share, sealed) = (keys.share(), sealed(&head));
    let opened = person.open_share((&MESH, &share, 1), &sealed).unwrap();
    holds(&opened);
    assert_eq!(opened.sharer.unwrap().account(), sharer.account());
    for keys in [other, sharer] {
        let refused = keys.open_share((&MESH, &share, 1), &sealed).err();
        assert_eq!(refused, Some(ShareError::Person));
    }
    let by_link = open_by_link(&Secret::new([1; 32]), None, (&MESH, &share, 1), &sealed);
    assert_eq!(by_link.err(), Some(ShareError::Person));

    // What is wrapped for one share opens in no other, nor at another revision, nor in another mesh.
    let (second, second_head) = personal(5, sharer, person);
    let second_sealed = self::sealed(&second_head);
    let replayed = SealedShare { lock: sealed.lock.clone(), ..second_sealed.clone() };
    let refused = person.open_share((&MESH, &second.share(), 1), &replayed).err();
    assert_eq!(refused, Some(ShareError::Person));
    for (mesh, share, revision) in
        [(MESH, second.share(), 1), (MESH, share, 2), (MeshId([1; 32]), share, 1)]
    {
        assert!(person.open_share((&mesh, &share, revision), &sealed).is_err());
    }
}

#[test]
fn nobody_shares_in_the_name_of_another() {
    let [sharer, person, other] = &*PEOPLE;
    let entropy = Counter::new(6);
    let contact = person.contact_head(&MESH);
    let with = ShareWith::Person { contact: contact.account, key: contact_key(&contact).unwrap() };
    let keys = ShareKeys::draw_for_person(&entropy);
    let share = keys.share();
    let open = |signed| {
        let body = ShareBody { sharer: signed, ..body() };
        let head = keys.seal(&entropy, &MESH, (1, 0), &with, &body).unwrap();
        person.open_share((&MESH, &share, 1), &sealed(&head)).err()
    };
    assert_eq!(open(Some(sharer.sharer(&MESH, &share, &contact.account))), None);
    assert_eq!(open(None), Some(ShareError::Sharer));
    // What somebody once signed for another share, person or mesh is worth nothing here.
    let elsewhere = [
        sharer.sharer(&MESH, &PublicKey([1; 32]), &contact.account),
        sharer.sharer(&MESH, &share, &other.contact(&MESH)),
        sharer.sharer(&MeshId([1; 32]), &share, &contact.account),
    ];
    for signed in elsewhere {
        assert_eq!(open(Some(signed)), Some(ShareError::Sharer));
    }
    let mut foreign = sharer.sharer(&MESH, &share, &contact.account);
    foreign.certificate = other.log_certificate().clone();
    assert_eq!(open(Some(foreign)), Some(ShareError::Sharer));
}

#[test]
fn marks_tell_bodies_apart_and_are_the_same_on_all_devices() {
    let (keys, with, head) = linked(8, None);
    let entropy = Counter::new(9);
    assert_eq!(sealed(&head).mark, keys.mark(&body()));
    let again = keys.seal(&entropy, &MESH, (2, 0), &with, &body()).unwrap();
    assert_eq!(sealed(&again).mark, keys.mark(&body()));
    assert_ne!(sealed(&again).sealed, sealed(&head).sealed);
    let renamed = ShareBody { name: "other.pdf".parse().unwrap(), ..body() };
    let moved = ShareBody { content: Content::Inline(Bytes::from_static(b"x")), ..body() };
    assert!(keys.mark(&renamed) != keys.mark(&body()) && keys.mark(&moved) != keys.mark(&body()));
    assert_ne!(linked(10, None).0.mark(&body()), keys.mark(&body()));

    let end = keys.end(&MESH, 3);
    assert!(end.verify(&MESH).is_ok() && end.ended && end.sealed.is_empty());
    golden("share", "head-ended", &end.to_bytes());
}

#[test]
fn the_secrets_of_a_share_lie_sealed_in_the_catalog() {
    let [device, _, other] = &*PEOPLE;
    let entropy = Counter::new(11);
    let (keys, _, _) = linked(12, None);
    let share = keys.share();
    let wrapped = device.seal_share_keys(&entropy, &keys).unwrap();
    let opened = device.open_share_keys(&share, &wrapped).unwrap();
    assert_eq!(opened.share(), share);
    assert_eq!(opened.link_secret(), keys.link_secret());
    assert!(device.open_share_keys(&PublicKey([1; 32]), &wrapped).is_err());
    assert!(other.open_share_keys(&share, &wrapped).is_err());
    let secret = keys.link_secret().unwrap();
    assert!(!wrapped.bytes.windows(32).any(|part| part == secret.as_slice()));
    // Nothing of it reaches a log.
    let shown = format!("{opened:?} {:?}", link(Some(secret.clone())));
    let digits: String = secret[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!shown.contains(&digits) && !shown.contains(&format!("{:?}", &secret[..4])));
}

#[test]
fn a_contact_is_the_same_on_all_devices_and_another_in_each_mesh() {
    let words = Words::parse(KNOWN).unwrap();
    let device = |seed| DeviceKeys::set_up(&words, &Counter::new(seed), 1);
    let (one, two) = (device(30), device(31));
    let head = one.contact_head(&MESH);
    golden("share", "head-contact", &head.to_bytes());
    assert!(head.verify(&MESH).is_ok() && head.log == CONTACT_LOG);
    assert_eq!(two.contact_head(&MESH), head);
    assert_ne!(one.contact(&MeshId([1; 32])), head.account);
    let elsewhere = one.contact_head(&MeshId([1; 32]));
    assert!(contact_key(&elsewhere).unwrap() != contact_key(&head).unwrap());
    assert!(contact_key(&linked(13, None).2).is_err());

    let recipient = Recipient::new(&MESH, head.account);
    let text = recipient.to_string();
    assert_eq!(format!(" {text}\n").parse(), Ok(recipient));
    assert!(recipient.is_of(&MESH) && !recipient.is_of(&MeshId([1; 32])));
    assert_eq!("hello".parse::<Recipient>(), Err(RecipientError::Prefix));
    for at in "datamesh-contact-".len()..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'2' { b'3' } else { b'2' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_eq!(changed.parse::<Recipient>(), Err(RecipientError::Damaged), "at {at}");
    }
}

fn link(secret: Option<Secret>) -> ShareLink {
    ShareLink {
        mesh: MESH,
        share: PublicKey([0x31; 32]),
        expiry: 1_800_000_000_000,
        password: secret.is_some(),
        addresses: vec!["/ip4/127.0.0.1/tcp/4001".into(), "/ip6/::1/tcp/4001".into()],
        secret,
    }
}

#[test]
fn a_link_survives_its_text_and_no_changed_character_is_taken() {
    let (whole, code) = (link(Some(Secret::new([9; 32]))), link(None));
    golden("share", "link", whole.text().as_bytes());
    golden("share", "code", code.text().as_bytes());
    for link in [&whole, &code] {
        let text = link.text();
        assert!(ShareLink::is_meant(&text));
        assert!(format!(" {}\n", *text).parse::<ShareLink>().as_ref() == Ok(link));
        for at in "datamesh://share/".len()..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'2' { b'3' } else { b'2' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(changed.parse::<ShareLink>().is_err(), "at {at}");
        }
        for end in 0..text.len() {
            assert!(text[..end].parse::<ShareLink>().is_err(), "cut at {end}");
        }
    }
    let text = whole.text();
    let (public, secret) = text.split_once('#').unwrap();
    assert_eq!(public.parse::<ShareLink>(), Err(LinkError::SecretMissing));
    assert_eq!(format!("{public}#").parse::<ShareLink>(), Err(LinkError::SecretMissing));
    // The secret of another link.
    let other = ShareLink { share: PublicKey([0x32; 32]), ..whole.clone() };
    let other = other.text();
    let (other, _) = other.split_once('#').unwrap();
    assert_eq!(format!("{other}#{secret}").parse::<ShareLink>(), Err(LinkError::SecretDamaged));
    assert_eq!(format!("{}#{secret}", *code.text()).parse::<ShareLink>(), Err(LinkError::Damaged));
    assert_eq!("http://share/".parse::<ShareLink>(), Err(LinkError::Prefix));
    let long = format!("datamesh://share/{}", "2".repeat(5000));
    assert_eq!(long.parse::<ShareLink>(), Err(LinkError::Damaged));
    let long = format!("{public}#{}", "2".repeat(5000));
    assert_eq!(long.parse::<ShareLink>(), Err(LinkError::SecretDamaged));
}

proptest! {
    #[test]
    fn any_link_survives_its_text(
        share in any::<[u8; 32]>(),
        secret in proptest::option::of(any::<[u8; 32]>()),
        expiry in any::<u64>(),
        count in 0usize..4,
    ) {
        let link = ShareLink {
            mesh: MESH,
            share: PublicKey(share),
            expiry,
            password: secret.is_some_and(|secret| secret[0] % 2 == 0),
            addresses: (0..count).map(|n| format!("/ip4/10.0.0.{n}/tcp/4001")).collect(),
            secret: secret.map(Secret::new),
        };
        prop_assert!(link.text().parse::<ShareLink>() == Ok(link));
    }

    #[test]
    fn any_body_survives_its_bytes(
        name in "[a-z ]{1,40}",
        size in any::<u64>(),
        noise in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let content = Content::Manifest(Bytes::from(noise.clone()));
        let made = ShareBody { name: name.parse().unwrap(), size, content, ..body() };
        let bytes = made.to_bytes();
        let read: ShareBody = wire::decode(&bytes).unwrap();
        prop_assert_eq!(read.to_bytes(), bytes);
        if let Ok(read) = wire::decode::<ShareBody>(&noise) {
            prop_assert_eq!(read.to_bytes(), noise);
        }
    }
}

#[test]
fn a_body_names_one_file_and_no_way_out_of_a_folder() {
    for wrong in ["a/b", "..", "/etc/passwd", "", "a\0b"] {
        let mut bytes = body().to_bytes();
        let name = "report.pdf";
        let mut named = vec![bytes[0]];
        named.extend_from_slice(&(wrong.len() as u32).to_le_bytes());
        named.extend_from_slice(wrong.as_bytes());
        named.extend_from_slice(&bytes.split_off(1 + 4 + name.len()));
        assert!(wire::decode::<ShareBody>(&named).is_err(), "{wrong:?}");
    }
}
