use bytes::Bytes;
use datamesh_catalog::{AccountDb, Append, CatalogError, Named, Owed};
use datamesh_core::catalog::{Change, Content, Operation};
use datamesh_core::{Context, Hash, LogId, SegmentId, Signature, VersionId};

use crate::fixture::{Catalog, append, certificate, change, delete, id, owner, path, put, sign};

#[test]
fn operations_follow_each_other_and_survive_reopening() {
    let catalog = Catalog::new();
    let first = catalog.append(vec![change(put("a", "1")), change(put("b", "2"))]);
    let second = catalog.append(vec![delete("a", "3")]);
    let catalog = catalog.reopened();
    let log = catalog.db.operations(&owner(1).log, 0, 100).unwrap();
    assert_eq!(log, [first, second].concat());
    let mut previous = Hash([0; 32]);
    let mut clock = 0;
    for (operation, sequence) in log.iter().zip(1..) {
        assert_eq!((operation.sequence, operation.previous), (sequence, previous));
        assert!(operation.clock > clock);
        operation.verify(&owner(1).log_key).unwrap();
        (previous, clock) = (operation.hash(), operation.clock);
    }
    let tip = catalog.db.tip().unwrap();
    assert_eq!((tip.sequence, tip.hash, tip.clock), (3, previous, clock));
    assert_eq!(catalog.db.operations(&owner(1).log, 1, 1).unwrap(), log[1..2]);
    assert_eq!(catalog.db.operations(&owner(1).log, 3, 1).unwrap(), []);
    assert_eq!(catalog.db.check().unwrap().operations, 3);
}

#[test]
fn the_clock_follows_the_time_and_never_goes_back() {
    let catalog = Catalog::new();
    let at = |now, name: &str| {
        let append = Append { changes: vec![change(put("a", name))], now, ..Append::default() };
        let made = catalog.db.append(append, |body| sign(1, Context::Operation, body)).unwrap();
        made[0].clock
    };
    assert_eq!(at(1000, "1"), 1000 << 16);
    assert_eq!(at(1000, "2"), (1000 << 16) + 1);
    assert_eq!(at(3, "3"), (1000 << 16) + 2);
    assert_eq!(at(2000, "4"), 2000 << 16);
    assert_eq!(at(u64::MAX, "5"), ((1 << 48) - 1) << 16);
}

#[test]
fn a_log_that_is_not_certified_or_signed_by_another_is_refused() {
    let (here, there) = (Catalog::of(1), Catalog::of(2));
    let made = there.append(vec![change(put("a", "1"))]);
    assert!(matches!(here.db.commit(&made), Err(CatalogError::UnknownLog { .. })));
    let mut forged = certificate(2);
    forged.log_key = owner(3).log_key;
    assert!(matches!(here.db.admit(LogId([2; 16]), &forged), Err(CatalogError::Signature(_))));
    here.db.admit(LogId([2; 16]), &certificate(2)).unwrap();
    here.db.admit(LogId([2; 16]), &certificate(2)).unwrap();
    let mut broken = made.clone();
    broken[0].signature = Signature([1; 64]);
    assert!(matches!(here.db.commit(&broken), Err(CatalogError::Signature(_))));
    assert_eq!(here.db.commit(&made).unwrap(), 1);
    assert_eq!(here.db.lookup(&path("a")).unwrap().unwrap().log, LogId([2; 16]));
    here.db.check().unwrap();
}

#[test]
fn a_wrong_key_writes_nothing() {
    let catalog = Catalog::new();
    let wrong = append(&catalog.db, 2, vec![change(put("a", "1"))]);
    assert!(matches!(wrong, Err(CatalogError::Signature(_))));
    assert_eq!(catalog.db.tip().unwrap().sequence, 0);
    assert_eq!(catalog.db.lookup(&path("a")).unwrap(), None);
    catalog.append(vec![change(put("a", "1"))]);
}

