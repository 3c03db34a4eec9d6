use std::fs;
use std::path::Path;

use datamesh_catalog::{
    AccountDb, CatalogError, Counter, DamagedCopy, NodeDb, NodeLimits, PeerAudit,
};
use datamesh_core::certificate::{Issuer, NodeClaim};
use datamesh_core::{
    Advert, Grant, NodeCertificate, NodeId, PublicKey, Receipt, SegmentId, Signature,
};

use crate::fixture::owner;

pub(crate) fn node(n: u32) -> NodeId {
    let mut id = [0; 32];
    id[28..].copy_from_slice(&n.to_be_bytes());
    NodeId(id)
}

fn segment(n: u32) -> SegmentId {
    SegmentId(node(n).0)
}

pub(crate) fn advert(n: u32, sequence: u64, expiry: u64) -> Advert {
    let claim = NodeClaim {
        node: node(n),
        operator: "op".to_owned(),
        domain: "zone/host".parse().unwrap(),
        capacity_cap: 1 << 40,
        serial: 1,
        expiry: 0,
    };
    Advert {
        certificate: NodeCertificate {
            claim,
            issuer: Issuer::Authority,
            signature: Signature([1; 64]),
        },
        addresses: vec!["/ip4/10.0.0.1/tcp/4001".to_owned()],
        capacity: 1 << 39,
        free_class: 7,
        draining: false,
        release: "0.1.0".to_owned(),
        sequence,
        expiry,
        signature: Signature([2; 64]),
    }
}

pub(crate) fn receipt(of: u32, shard: u8, by: u32, sequence: u64) -> Receipt {
    Receipt {
        segment: segment(of),
        shard,
        node: node(by),
        sequence,
        expiry: 0,
        signature: Signature([3; 64]),
    }
}

pub(crate) fn grant(serial: u64) -> Grant {
    Grant {
        key: PublicKey([4; 32]),
        bytes_per_node: 1 << 30,
        serial,
        expiry: 0,
        issuer: Issuer::Authority,
        signature: Signature([5; 64]),
    }
}

fn open(folder: &Path, limits: NodeLimits) -> NodeDb {
    NodeDb::open(&folder.join("node.db"), limits).unwrap()
}

#[test]
fn the_newest_advert_of_each_node_is_kept_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let limits = NodeLimits { adverts: 3, ..NodeLimits::default() };
    let db = open(folder.path(), limits);
    let adverts = [advert(1, 5, 500), advert(2, 9, 300), advert(1, 4, 900)];
    assert_eq!(db.save_adverts(&adverts).unwrap(), 2);
    assert_eq!(db.adverts().unwrap(), adverts[..2]);
    assert_eq!(
        db.save_adverts(&[advert(1, 6, 600), advert(3, 1, 700), advert(4, 1, 800)]).unwrap(),
        3
    );
    drop(db);
    let db = open(folder.path(), limits);
    // The one that would have expired first made room.
    assert_eq!(db.adverts().unwrap(), [advert(1, 6, 600), advert(3, 1, 700), advert(4, 1, 800)]);
    db.forget_advert(&node(3)).unwrap();
    assert_eq!(db.adverts().unwrap().len(), 2);
    // What was saved, forgotten or pushed out is known for what it is when it comes again.
    let kept = [advert(1, 6, 600), advert(3, 1, 700), advert(4, 1, 800)];
    assert_eq!(db.save_adverts(&kept).unwrap(), 1);
    assert_eq!(db.save_adverts(&kept).unwrap(), 0);
    assert_eq!(db.save_adverts(&[advert(5, 1, 900)]).unwrap(), 1);
    assert_eq!(db.adverts().unwrap().first(), Some(&advert(3, 1, 700)));
    assert_eq!(db.save_adverts(&[advert(1, 6, 950)]).unwrap(), 1);
    assert!(db.adverts().unwrap().contains(&advert(1, 6, 950)));
    let many = vec![advert(1, 1, 1); 4097];
    assert!(matches!(db.save_adverts(&many), Err(CatalogError::TooMany { .. })));
}

#[test]
fn receipts_are_kept_by_segment_and_the_longest_unsaved_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let limits = NodeLimits { receipts: 10, ..NodeLimits::default() };
    let db = open(folder.path(), limits);
    let six: Vec<_> = (0..6).map(|shard| receipt(1, shard, u32::from(shard), 1)).collect();
    db.save_receipts(&six).unwrap();
    assert_eq!(db.receipts(&segment(1)).unwrap(), six);
    db.save_receipts(&[receipt(1, 0, 0, 9), receipt(1, 1, 1, 0)]).unwrap();
    let found = db.receipts(&segment(1)).unwrap();
    assert_eq!((found[0].sequence, found[1].sequence, found.len()), (9, 1, 6));
    db.forget(&segment(1), &node(5)).unwrap();
    db.forget(&segment(1), &node(77)).unwrap();
    assert_eq!(db.receipts(&segment(1)).unwrap().len(), 5);
    // Five more fit; then the oldest go, of which shard 0 is not one, as it was saved again.
    db.save_receipts(&(0..5).map(|n| receipt(2, n, 50, 1)).collect::<Vec<_>>()).unwrap();
    assert_eq!(db.receipts(&segment(1)).unwrap().len(), 5);
    db.save_receipts(&(0..4).map(|n| receipt(3, n, 50, 1)).collect::<Vec<_>>()).unwrap();
    drop(db);
    let db = open(folder.path(), limits);
    assert!(db.rebuilt().is_none());
    assert_eq!(db.receipts(&segment(1)).unwrap(), [receipt(1, 0, 0, 9)]);
    assert_eq!(db.receipts(&segment(2)).unwrap().len(), 5);
    assert_eq!(db.receipts(&segment(3)).unwrap().len(), 4);
    assert_eq!(db.receipts(&segment(4)).unwrap(), []);
}

