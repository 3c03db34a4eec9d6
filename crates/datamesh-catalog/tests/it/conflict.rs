//! Versions made without knowledge of each other stay, each under a name, whatever the order in which
//! logs arrive.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_catalog::AccountDb;
use datamesh_core::catalog::{Change, Delete, EntryKind, Operation, Purge, Put};
use datamesh_core::{FileId, LogId, MeshPath, VersionId};
use proptest::prelude::*;

use crate::fixture::{Catalog, append, certificate, change, id, path, tagged};
use crate::model::listed;

const DEVICES: u8 = 3;
const PATHS: [&str; 2] = ["a/report.txt", "b"];
const NONE: VersionId = VersionId([0; 16]);

/// A put as a device makes it: with the file and version that it finds.
fn next(db: &AccountDb, at: &MeshPath, version: &str, tags: &[&str]) -> Put {
    let (file, replaces) = db.current_at(at).unwrap().unwrap_or((FileId(id(version)), NONE));
    Put { file, replaces, path: at.clone(), ..tagged("x", version, tags) }
}

/// A delete marker as a device makes it.
fn removal(db: &AccountDb, at: &MeshPath, version: &str) -> Option<Change> {
    let found = db.lookup(at).unwrap()?;
    let put = found.put()?;
    let (file, version) = (put.file, VersionId(id(version)));
    let (replaces, path) = (put.version, put.path.clone());
    Some(Change::Delete(Delete { file, version, replaces, path, created: 1_700_000_000_003 }))
}

/// The device `seed`, which knows the logs of all.
fn device(seed: u8) -> Catalog {
    let catalog = Catalog::of(seed);
    for other in (1..=DEVICES).filter(|other| *other != seed) {
        catalog.db.admit(LogId([other; 16]), &certificate(other)).unwrap();
    }
    catalog
}

fn log_of(db: &AccountDb, device: u8) -> Vec<Operation> {
    db.operations(&LogId([device; 16]), 0, 4096).unwrap()
}

/// `to` takes in all that `from` knows.
fn sync(from: &AccountDb, to: &AccountDb) {
    for log in 1..=DEVICES {
        to.commit(&log_of(from, log)).unwrap();
    }
}

/// The versions that stand beside the current ones, by the definition: file puts that are not the
/// last of their path, are the last of their log there, and that nothing has seen or purged.
fn rivals(all: &[Operation]) -> BTreeSet<VersionId> {
    let mut seen = BTreeSet::new();
    let mut paths: BTreeMap<String, Vec<(u64, LogId, Option<VersionId>)>> = BTreeMap::new();
    for operation in all {
        let (at, replaces, rival) = match &operation.change {
            Change::Put(put) => {
                let file = put.kind == EntryKind::File;
                (&put.path, put.replaces, file.then_some(put.version))
            }
            Change::Delete(delete) => (&delete.path, delete.replaces, None),
            Change::Purge(purge) => {
                seen.extend(purge.versions.iter().copied());
                continue;
            }
            Change::Rewrite(_)
            | Change::Label(_)
            | Change::Pin(_)
            | Change::Share(_)
            | Change::Unshare(_)
            | Change::Unknown { .. } => continue,
        };
        seen.insert(replaces);
        let place = (operation.clock, operation.log, rival);
        paths.entry(at.to_string()).or_default().push(place);
    }
    let mut found = BTreeSet::new();
    for mut places in paths.into_values() {
        places.sort_unstable();
        let mut logs = BTreeSet::new();
        for (number, (_, log, rival)) in places.into_iter().rev().enumerate() {
            if logs.insert(log) && number > 0 {
                found.extend(rival.filter(|rival| !seen.contains(rival)));
            }
        }
    }
    found
}

