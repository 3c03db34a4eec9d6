//! Writers and readers at once.

use std::sync::atomic::{AtomicBool, Ordering};

use datamesh_catalog::{AccountDb, CatalogError};
use datamesh_core::{Context, VersionId};

use crate::fixture::{Catalog, append, change, id, owner, path, put, sign};

const WRITERS: usize = 8;
const ROUNDS: usize = 40;

#[test]
fn eight_writers_and_eight_readers() {
    let catalog = Catalog::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let db = &catalog.db;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let at = format!("writer {writer}/{:02}", round % 10);
                        let version = format!("{writer}-{round}");
                        let made = append(db, 1, vec![change(put(&at, &version))]).unwrap();
                        assert_eq!(made.len(), 1);
                        // What was acknowledged is seen at once.
                        let found = db.lookup(&path(&at)).unwrap().unwrap();
                        assert_eq!(found.id(), VersionId(id(&version)));
                        if round % 7 == 0 {
                            // Work that fails disturbs nobody.
                            let taken = append(db, 1, vec![change(put("taken", &version))]);
                            assert!(matches!(taken, Err(CatalogError::VersionTaken { .. })));
                        }
                    }
                })
            })
            .collect();
        for _ in 0..8 {
            let (db, done) = (&catalog.db, &done);
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let totals = db.totals().unwrap();
                    assert!(totals.operations >= last);
                    last = totals.operations;
                    let query =
                        datamesh_catalog::ListQuery { recursive: true, ..Default::default() };
                    assert!(db.list(&query).unwrap().rows.len() >= totals.files as usize);
                }
            });
        }
        let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
    });
    assert_eq!(catalog.db.totals().unwrap().operations, (WRITERS * ROUNDS) as u64);
    assert_eq!(catalog.db.lookup(&path("taken")).unwrap(), None);
    assert_eq!(catalog.db.check().unwrap().operations, (WRITERS * ROUNDS) as u64);
}

#[test]
fn a_signer_that_panics_leaves_nothing_and_stops_nobody() {
    let catalog = Catalog::new();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let db = &catalog.db;
            scope.spawn(move || {
                for round in 0..10 {
                    let version = format!("{writer}-{round}");
                    let changes =
                        vec![change(put("a", &version)), change(put("b", &format!("{version} b")))];
                    let append = datamesh_catalog::Append { changes, now: 1, ..Default::default() };
                    let fails = (writer + round) % 3 == 0;
                    let calls = std::cell::Cell::new(0);
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        db.append(append, |body| {
                            calls.set(calls.get() + 1);
                            if fails && calls.get() == 2 {
                                std::panic::resume_unwind(Box::new("the signer is gone"));
                            }
                            sign(1, Context::Operation, body)
                        })
                    }));
                    assert_eq!(result.is_err(), fails);
                }
            });
        }
    });
    let totals = catalog.db.totals().unwrap();
    let whole = (0..4).flat_map(|w| (0..10).map(move |r| w + r)).filter(|n| n % 3 != 0).count();
    assert_eq!(totals.operations, 2 * whole as u64);
    catalog.db.check().unwrap();
}

#[test]
fn two_openings_of_one_file_take_turns() {
    let catalog = Catalog::new();
    let other = AccountDb::open(&catalog.file(), owner(1)).unwrap();
    std::thread::scope(|scope| {
        for (name, db) in [("one", &catalog.db), ("two", &other)] {
            scope.spawn(move || {
                for n in 0..50 {
                    append(db, 1, vec![change(put(name, &format!("{name} {n}")))]).unwrap();
                }
            });
        }
    });
    assert_eq!(other.check().unwrap().operations, 100);
    assert_eq!(catalog.db.tip().unwrap(), other.tip().unwrap());
    assert_eq!(catalog.db.lookup(&path("two")).unwrap().unwrap().number, 50);
}
