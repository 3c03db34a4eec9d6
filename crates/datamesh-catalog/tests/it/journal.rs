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

pub(crate) fn transfer(id: u8, name: &str, started: u64) -> Transfer {
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
    SegmentWritten { segment: SegmentId([segment; 32]), acknowledged, sent: 7 }
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
    journal.end(&newer.id, &[]).unwrap();
    journal.end(&newer.id, &[]).unwrap();
    journal.end(&first.id, &[SegmentId([4; 32])]).unwrap();
    assert_eq!(journal.transfers().unwrap(), []);
    assert_eq!(journal.slices(&first.id, 0, 100).unwrap(), []);
    // The one that no version has is not forgotten.
    let left = journal.orphans(None, 100).unwrap();
    assert_eq!(
        left.iter().map(|o| (o.segment, o.sent)).collect::<Vec<_>>(),
        [(SegmentId([9; 32]), 7)]
    );
    journal.forget(&left).unwrap();
    assert_eq!(journal.orphans(None, 100).unwrap(), []);
    assert_eq!(journal.segments(&first.id, None, 100).unwrap(), []);
}

#[test]
fn a_segment_of_no_transfer_is_an_orphan_once_nothing_answers_for_it() {
    let catalog = Catalog::new();
    let journal = catalog.db.journal();
    let segment = |number: u8| SegmentId([number; 32]);
    let orphans = |journal: &datamesh_catalog::Journal| -> Vec<SegmentId> {
        // By pages of one, so that the cursor is tested too.
        let (mut found, mut last) = (Vec::new(), None);
        while let Some(next) = journal.orphans(last.as_ref(), 1).unwrap().pop() {
            assert_eq!(next.sent, 1000 + u64::from(next.segment.0[0]));
            found.push(next.segment);
            last = Some(next);
        }
        found
    };
    for number in [5, 1, 3, 2] {
        journal.sending(&segment(number), 1000 + u64::from(number)).unwrap();
    }
    assert_eq!(orphans(journal), [], "all are under way");
    journal.settled(&[segment(3)]).unwrap();
    journal.given_up(&segment(2));
    assert_eq!(orphans(journal), [segment(2)]);
    // Segments of a transfer that may be resumed are its own.
    let resumable = transfer(7, "a", 1);
    journal.begin(&resumable).unwrap();
    journal.segment(&resumable.id, written(19, 1)).unwrap();
    let catalog = catalog.reopened();
    let journal = catalog.db.journal();
    assert_eq!(orphans(journal), [segment(1), segment(2), segment(5)]);
    journal.sending(&segment(8), 1008).unwrap();
    let left = journal.orphans(None, 2).unwrap();
    journal.forget(&left).unwrap();
    assert_eq!(orphans(journal), [segment(5)]);
    // What another put of the same source still needs is no orphan when the transfer ends.
    let resumable = transfer(6, "b", 1);
    journal.begin(&resumable).unwrap();
    let sent = SegmentWritten { sent: 1009, ..written(9, 1) };
    journal.segment(&resumable.id, sent).unwrap();
    journal.hold(&segment(9));
    journal.hold(&segment(9));
    journal.end(&resumable.id, &[]).unwrap();
    journal.given_up(&segment(9));
    assert_eq!(orphans(journal), [segment(5)]);
    journal.given_up(&segment(9));
    assert_eq!(orphans(journal), [segment(5), segment(9)]);
}

#[test]
fn segments_of_no_transfer_are_bounded() {
    let catalog = Catalog::new();
    let journal = catalog.db.journal();
    let segment = |number: u64| SegmentId(Hash::of(&number.to_le_bytes()).0);
    for number in 0..datamesh_catalog::SENT_MAX {
        journal.sending(&segment(number), number).unwrap();
    }
    let above = journal.sending(&segment(u64::MAX), 0);
    assert!(matches!(above, Err(CatalogError::TooMany { .. })));
    // Rows of an earlier run count too.
    let catalog = catalog.reopened();
    let journal = catalog.db.journal();
    assert!(matches!(journal.sending(&segment(u64::MAX), 0), Err(CatalogError::TooMany { .. })));
    journal.forget(&journal.orphans(None, 10).unwrap()).unwrap();
    journal.sending(&segment(u64::MAX), 0).unwrap();
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
