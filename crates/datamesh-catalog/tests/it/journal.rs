use std::fs;

use datamesh_catalog::{
    AccountDb, CatalogError, SEALED_BYTES_MAX, SOURCE_BYTES_MAX, SegmentWritten, SliceDone, Source,
    Transfer,
};
use datamesh_core::{Hash, Scheme, SegmentId};

use crate::fixture::{Catalog, owner, path};

fn source(name: &str) -> Source {
    Source { name: name.to_owned(), size: 1 << 40, modified: 77, identity: [1, 2, 3] }
}

fn transfer(id: u8, name: &str, started: u64) -> Transfer {
    Transfer {
        id: [id; 16],
        source: source(name),
        path: path("backup/disk.img"),
        started,
        scheme: Scheme::EIGHT_FOUR,
    }
}

fn slice(number: u32) -> SliceDone {
    let hash = Hash::of(&number.to_le_bytes());
    SliceDone { number, hash, sealed: vec![number as u8; SEALED_BYTES_MAX] }
}

fn written(segment: u8, acknowledged: u32) -> SegmentWritten {
    SegmentWritten { segment: SegmentId([segment; 32]), acknowledged }
}

#[test]
fn a_transfer_is_found_again_by_its_source_and_path() {
    let catalog = Catalog::new();
    let journal = catalog.db.journal();
    let first = transfer(1, "/data/disk.img", 10);
    journal.begin(&first).unwrap();
    for number in [3, 0, 1, 1] {
        journal.slice(&first.id, &slice(number)).unwrap();
    }
    for (segment, acknowledged) in [(9, 0), (9, 0b101), (9, 0b10), (4, 0)] {
        journal.segment(&first.id, written(segment, acknowledged)).unwrap();
    }
    // Dropped without a word, as a program that is killed.
    let catalog = catalog.reopened();
    let journal = catalog.db.journal();
    assert!(journal.lost().is_none());
    assert_eq!(journal.load(&first.source, &first.path).unwrap(), Some(first.clone()));
    assert_eq!(journal.slices(&first.id, 0, 100).unwrap(), [slice(0), slice(1), slice(3)]);
    assert_eq!(journal.slices(&first.id, 1, 1).unwrap(), [slice(1)]);
    assert_eq!(journal.segments(&first.id, None, 100).unwrap(), [written(4, 0), written(9, 0b111)]);
    let after = Some(SegmentId([4; 32]));
    assert_eq!(journal.segments(&first.id, after, 100).unwrap(), [written(9, 0b111)]);

    let changed = [
        Source { size: 5, ..source("/data/disk.img") },
        Source { modified: 78, ..source("/data/disk.img") },
        Source { identity: [1, 2, 4], ..source("/data/disk.img") },
        source("/data/disk.im"),
    ];
    for changed in changed {
        assert_eq!(journal.load(&changed, &first.path).unwrap(), None);
    }
    assert_eq!(journal.load(&first.source, &path("other")).unwrap(), None);

    let newer = transfer(2, "/data/disk.img", 11);
    journal.begin(&newer).unwrap();
    assert_eq!(journal.load(&first.source, &first.path).unwrap(), Some(newer.clone()));
    assert_eq!(journal.transfers().unwrap(), [first.clone(), newer.clone()]);
    journal.end(&newer.id).unwrap();
    journal.end(&newer.id).unwrap();
    journal.end(&first.id).unwrap();
    assert_eq!(journal.transfers().unwrap(), []);
    assert_eq!(journal.slices(&first.id, 0, 100).unwrap(), []);
    assert_eq!(journal.segments(&first.id, None, 100).unwrap(), []);
}

#[test]
fn what_is_above_its_bound_or_belongs_to_nothing_is_refused() {
    let catalog = Catalog::new();
    let journal = catalog.db.journal();
    let long = transfer(1, &"x".repeat(SOURCE_BYTES_MAX + 1), 1);
    assert!(matches!(journal.begin(&long), Err(CatalogError::TooMany { .. })));
    assert!(matches!(journal.slice(&[1; 16], &slice(0)), Err(CatalogError::NoTransfer { .. })));
    let segment = journal.segment(&[1; 16], written(1, 0));
    assert!(matches!(segment, Err(CatalogError::NoTransfer { .. })));
    journal.begin(&transfer(1, "a", 1)).unwrap();
    let big = SliceDone { sealed: vec![0; SEALED_BYTES_MAX + 1], ..slice(0) };
    assert!(matches!(journal.slice(&[1; 16], &big), Err(CatalogError::TooMany { .. })));
    let far = SliceDone { number: u32::MAX, ..slice(0) };
    assert!(matches!(journal.slice(&[1; 16], &far), Err(CatalogError::TooMany { .. })));
    journal.slice(&[1; 16], &slice(0)).unwrap();
}

#[test]
fn a_damaged_journal_is_begun_anew_and_says_so() {
    let catalog = Catalog::new();
    catalog.db.journal().begin(&transfer(1, "a", 1)).unwrap();
    let Catalog { folder, db, .. } = catalog;
    drop(db);
    let file = folder.path().join("catalog.db.transfers");
    let whole = fs::read(&file).unwrap();
    let mut bytes = whole.clone();
    bytes[..200].fill(0x55);
    for damaged in [bytes, whole[..whole.len() / 2].to_vec(), Vec::new()] {
        fs::write(&file, damaged).unwrap();
        let db = AccountDb::open(&folder.path().join("catalog.db"), owner(1)).unwrap();
        assert!(db.journal().lost().is_some());
        assert_eq!(db.journal().transfers().unwrap(), []);
        db.journal().begin(&transfer(2, "b", 1)).unwrap();
        drop(db);
        let db = AccountDb::open(&folder.path().join("catalog.db"), owner(1)).unwrap();
        assert!(db.journal().lost().is_none());
        assert_eq!(db.journal().transfers().unwrap().len(), 1);
    }
}

#[test]
fn a_changed_row_is_left_out() {
    let catalog = Catalog::new();
    let journal = catalog.db.journal();
    let first = transfer(1, "a", 1);
    journal.begin(&first).unwrap();
    for number in 0..3 {
        journal.slice(&first.id, &slice(number)).unwrap();
    }
    let Catalog { folder, db, .. } = catalog;
    drop(db);
    let file = folder.path().join("catalog.db.transfers");
    let mut bytes = fs::read(&file).unwrap();
    let sealed = [1u8; 100];
    let at = bytes.windows(100).position(|window| window == sealed).unwrap();
    bytes[at + 50] ^= 4;
    fs::write(&file, bytes).unwrap();
    let db = AccountDb::open(&folder.path().join("catalog.db"), owner(1)).unwrap();
    assert!(db.journal().lost().is_none());
    assert_eq!(db.journal().slices(&first.id, 0, 100).unwrap(), [slice(0), slice(2)]);
}