#[test]
fn gaps_and_forks_are_refused_and_known_operations_are_passed_over() {
    let (here, there) = (Catalog::of(1), Catalog::of(2));
    here.db.admit(LogId([2; 16]), &certificate(2)).unwrap();
    let made = there.append((0..5).map(|n| change(put("a", &format!("{n}")))).collect());
    assert!(matches!(here.db.commit(&made[1..]), Err(CatalogError::Gap { tip: 0, found: 2, .. })));
    assert_eq!(here.db.commit(&made[..3]).unwrap(), 3);
    assert_eq!(here.db.commit(&made[..3]).unwrap(), 0);
    assert_eq!(here.db.commit(&made).unwrap(), 2);

    let other = Catalog::of(2);
    let fork = other.append((0..6).map(|n| change(put("b", &format!("b{n}")))).collect());
    assert!(matches!(here.db.commit(&fork[..1]), Err(CatalogError::Fork { sequence: 1, .. })));
    assert!(matches!(here.db.commit(&fork[5..]), Err(CatalogError::Fork { sequence: 6, .. })));
    assert_eq!(here.db.lookup(&path("b")).unwrap(), None);
    assert_eq!(here.db.totals().unwrap().operations, 5);
    here.db.check().unwrap();
}

#[test]
fn a_clock_that_goes_back_is_refused() {
    let (here, there) = (Catalog::of(1), Catalog::of(2));
    here.db.admit(LogId([2; 16]), &certificate(2)).unwrap();
    let made = there.append(vec![change(put("a", "1"))]);
    here.db.commit(&made).unwrap();
    let Operation { log, clock, .. } = made[0];
    let (change, previous) = (change(put("a", "2")), made[0].hash());
    let body = Operation::signed_part(&log, 2, clock, &previous, &change);
    let signature = sign(2, Context::Operation, &body);
    let next = Operation { log, sequence: 2, clock, previous, change, signature };
    assert!(matches!(here.db.commit(&[next]), Err(CatalogError::Clock { sequence: 2, .. })));
}

#[test]
fn unknown_kinds_are_kept_and_passed_over() {
    let (here, there) = (Catalog::of(1), Catalog::of(2));
    here.db.admit(LogId([2; 16]), &certificate(2)).unwrap();
    let unknown = Change::Unknown { kind: 77, body: Bytes::from_static(b"from later") };
    let made = there.append(vec![change(put("a", "1")), unknown, change(put("b", "2"))]);
    here.db.commit(&made).unwrap();
    let here = here.reopened();
    assert_eq!(here.db.operations(&LogId([2; 16]), 0, 10).unwrap(), made);
    assert!(here.db.lookup(&path("b")).unwrap().is_some());
    assert_eq!(here.db.check().unwrap().operations, 3);
}

#[test]
fn what_no_reader_would_accept_is_refused_and_nothing_of_the_call_stays() {
    let catalog = Catalog::new();
    let long_tag = "x".repeat(129);
    let many_tags = (0..65).map(|n| n.to_string()).collect();
    let mut big = put("b", "3");
    big.content = Content::Inline(Bytes::from(vec![0; 17 * 1024]));
    let unreadable = [
        change(crate::fixture::tagged("b", "1", &[&long_tag])),
        change(datamesh_core::catalog::Put { tags: many_tags, ..put("b", "2") }),
        change(big),
        Change::Unknown { kind: 1, body: Bytes::new() },
        Change::Unknown { kind: 0, body: Bytes::new() },
        Change::Unknown { kind: 9, body: Bytes::from(vec![0; 64 * 1024 + 1]) },
    ];
    for bad in unreadable {
        let result = catalog.try_append(vec![change(put("a", "good")), bad.clone()]);
        assert!(matches!(result, Err(CatalogError::Unreadable { .. })), "{bad:?}: {result:?}");
    }
    let too_many = (0..4097).map(|n| delete("a", &n.to_string())).collect();
    assert!(matches!(catalog.try_append(too_many), Err(CatalogError::TooMany { .. })));
    assert_eq!(catalog.db.tip().unwrap().sequence, 0);
    assert_eq!(catalog.db.lookup(&path("a")).unwrap(), None);
}

