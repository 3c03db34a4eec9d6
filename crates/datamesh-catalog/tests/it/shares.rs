//! Shares follow their file, end for good, and are the same whatever comes first.

use datamesh_catalog::SharedFile;
use datamesh_core::catalog::{Change, Operation, Purge};
use datamesh_core::share::Unshare;
use datamesh_core::{FileId, VersionId};
use proptest::prelude::*;

use crate::fixture::{Catalog, certificate, change, delete, id, owner, path, public, put, share};

fn unshare(seed: u8) -> Change {
    Change::Unshare(Unshare { share: public(seed), created: 6 })
}

/// The version and the name that a share of what was first at `a` shows.
fn shown(catalog: &Catalog) -> Option<(VersionId, String)> {
    match catalog.db.shared_file(&FileId(id("a"))).unwrap() {
        SharedFile::Is(put, path) => Some((put.version, path.to_string())),
        SharedFile::Deleted => None,
        SharedFile::Unknown => panic!("not known"),
    }
}

#[test]
fn a_share_shows_the_newest_version_under_the_name_of_now() {
    let catalog = Catalog::new();
    catalog.append(vec![change(put("a", "one")), share(7, "a")]);
    let version = |name: &str| VersionId(id(name));
    assert_eq!(shown(&catalog), Some((version("one"), "a".to_owned())));
    catalog.append(vec![change(put("a", "two"))]);
    assert_eq!(shown(&catalog), Some((version("two"), "a".to_owned())));
    // Renamed: the old name goes, the file is elsewhere.
    let mut moved = put("b", "three");
    moved.file = FileId(id("a"));
    catalog.append(vec![change(moved), delete("a", "gone")]);
    let catalog = catalog.reopened();
    assert_eq!(shown(&catalog), Some((version("three"), "b".to_owned())));
    // What comes to the old name is another file.
    assert_eq!(catalog.db.file_at(&path("a")).unwrap(), None);
    assert_eq!(catalog.db.file_at(&path("b")).unwrap(), Some(FileId(id("a"))));
    // Another file takes the name: what is shared stays what it was.
    catalog.append(vec![change(put("b", "foreign"))]);
    assert_eq!(shown(&catalog), Some((version("three"), "b".to_owned())));
    catalog.append(vec![Change::Purge(Purge { versions: vec![version("three")], created: 9 })]);
    assert_eq!(shown(&catalog), None);
    let unknown = catalog.db.shared_file(&FileId([9; 16])).unwrap();
    assert_eq!(unknown, SharedFile::Unknown);
    catalog.db.check().unwrap();
}

#[test]
fn a_deleted_file_is_shown_to_nobody() {
    let catalog = Catalog::new();
    catalog.append(vec![change(put("a", "one")), share(7, "a")]);
    catalog.append(vec![delete("a", "gone")]);
    assert_eq!(shown(&catalog), None);
    // What comes to its name is the same file, whose shares have ended.
    assert_eq!(catalog.db.file_at(&path("a")).unwrap(), Some(FileId(id("a"))));
}

#[test]
fn shares_are_listed_page_by_page_with_what_was_published() {
    let catalog = Catalog::new();
    catalog.append((1..=9).map(|n| share(n, "a")).collect());
    catalog.append(vec![unshare(4)]);
    catalog.db.note_share(&public(5), [3; 16]).unwrap();
    catalog.db.note_share(&public(5), [4; 16]).unwrap();
    let catalog = catalog.reopened();
    let mut all = Vec::new();
    loop {
        let after = all.last().map(|known: &datamesh_catalog::KnownShare| known.share.share);
        let page = catalog.db.shares(after.as_ref(), 2).unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        all.extend(page);
    }
    let mut keys: Vec<_> = (1..=9).map(public).collect();
    keys.sort();
    assert_eq!(all.iter().map(|known| known.share.share).collect::<Vec<_>>(), keys);
    for known in &all {
        let key = known.share.share;
        assert_eq!(known.ended, key == public(4));
        assert_eq!(known.told, (key == public(5)).then_some([4; 16]));
        assert_eq!(catalog.db.share(&key).unwrap().as_ref(), Some(known));
    }
    assert_eq!(catalog.db.share(&public(10)).unwrap(), None);
    assert!(catalog.db.shares(None, 0).unwrap().is_empty());
    // What a revoked device wrote goes; what was published stays known.
    catalog.db.keep_epochs(b"a record", &[]).unwrap();
    assert_eq!(catalog.db.share(&public(5)).unwrap().unwrap().told, Some([4; 16]));
    catalog.db.check().unwrap();
}

/// Operations of three devices on two shares.
fn logs() -> Vec<Vec<Operation>> {
    let log = |seed, changes| Catalog::of(seed).append(changes);
    vec![
        log(1, vec![change(put("a", "one")), share(7, "a"), unshare(8)]),
        log(2, vec![share(8, "a"), share(9, "a")]),
        log(3, vec![unshare(7), unshare(6)]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn shares_are_the_same_whatever_comes_first(order in Just(vec![0usize, 1, 2]).prop_shuffle()) {
        let logs = logs();
        let catalog = Catalog::of(99);
        for at in order {
            let seed = at as u8 + 1;
            catalog.db.admit(owner(seed).log, &certificate(seed)).unwrap();
            catalog.db.commit(&logs[at]).unwrap();
        }
        let ended = |seed| catalog.db.share(&public(seed)).unwrap().map(|known| known.ended);
        prop_assert_eq!([6, 7, 8, 9].map(ended), [None, Some(true), Some(true), Some(false)]);
        prop_assert!(catalog.db.lookup(&path("a")).unwrap().is_some());
        catalog.db.check().unwrap();
    }
}
