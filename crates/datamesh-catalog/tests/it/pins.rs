//! Pins of files: the newest counts, whatever comes first, and the end of one too.

use datamesh_catalog::AccountDb;
use datamesh_core::FileId;
use datamesh_core::catalog::{Change, Operation, Pin};

use crate::fixture::{Catalog, certificate, change, delete, owner, path, put};

fn file(at: &str) -> FileId {
    put(at, "any").file
}

fn pin(at: &str, priority: u8, until: u64) -> Change {
    Change::Pin(Pin { file: file(at), created: 5, priority, until })
}

/// Paths and priorities at a time.
fn pinned(db: &AccountDb, now: u64) -> Vec<(String, u8)> {
    let pins = db.pins().unwrap();
    for pin in &pins {
        assert_eq!(db.pin_of(pin.file).unwrap().as_ref(), Some(pin));
    }
    let pins = pins.iter().filter(|pin| pin.priority(now) > 0);
    let mut found: Vec<_> = pins
        .map(|pin| (pin.path.as_ref().map(ToString::to_string).unwrap_or_default(), pin.priority))
        .collect();
    found.sort();
    found
}

#[test]
fn the_newest_pin_counts_until_it_ends() {
    let catalog = Catalog::new();
    catalog.append(vec![change(put("a", "one")), change(put("b", "two"))]);
    assert_eq!(pinned(&catalog.db, 1), []);
    catalog.append(vec![pin("a", 3, 0), pin("b", 9, 100), pin("a", 4, 0)]);
    let catalog = catalog.reopened();
    assert_eq!(pinned(&catalog.db, 99), [("a".to_owned(), 4), ("b".to_owned(), 9)]);
    assert_eq!(pinned(&catalog.db, 100), [("a".to_owned(), 4)]);
    let ends = catalog.db.pin_of(file("b")).unwrap().unwrap();
    assert!(ends.epoch(100) >= ends.epoch(99), "what holders are told never goes back");
    catalog.append(vec![pin("a", 0, 0), delete("b", "gone")]);
    assert_eq!(pinned(&catalog.db, 100), []);
    let gone = catalog.db.pin_of(file("b")).unwrap().unwrap();
    assert!(!gone.current && gone.path == Some(path("b")));
    let taken = catalog.db.pin_of(file("a")).unwrap().unwrap();
    assert!(taken.current && taken.priority(1) == 0 && taken.epoch(1) == taken.clock);
    catalog.db.check().unwrap();
}

#[test]
fn logs_may_come_in_any_order() {
    let one = Catalog::of(1);
    let puts = one.append(vec![change(put("a", "one"))]);
    let two = Catalog::of(2);
    let by_one = one.append(vec![pin("a", 1, 0), pin("a", 2, 0)]);
    let by_two = two.append(vec![pin("a", 3, 0), pin("a", 0, 0), pin("a", 7, 0)]);
    let parts: [&[Operation]; 3] = [&puts, &by_one, &by_two];
    let mut seen = Vec::new();
    for order in [[0, 1, 2], [2, 0, 1], [0, 2, 1]] {
        let catalog = Catalog::of(3);
        for seed in [1, 2] {
            catalog.db.admit(owner(seed).log, &certificate(seed)).unwrap();
        }
        for part in order {
            catalog.db.commit(parts[part]).unwrap();
        }
        catalog.db.check().unwrap();
        seen.push(pinned(&catalog.db, 1));
    }
    assert_eq!(seen[0].len(), 1);
    assert!(seen.iter().all(|other| *other == seen[0]), "{seen:?}");
}