#[test]
fn a_version_id_is_used_once() {
    let catalog = Catalog::new();
    catalog.append(vec![change(put("a", "1"))]);
    for changes in [vec![change(put("b", "1"))], vec![delete("c", "2"), change(put("d", "2"))]] {
        assert!(matches!(catalog.try_append(changes), Err(CatalogError::VersionTaken { .. })));
    }
    assert_eq!(catalog.db.totals().unwrap().operations, 1);
}

#[test]
fn the_order_in_which_logs_arrive_does_not_matter() {
    let (one, two) = (Catalog::of(1), Catalog::of(2));
    one.db.admit(LogId([2; 16]), &certificate(2)).unwrap();
    two.db.admit(LogId([1; 16]), &certificate(1)).unwrap();
    let first = one.append(vec![
        change(crate::fixture::tagged("a", "1", &["x"])),
        change(put("b", "2")),
        change(put("c", "3")),
    ]);
    let second = two.append(vec![
        change(crate::fixture::tagged("a", "4", &["y"])),
        delete("b", "5"),
        change(put("d", "6")),
    ]);
    one.db.commit(&second).unwrap();
    two.db.commit(&first).unwrap();
    let third = one.append(vec![change(put("b", "7"))]);
    two.db.commit(&third).unwrap();
    for name in ["a", "b", "c", "d"] {
        let versions = one.db.versions(&path(name), 0, 100).unwrap();
        assert_eq!(versions, two.db.versions(&path(name), 0, 100).unwrap(), "{name}");
        assert_eq!(one.db.lookup(&path(name)).unwrap().as_ref(), versions.last(), "{name}");
        assert_eq!(two.db.lookup(&path(name)).unwrap().as_ref(), versions.last(), "{name}");
    }
    // Equal clocks: the higher device counts. A later clock: it counts.
    assert_eq!(one.db.lookup(&path("a")).unwrap().unwrap().log, LogId([2; 16]));
    assert_eq!(one.db.lookup(&path("b")).unwrap().unwrap().number, 3);
    assert_eq!(one.db.totals().unwrap(), two.db.totals().unwrap());
    assert_eq!(one.db.check().unwrap(), two.db.check().unwrap());
}

#[test]
fn owed_shards_stay_until_they_are_paid() {
    let catalog = Catalog::new();
    let version = VersionId(id("1"));
    let owe = |segment: u8, shard| Owed { segment: SegmentId([segment; 32]), shard, version };
    let append = Append {
        changes: vec![change(put("a", "1"))],
        owed: vec![owe(2, 5), owe(1, 0)],
        now: 1,
        ..Append::default()
    };
    catalog.db.append(append, |body| sign(1, Context::Operation, body)).unwrap();
    catalog.db.owe(&[owe(1, 0), owe(1, 3), owe(1, 255)]).unwrap();
    let catalog = catalog.reopened();
    let all = [owe(1, 0), owe(1, 3), owe(1, 255), owe(2, 5)];
    assert_eq!(catalog.db.owed(None, 100).unwrap(), all);
    assert_eq!(catalog.db.owed(None, 2).unwrap(), all[..2]);
    assert_eq!(catalog.db.owed(Some((all[1].segment, 3)), 100).unwrap(), all[2..]);
    assert_eq!(catalog.db.totals().unwrap().owed, 4);
    catalog.db.paid(&[(all[1].segment, 3), (SegmentId([9; 32]), 1)]).unwrap();
    assert_eq!(catalog.db.owed(None, 100).unwrap(), [all[0], all[2], all[3]]);
    assert_eq!(catalog.db.totals().unwrap().owed, 3);
    catalog.db.check().unwrap();
}

