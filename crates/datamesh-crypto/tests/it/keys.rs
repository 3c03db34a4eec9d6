//! Words, tree and signatures.

use datamesh_core::certificate::NodeClaim;
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::{Descriptor, Hash, MeshId, NodeId, Scheme, SegmentId, Signer};
use datamesh_crypto::words::WordsError;
use datamesh_crypto::{DeviceKeys, IssuingKey, SigningKey, Words, authority};

use crate::Counter;

/// The BIP-39 test vector for 256 bits of 0x7f.
pub(crate) const KNOWN: &str = "legal winner thank year wave sausage worth useful legal winner thank year \
                     wave sausage worth useful legal winner thank year wave sausage worth title";

#[test]
fn the_same_words_give_the_same_account_and_another_device() {
    let entropy = Counter::new(1);
    let words = Words::draw(&entropy);
    let text = words.text();
    assert_eq!(text.split(' ').count(), 24);
    let again = Words::parse(&format!("  {}\n", text.replace(' ', "\n  ").to_uppercase())).unwrap();
    let (a, b) = (DeviceKeys::set_up(&words, &entropy, 5), DeviceKeys::set_up(&again, &entropy, 6));
    assert_eq!(a.account(), b.account());
    assert_eq!(a.grant().public_key(), b.grant().public_key());
    assert_ne!(a.device(), b.device());
    assert!(a.log_certificate().verify().is_ok());
}

#[test]
fn the_tree_does_not_change() {
    // Fixed from the first release on: with another value here, no account would find its files.
    let keys = DeviceKeys::set_up(&Words::parse(KNOWN).unwrap(), &Counter::new(1), 0);
    let golden = include_str!("../../../../testdata/keystore/tree.txt");
    let shown = format!(
        "account {}\ngrant {}\nauthority {}\nlease {}\n",
        keys.account(),
        Hash(keys.grant().public_key().0),
        Hash(keys.authority().public_key().0),
        Hash(keys.lease_key(&[Hash([1; 32]), Hash([2; 32])]).unwrap().0),
    );
    assert_eq!(shown, golden);
}

#[test]
fn wrong_words_are_named() {
    let error = |text: &str| Words::parse(text).err();
    assert_eq!(error("one two"), Some(WordsError::Count(2)));
    assert_eq!(error(&KNOWN.replacen("winner", "winnner", 1)), Some(WordsError::Unknown(2)));
    assert_eq!(error(&KNOWN.replacen("title", "winner", 1)), Some(WordsError::Checksum));
    assert_eq!(error(""), Some(WordsError::Count(0)));
}

#[test]
fn admission_holds_for_the_right_mesh_key_and_time_only() {
    let entropy = Counter::new(7);
    let (root, delegate, node) =
        (SigningKey::draw(&entropy), SigningKey::draw(&entropy), SigningKey::draw(&entropy));
    let genesis = authority::found(&root, 10, 0, [3; 16]);
    genesis.verify().unwrap();
    let mesh = genesis.mesh_id();
    let delegation = authority::delegate(&root, &mesh, delegate.public_key(), 1, 0);
    let issuing = IssuingKey::delegate(mesh, delegate.clone(), delegation);
    let claim = NodeClaim {
        node: node.node_id(),
        operator: "op".into(),
        domain: "zone-a/host-1".parse().unwrap(),
        capacity_cap: 100,
        serial: 1,
        expiry: 1000,
    };
    let certificate = issuing.certify(claim.clone());
    certificate.verify(&genesis.authority, &mesh, 999).unwrap();
    assert!(certificate.verify(&genesis.authority, &mesh, 1000).is_err(), "expired");
    assert!(certificate.verify(&node.public_key(), &mesh, 1).is_err(), "another authority");
    assert!(certificate.verify(&genesis.authority, &MeshId([0; 32]), 1).is_err(), "another mesh");
    let mut changed = certificate.clone();
    changed.claim.node = NodeId([9; 32]);
    assert!(changed.verify(&genesis.authority, &mesh, 1).is_err(), "another node");

    let forged = authority::delegate(&node, &mesh, delegate.public_key(), 1, 0);
    let forger = IssuingKey::delegate(mesh, delegate, forged);
    assert!(forger.certify(claim).verify(&genesis.authority, &mesh, 1).is_err(), "no power");

    let grant = issuing.grant(root.public_key(), 5, 1, 0);
    grant.verify(&genesis.authority, &mesh, 1).unwrap();
    assert!(forger.grant(root.public_key(), 5, 1, 0).verify(&genesis.authority, &mesh, 1).is_err());

    let ticket = root.store_ticket(&mesh, SegmentId([4; 32]), 77, 0);
    ticket.verify(&root.public_key(), &mesh).unwrap();
    let mut longer = ticket;
    longer.shard_length = 78;
    assert!(longer.verify(&root.public_key(), &mesh).is_err());
}

#[test]
fn leases_are_signed_by_a_key_of_their_segment() {
    let entropy = Counter::new(9);
    let words = Words::draw(&entropy);
    let keys = DeviceKeys::set_up(&words, &entropy, 1);
    let mesh = MeshId([1; 32]);
    let of = |keys: &DeviceKeys, n: u8| {
        let roots = vec![Hash([n; 32]); 6];
        let lease_key = keys.lease_key(&roots).unwrap();
        let (scheme, suite) = (Scheme::FOUR_TWO, SUITE_AES256GCM_BLAKE3_RS);
        Descriptor { suite, scheme, cell: 1024, length: 5000, roots, lease_key }
    };
    let holds = |keys: &DeviceKeys, descriptor: &Descriptor| {
        let key = &descriptor.lease_key;
        let renewed = keys.renew(&mesh, descriptor, 1, 0).verify(key, &mesh).is_ok();
        renewed && keys.release(&mesh, descriptor, 2).verify(key, &mesh).is_ok()
    };
    let first = of(&keys, 3);
    assert!(holds(&keys, &first));
    assert_ne!(first.lease_key, of(&keys, 4).lease_key);
    // A device that has the key of a later epoch signs for segments of both, one that has not for
    // those that it could make itself alone.
    let behind = DeviceKeys::set_up(&words, &entropy, 1);
    keys.derive_epochs(&words, 1);
    let second = of(&keys, 3);
    assert_ne!(first.lease_key, second.lease_key);
    assert!(holds(&keys, &first) && holds(&keys, &second));
    assert!(holds(&behind, &first) && !holds(&behind, &second));
}