/// Everything that a catalog shows: entries with their versions and sizes, conflicts among them.
fn shown(db: &AccountDb) -> Vec<String> {
    let mut shown = Vec::new();
    for at in listed(db, None, true, &[]).unwrap() {
        let found = db.lookup(&path(&at)).unwrap().unwrap();
        let summary = db.summary(&path(&at)).unwrap().unwrap();
        assert_eq!((summary.version, &summary.path), (found.id(), &path(&at)));
        shown.push(format!("{at} {:?} {}", found.id(), found.conflict));
    }
    for tag in ["x", "y"] {
        shown.push(format!("{tag}: {:?}", listed(db, None, true, &[tag]).unwrap()));
    }
    shown.push(format!("{:?}", db.totals().unwrap()));
    shown
}

fn conflicts(db: &AccountDb) -> BTreeSet<VersionId> {
    let all = listed(db, None, true, &[]).unwrap();
    let found = all.iter().map(|at| db.lookup(&path(at)).unwrap().unwrap());
    found.filter(|version| version.conflict).map(|version| version.id()).collect()
}

#[test]
fn both_versions_stay_and_the_other_has_a_name_of_its_own() {
    let (one, two) = (device(1), device(2));
    let at = path("a/report.txt");
    one.append(vec![change(next(&one.db, &at, "first", &["x"]))]);
    sync(&one.db, &two.db);
    one.append(vec![change(next(&one.db, &at, "by one", &["x"]))]);
    two.append(vec![change(next(&two.db, &at, "by two", &["y"]))]);
    sync(&one.db, &two.db);
    sync(&two.db, &one.db);
    // Equal clocks: the higher log counts.
    let [current, other] = ["by two", "by one"].map(|name| VersionId(id(name)));
    let digits = &other.to_string()[..8];
    let name = format!("a/report (conflict of 01010101 2023-11-14 {digits}).txt");
    for db in [&one.db, &two.db] {
        assert_eq!(listed(db, None, true, &[]).unwrap(), [name.clone(), at.to_string()]);
        assert_eq!(listed(db, None, true, &["x"]).unwrap(), std::slice::from_ref(&name));
        assert_eq!(listed(db, None, true, &["y"]).unwrap(), [at.to_string()]);
        assert_eq!(db.lookup(&at).unwrap().unwrap().id(), current);
        let beside = db.lookup(&path(&name)).unwrap().unwrap();
        assert_eq!(
            (beside.id(), beside.conflict, &beside.put().unwrap().path),
            (other, true, &path(&name))
        );
        let marked: Vec<bool> =
            db.versions(&at, 0, 10).unwrap().iter().map(|version| version.conflict).collect();
        assert_eq!(marked, [false, true, false]);
        assert_eq!(db.versions(&path(&name), 0, 10).unwrap(), [beside]);
        assert_eq!(db.totals().unwrap().files, 2);
        db.check().unwrap();
    }
    assert_eq!(shown(&one.db), shown(&two.db));

    // It is gone when it is removed, on every device, and the path stays.
    one.append(vec![removal(&one.db, &path(&name), "gone").unwrap()]);
    sync(&one.db, &two.db);
    for db in [&one.db, &two.db] {
        assert_eq!(listed(db, None, true, &[]).unwrap(), [at.to_string()]);
        assert_eq!(db.versions(&at, 0, 10).unwrap().len(), 3);
        db.check().unwrap();
    }
}

#[test]
fn a_conflict_ends_with_a_version_that_replaces_both_or_is_put_over_it() {
    let (one, two) = (device(1), device(2));
    for name in PATHS {
        one.append(vec![change(next(&one.db, &path(name), &format!("{name} one"), &[]))]);
        two.append(vec![change(next(&two.db, &path(name), &format!("{name} two"), &[]))]);
    }
    sync(&two.db, &one.db);
    assert_eq!(conflicts(&one.db).len(), 2);
    // The device whose version lost knows both and goes on.
    one.append(vec![change(next(&one.db, &path("b"), "b merged", &[]))]);
    assert_eq!(conflicts(&one.db), BTreeSet::from([VersionId(id("a/report.txt one"))]));
    // Its own name is a file's like any other.
    let all = listed(&one.db, None, true, &[]).unwrap();
    let name = path(all.iter().find(|at| at.contains("conflict")).unwrap());
    one.append(vec![change(next(&one.db, &name, "kept", &[]))]);
    assert!(conflicts(&one.db).is_empty());
    assert_eq!(one.db.lookup(&name).unwrap().unwrap().id(), VersionId(id("kept")));
    sync(&one.db, &two.db);
    assert_eq!(shown(&one.db), shown(&two.db));
    one.db.check().unwrap();
}