#[test]
fn a_catalog_of_somebody_else_is_refused() {
    let catalog = Catalog::new();
    catalog.append(vec![change(put("a", "1"))]);
    let Catalog { folder, db, .. } = catalog;
    drop(db);
    let file = folder.path().join("catalog.db");
    let mut account = owner(1);
    account.account.0[0] ^= 1;
    let mut log_key = owner(1);
    log_key.log_key = owner(2).log_key;
    for (wrong, whose) in [(account, "account"), (log_key, "log key")] {
        match AccountDb::open(&file, wrong) {
            Err(CatalogError::Foreign { whose: found }) => assert_eq!(found, whose),
            other => panic!("{whose}: {:?}", other.err()),
        }
    }
    let db = AccountDb::open(&file, owner(1)).unwrap();
    assert!(!db.created());
    assert_eq!(db.resolve("a").unwrap(), Some(Named::Path(path("a"))));
}

#[test]
fn a_version_owes_as_many_shards_as_it_has() {
    const SEGMENTS: u32 = 10_000;
    let catalog = Catalog::new();
    let version = VersionId(id("1"));
    let owed: Vec<Owed> = (0..SEGMENTS)
        .flat_map(|n| [4, 5].map(|shard| (n, shard)))
        .map(|(n, shard)| Owed { segment: SegmentId(Hash::of(&n.to_le_bytes()).0), shard, version })
        .collect();
    let count = owed.len();
    let append = Append { changes: vec![change(put("a", "1"))], owed, now: 1, ..Append::default() };
    catalog.db.append(append, |body| sign(1, Context::Operation, body)).unwrap();
    let (mut after, mut found) = (None, 0);
    loop {
        let page = catalog.db.owed(after, 4096).unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.segment, last.shard));
        found += page.len();
    }
    assert_eq!(found, count);
    assert_eq!(catalog.db.totals().unwrap().owed, count as u64);
    assert!(catalog.db.lookup(&path("a")).unwrap().is_some());

    // The operation and what it owes are one: where it is refused, nothing is owed.
    let owed = vec![Owed { segment: SegmentId([9; 32]), shard: 1, version }];
    let append = Append { changes: vec![change(put("b", "1"))], owed, now: 1, ..Append::default() };
    assert!(catalog.db.append(append, |body| sign(1, Context::Operation, body)).is_err());
    assert_eq!(catalog.db.totals().unwrap().owed, count as u64);
}

/// Its files were put back from a copy, and the mesh tells it what it had done since.
#[test]
fn a_log_of_which_operations_come_from_elsewhere_is_added_to_no_more() {
    let (whole, copy) = (Catalog::new(), Catalog::new());
    let first = whole.append(vec![change(put("a", "1"))]);
    assert_eq!(copy.db.commit(&first).unwrap(), 1);
    assert!(copy.db.is_behind().unwrap() && !whole.db.is_behind().unwrap());
    let refused = |catalog: &Catalog| {
        let added = catalog.try_append(vec![change(put("b", "2"))]);
        matches!(added, Err(CatalogError::Behind { log }) if log == owner(1).log)
    };
    assert!(refused(&copy));
    // Whoever learnt it may have ended before it took another log.
    let copy = copy.reopened();
    assert!(copy.db.is_behind().unwrap() && refused(&copy));
    let fresh = LogId([8; 16]);
    copy.db.take_log(fresh).unwrap();
    assert!(!copy.db.is_behind().unwrap());
    let added = copy.append(vec![change(put("b", "2"))]);
    assert_eq!((added[0].log, added[0].sequence), (fresh, 1));
    // What it has already says nothing.
    assert_eq!(whole.db.commit(&first).unwrap(), 0);
    assert!(!whole.db.is_behind().unwrap());
    copy.db.check().unwrap();
}
