//! Databases of every released schema open and are whole.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use datamesh_catalog::{AccountDb, CatalogError, Entry};

use crate::fixture::{Catalog, change, delete, owner, path, put, tagged};

fn testdata() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../testdata/catalog"].iter().collect()
}

/// The catalog that each fixture holds.
fn sample() -> Catalog {
    let catalog = Catalog::new();
    for n in 0..30 {
        let at = format!("folder {}/file {:02}", n % 4, n % 20);
        catalog.append(vec![change(tagged(&at, &format!("version {n}"), &["kept"]))]);
    }
    catalog.append(vec![delete("folder 1/file 01", "marker"), change(put("last", "last"))]);
    catalog
}

/// Version 1. Later versions get a fixture and a test of their own, and this one stays.
#[test]
fn a_catalog_of_schema_1_opens() {
    let fixture = testdata().join("account-1.db");
    let expected = sample();
    if std::env::var_os("DATAMESH_BLESS").is_some() && !fixture.exists() {
        let Catalog { folder, db, .. } = sample();
        drop(db);
        fs::create_dir_all(testdata()).unwrap();
        fs::copy(folder.path().join("catalog.db"), &fixture).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalog.db");
    fs::copy(&fixture, &file).unwrap();
    let db = AccountDb::open(&file, owner(1)).unwrap();
    let log = expected.db.operations(&owner(1).log, 0, 100).unwrap();
    assert_eq!(db.operations(&owner(1).log, 0, 100).unwrap(), log);
    assert_eq!(db.check().unwrap(), expected.db.check().unwrap());
    assert_eq!(db.totals().unwrap(), expected.db.totals().unwrap());
    let marker = db.lookup(&path("folder 1/file 01")).unwrap().unwrap();
    assert!(matches!(marker.entry, Entry::Delete(_)));
    assert_eq!(crate::model::listed(&db, None, true, &["kept"]).unwrap().len(), 19);
}

#[test]
fn a_later_schema_is_refused_and_left_alone() {
    let catalog = sample();
    let Catalog { folder, db, .. } = catalog;
    drop(db);
    let file = folder.path().join("catalog.db");
    let mut bytes = fs::read(&file).unwrap();
    // The schema version, big-endian at offset 60 of the header.
    bytes[60..64].copy_from_slice(&7u32.to_be_bytes());
    fs::write(&file, &bytes).unwrap();
    let opened = AccountDb::open(&file, owner(1));
    assert!(matches!(opened, Err(CatalogError::Newer { found: 7, known: 1 })));
    drop(opened);
    assert_eq!(fs::read(&file).unwrap()[60..64], 7u32.to_be_bytes());
}

#[test]
fn only_the_owner_reads_the_files() {
    let catalog = sample();
    catalog.db.lookup(&path("last")).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(catalog.folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        seen += 1;
    }
    assert!(seen >= 4, "{seen} files");
    let file = catalog.file();
    drop(catalog.db);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    drop(AccountDb::open(&file, owner(1)).unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}
