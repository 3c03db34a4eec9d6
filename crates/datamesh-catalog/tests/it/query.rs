use datamesh_catalog::{CatalogError, Entry, Named, Totals};
use datamesh_core::catalog::{EntryKind, Put};
use datamesh_core::{FileId, VersionId};

use crate::fixture::{Catalog, change, delete, id, path, put, tagged};

#[test]
fn versions_are_numbered_and_a_deleted_path_keeps_them() {
    let catalog = Catalog::new();
    catalog.append(vec![change(put("a", "one")), change(put("ab", "x")), change(put("a", "two"))]);
    catalog.append(vec![delete("a", "gone")]);
    let marker = catalog.db.lookup(&path("a")).unwrap().unwrap();
    assert!(matches!(marker.entry, Entry::Delete(_)));
    assert_eq!((marker.number, marker.id()), (3, VersionId(id("gone"))));
    assert_eq!(
        catalog.db.current_at(&path("a")).unwrap().map(|(file, _)| file),
        Some(FileId(id("a")))
    );
    catalog.append(vec![change(put("a", "four"))]);
    let versions = catalog.db.versions(&path("a"), 0, 100).unwrap();
    assert_eq!(versions.iter().map(|v| v.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(versions[0].put(), Some(&put("a", "one")));
    assert_eq!(versions[3].put(), Some(&put("a", "four")));
    assert_eq!(catalog.db.versions(&path("a"), 2, 1).unwrap(), versions[2..3]);
    assert_eq!(catalog.db.versions(&path("a"), 4, 1).unwrap(), []);
    assert_eq!(catalog.db.version(&path("a"), 2).unwrap().as_ref(), Some(&versions[1]));
    assert_eq!(catalog.db.version(&path("a"), 0).unwrap(), None);
    assert_eq!(catalog.db.version(&path("a"), 5).unwrap(), None);
    assert_eq!(catalog.db.version(&path("none"), 1).unwrap(), None);
    for version in &versions {
        assert_eq!(catalog.db.version_by_id(&version.id()).unwrap().as_ref(), Some(version));
    }
    assert_eq!(catalog.db.version_by_id(&VersionId([9; 16])).unwrap(), None);
    assert_eq!(catalog.db.lookup(&path("a")).unwrap().as_ref(), Some(&versions[3]));
    assert_eq!(catalog.db.lookup(&path("a/b")).unwrap(), None);
}

#[test]
fn totals_count_what_is_there() {
    let catalog = Catalog::new();
    assert_eq!(catalog.db.totals().unwrap(), Totals::default());
    let folder = Put { kind: EntryKind::Folder, size: 0, ..put("dir", "dir") };
    catalog.append(vec![
        change(folder),
        change(put("a", "12345")),
        change(put("a", "123")),
        change(put("b", "1234567")),
        delete("b", "gone"),
    ]);
    let expected = Totals {
        files: 1,
        folders: 1,
        deleted: 1,
        versions: 4,
        bytes: 3,
        version_bytes: 15,
        operations: 5,
        owed: 0,
    };
    assert_eq!(catalog.db.totals().unwrap(), expected);
    catalog.append(vec![delete("dir", "d"), delete("never", "n"), change(put("b", "1"))]);
    let totals = catalog.reopened().db.totals().unwrap();
    assert_eq!((totals.files, totals.folders, totals.deleted, totals.bytes), (2, 0, 2, 4));
}

#[test]
fn names_stand_for_paths_before_ids() {
    let catalog = Catalog::new();
    let mut first = put("docs/a", "1");
    (first.file, first.version) = (FileId([0xab; 16]), VersionId([0xcd; 16]));
    let mut second = put("docs/b", "2");
    (second.file, second.version) = (FileId([0xab; 16]), VersionId([0xce; 16]));
    second.file.0[15] = 0;
    let mut third = put("cdcdcdcd", "3");
    third.version = VersionId([0xef; 16]);
    let mut fourth = put("docs/d", "4");
    fourth.file = FileId([0xee; 16]);
    let below = put("eeeeeeee/below", "5");
    catalog.append(vec![change(first), change(second), change(third), change(fourth)]);
    catalog.append(vec![change(below)]);
    let resolve = |name: &str| catalog.db.resolve(name);
    assert_eq!(resolve("docs/a").unwrap(), Some(Named::Path(path("docs/a"))));
    assert_eq!(resolve("cdcdcdcd").unwrap(), Some(Named::Path(path("cdcdcdcd"))));
    let version = |byte, at| Some(Named::Version(VersionId([byte; 16]), path(at)));
    assert_eq!(resolve("cdcdcdcdc").unwrap(), version(0xcd, "docs/a"));
    assert_eq!(resolve("CECECECE").unwrap(), version(0xce, "docs/b"));
    assert_eq!(resolve(&"cd".repeat(16)).unwrap(), version(0xcd, "docs/a"));
    assert_eq!(resolve("cdcdcdcc").unwrap(), None);
    assert_eq!(resolve("cececec").unwrap(), None);
    assert_eq!(resolve("").unwrap(), None);
    assert_eq!(resolve(&"cd".repeat(17)).unwrap(), None);
    assert!(matches!(resolve("abababab"), Err(CatalogError::Ambiguous { .. })));
    // Whoever names a folder does not mean a file whose id begins alike.
    assert_eq!(resolve("eeeeeeee").unwrap(), None);
    let file = Some(Named::File(FileId([0xee; 16]), path("docs/d")));
    assert_eq!(resolve("eeeeeeeee").unwrap(), file);
    let whole = "ab".repeat(16);
    assert_eq!(resolve(&whole).unwrap(), Some(Named::File(FileId([0xab; 16]), path("docs/a"))));
}

#[test]
fn a_file_that_moves_is_found_at_its_newest_path() {
    let catalog = Catalog::new();
    let moved = Put { file: FileId(id("old")), ..put("new", "2") };
    catalog.append(vec![change(tagged("old", "1", &["t"])), change(moved), delete("old", "3")]);
    let name = FileId(id("old")).to_string();
    // The delete marker at the old path is newer, and the file is not there any more.
    assert_eq!(
        catalog.db.resolve(&name).unwrap(),
        Some(Named::File(FileId(id("old")), path("new")))
    );
    assert_eq!(catalog.db.lookup(&path("new")).unwrap().unwrap().number, 1);
}