#[derive(Debug, Clone)]
enum Act {
    Put(usize, usize),
    Remove(usize),
    /// Puts over, removes or purges a conflict that there is.
    Conflict(usize, u8),
    Sync(u8),
}

fn act() -> impl Strategy<Value = (u8, Act)> {
    let act = prop_oneof![
        5 => (0..PATHS.len(), 0..3usize).prop_map(|(at, tag)| Act::Put(at, tag)),
        1 => (0..PATHS.len()).prop_map(Act::Remove),
        2 => (0..4usize, 0..3u8).prop_map(|(which, how)| Act::Conflict(which, how)),
        3 => (1..=DEVICES).prop_map(Act::Sync),
    ];
    (1..=DEVICES, act)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn conflicts_are_the_same_whatever_the_order_of_arrival(
        acts in prop::collection::vec(act(), 1..30),
        order in prop::collection::vec(1..=DEVICES, 0..60),
    ) {
        let devices = [device(1), device(2), device(3)];
        let mut number = 0;
        for (who, act) in acts {
            let db = &devices[usize::from(who) - 1].db;
            number += 1;
            let version = format!("version {number}");
            let made = match act {
                Act::Put(at, tag) => {
                    let tags: &[&str] = [&[][..], &["x"], &["x", "y"]][tag];
                    Some(change(next(db, &path(PATHS[at]), &version, tags)))
                }
                Act::Remove(at) => removal(db, &path(PATHS[at]), &version),
                Act::Conflict(which, how) => {
                    let all = listed(db, None, true, &[]).unwrap();
                    let mut found = all.iter().map(|at| path(at)).filter(|at| at.as_str().contains("(conflict of"));
                    found.nth(which).and_then(|at| match how {
                        0 => Some(change(next(db, &at, &version, &["y"]))),
                        1 => removal(db, &at, &version),
                        _ => {
                            let versions = vec![db.lookup(&at).unwrap().unwrap().id()];
                            Some(Change::Purge(Purge { versions, created: 1 }))
                        }
                    })
                }
                Act::Sync(from) => {
                    sync(&devices[usize::from(from) - 1].db, db);
                    None
                }
            };
            if let Some(made) = made {
                append(db, who, vec![made]).unwrap();
            }
        }
        for (device, log) in devices.iter().zip(1..) {
            for other in &devices {
                other.db.commit(&log_of(&device.db, log)).unwrap();
            }
        }
        let logs: Vec<Vec<Operation>> = (1..=DEVICES).map(|log| log_of(&devices[0].db, log)).collect();
        // One that gets them one by one, in an order of its own.
        let late = device(9);
        let mut taken = [0; DEVICES as usize];
        for log in order.into_iter().chain((1..=DEVICES).flat_map(|log| [log; 64])) {
            let log = usize::from(log) - 1;
            if let Some(operation) = logs[log].get(taken[log]) {
                late.db.commit(std::slice::from_ref(operation)).unwrap();
                taken[log] += 1;
            }
        }
        let expected = rivals(&logs.concat());
        for catalog in devices.iter().chain([&late]) {
            prop_assert_eq!(shown(&catalog.db).split_last().map(|(_, rest)| rest.to_vec()),
                shown(&devices[0].db).split_last().map(|(_, rest)| rest.to_vec()));
            prop_assert_eq!(conflicts(&catalog.db), expected.clone());
            catalog.db.check().unwrap();
        }
        let totals = |catalog: &Catalog| {
            let totals = catalog.db.totals().unwrap();
            (totals.files, totals.deleted, totals.versions, totals.bytes, totals.version_bytes)
        };
        prop_assert_eq!(totals(&late), totals(&devices[1]));
    }
}