#[test]
fn grants_and_settings_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let limits = NodeLimits { grants: 3, ..NodeLimits::default() };
    let db = open(folder.path(), limits);
    db.save_grants(&[grant(1), grant(2), grant(3)]).unwrap();
    db.save_grants(&[grant(1), grant(4)]).unwrap();
    db.save_setting("listen", b"4001").unwrap();
    db.save_setting("listen", b"4002").unwrap();
    assert_eq!(db.raise(Counter::Advert, 0).unwrap(), 1);
    assert_eq!(db.raise(Counter::Advert, 1000).unwrap(), 1000);
    assert_eq!(db.raise(Counter::Advert, 50).unwrap(), 1001);
    assert!(matches!(db.save_setting("x", &[0; 4097]), Err(CatalogError::TooMany { .. })));
    assert!(matches!(db.save_setting(&"x".repeat(65), b""), Err(CatalogError::TooMany { .. })));
    drop(db);
    let db = open(folder.path(), limits);
    assert_eq!(db.grants().unwrap(), [grant(3), grant(1), grant(4)]);
    assert_eq!(db.grant(&grant(1).id()).unwrap(), Some(grant(1)));
    assert_eq!(db.grant(&grant(2).id()).unwrap(), None);
    assert_eq!(db.setting("listen").unwrap().as_deref(), Some(&b"4002"[..]));
    assert_eq!(db.setting("counter/advert").unwrap(), None);
    assert_eq!(db.raise(Counter::Advert, 0).unwrap(), 1002);
}

#[test]
fn damaged_shards_are_remembered_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let limits = NodeLimits { damaged: 3, ..NodeLimits::default() };
    let db = open(folder.path(), limits);
    let copy = |n, shard, sequence| DamagedCopy { segment: segment(n), shard, sequence };
    db.save_damaged(&[copy(1, 0, 5), copy(2, 0, 6), copy(2, 1, 7)]).unwrap();
    db.save_damaged(&[copy(1, 0, 9)]).unwrap();
    assert_eq!(db.damaged_after(None).unwrap(), [copy(1, 0, 9), copy(2, 0, 6), copy(2, 1, 7)]);
    let behind = Some((segment(2), 0));
    assert_eq!(db.damaged_after(behind).unwrap(), [copy(2, 1, 7)]);
    // The first shard was saved again, so it is not the one that goes.
    db.save_damaged(&[copy(3, 4, 8)]).unwrap();
    drop(db);
    let db = open(folder.path(), limits);
    assert_eq!(db.damaged_after(None).unwrap(), [copy(1, 0, 9), copy(2, 1, 7), copy(3, 4, 8)]);
    db.forget_damaged(&[copy(2, 1, 7), copy(9, 9, 9)]).unwrap();
    assert_eq!(db.damaged_after(None).unwrap(), [copy(1, 0, 9), copy(3, 4, 8)]);
}

#[test]
fn the_newest_audit_of_each_peer_is_kept_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let limits = NodeLimits { audits: 2, ..NodeLimits::default() };
    let db = open(folder.path(), limits);
    let audit = |n, ok| PeerAudit {
        node: node(n),
        ok,
        corrupt: 1,
        missing: 2,
        refused: 3,
        busy: 4,
        timeout: 5,
        offline: 6,
        admitted: 7,
        recent: 8,
        epoch: 9,
        last: 10,
    };
    db.save_audits(&[audit(1, 1), audit(2, 1)]).unwrap();
    db.save_audits(&[audit(1, 2)]).unwrap();
    db.save_audits(&[audit(3, 1)]).unwrap();
    drop(db);
    assert_eq!(open(folder.path(), limits).audits().unwrap(), [audit(1, 2), audit(3, 1)]);
}

#[test]
fn a_damaged_database_is_put_aside_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.db");
    let db = open(folder.path(), NodeLimits::default());
    for n in 0..40 {
        db.save_receipts(&(0..6).map(|s| receipt(n, s, 1, 1)).collect::<Vec<_>>()).unwrap();
    }
    drop(db);
    let whole = fs::read(&file).unwrap();
    let mut scrambled = whole.clone();
    scrambled[4096 * 3..4096 * 3 + 64].fill(0xff);
    for damaged in [scrambled, whole[..whole.len() / 2].to_vec(), Vec::new(), vec![7; 9000]] {
        fs::write(&file, &damaged).unwrap();
        let db = open(folder.path(), NodeLimits::default());
        assert!(db.rebuilt().is_some());
        assert_eq!(fs::read(folder.path().join("node.db.damaged")).unwrap(), damaged);
        assert_eq!(db.receipts(&segment(1)).unwrap(), []);
        db.save_receipts(&[receipt(1, 1, 1, 1)]).unwrap();
    }
}

#[test]
fn a_database_of_another_kind_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalog.db");
    drop(AccountDb::open(&file, owner(1)).unwrap());
    let opened = NodeDb::open(&file, NodeLimits::default());
    assert!(matches!(opened, Err(CatalogError::Kind { .. })));
    assert!(AccountDb::open(&file, owner(1)).is_ok());
    drop(open(folder.path(), NodeLimits::default()));
    let opened = AccountDb::open(&folder.path().join("node.db"), owner(1));
    assert!(matches!(opened, Err(CatalogError::Kind { .. })));
}
