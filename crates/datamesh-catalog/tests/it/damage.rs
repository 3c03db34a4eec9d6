//! Damaged files: the right answer or an error, never a wrong answer.

use std::fs;
use std::path::Path;

use datamesh_catalog::{AccountDb, CatalogError};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::fixture::{Catalog, append, change, delete, owner, path, put, tagged};
use crate::model::{Model, change_of, listed};

/// How a file is damaged.
#[derive(Debug, Clone)]
enum Blow {
    Bit(usize, u8),
    Bytes(usize, Vec<u8>),
    Zero(usize, usize),
    Copy(usize, usize),
    Cut(usize),
}

const PAGE: usize = 4096;

fn blow(length: usize) -> impl Strategy<Value = Blow> {
    let pages = length / PAGE;
    prop_oneof![
        6 => (0..length, 0..8u8).prop_map(|(at, bit)| Blow::Bit(at, bit)),
        // The inside of pages is mostly content; their headers and cell pointers mislead more.
        4 => (0..pages, 0..64usize, 0..8u8).prop_map(|(page, at, bit)| Blow::Bit(page * PAGE + at, bit)),
        3 => (0..length, prop::collection::vec(any::<u8>(), 1..64))
            .prop_map(|(at, bytes)| Blow::Bytes(at, bytes)),
        1 => (0..length, 1..8192usize).prop_map(|(at, count)| Blow::Zero(at, count)),
        2 => (0..pages, 0..pages).prop_map(|(from, to)| Blow::Copy(from, to)),
        1 => (0..length).prop_map(Blow::Cut),
    ]
}

impl Blow {
    fn strike(&self, file: &mut Vec<u8>) {
        match self {
            Self::Bit(at, bit) => file[*at] ^= 1 << bit,
            Self::Bytes(at, bytes) => {
                for (byte, new) in file[*at..].iter_mut().zip(bytes) {
                    *byte = *new;
                }
            }
            Self::Zero(at, count) => file[*at..].iter_mut().take(*count).for_each(|byte| *byte = 0),
            Self::Copy(from, to) => {
                let page = file[from * PAGE..(from + 1) * PAGE].to_vec();
                file[to * PAGE..(to + 1) * PAGE].copy_from_slice(&page);
            }
            Self::Cut(length) => file.truncate(*length),
        }
    }
}

/// A catalog of some hundred operations, closed.
pub(crate) fn sample() -> (tempfile::TempDir, Model) {
    let catalog = Catalog::new();
    let (mut model, mut changes) = (Model::default(), Vec::new());
    for n in 0..180 {
        let at = format!("folder {}/name {:03}", n % 7, n % 90);
        let tags: &[&str] = if n % 3 == 0 { &["blue"] } else { &["green", "red"] };
        changes.push(change(tagged(&at, &format!("version {n}"), tags)));
        if n % 5 == 0 {
            changes.push(delete(&at, &format!("marker {n}")));
        }
        if changes.len() > 20 {
            model.apply(&catalog.append(std::mem::take(&mut changes)));
        }
    }
    model.apply(&catalog.append(changes));
    let Catalog { folder, db, .. } = catalog;
    drop(db);
    assert!(!folder.path().join("catalog.db-wal").exists());
    (folder, model)
}

/// Counts answers and errors; a wrong answer fails the test.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) right: usize,
    pub(crate) refused: usize,
    /// Answers that were wrong, where these are counted and not failures at once.
    pub(crate) wrong: Option<usize>,
    /// What was done to the file.
    pub(crate) context: String,
}

impl Tally {
    fn see<T: PartialEq + std::fmt::Debug>(
        &mut self,
        what: &str,
        found: Result<T, CatalogError>,
        expected: &T,
    ) {
        match found {
            Ok(found) if found != *expected && self.wrong.is_some() => {
                self.wrong = self.wrong.map(|wrong| wrong + 1);
            }
            Ok(found) => {
                assert_eq!(&found, expected, "{what} ({})", self.context);
                self.right += 1;
            }
            Err(_) => self.refused += 1,
        }
    }
}

/// Asks everything; `log` is what the log must hold, at least its first part.
pub(crate) fn ask(db: &AccountDb, model: &Model, tally: &mut Tally) {
    for at in model.paths() {
        let expected = model.versions(at);
        let current = db.lookup(&path(at)).map(|version| version.as_ref().map(change_of));
        tally.see(at, current, &expected.last().cloned());
        let versions = db.versions(&path(at), 0, 256);
        let versions = versions.map(|all| all.iter().map(change_of).collect::<Vec<_>>());
        tally.see(at, versions, &expected.to_vec());
        let second = db.version(&path(at), 2).map(|version| version.as_ref().map(change_of));
        tally.see(at, second, &expected.get(1).cloned());
        for change in expected {
            let id = match change {
                datamesh_core::catalog::Change::Put(put) => put.version,
                datamesh_core::catalog::Change::Delete(delete) => delete.version,
                datamesh_core::catalog::Change::Purge(_)
                | datamesh_core::catalog::Change::Rewrite(_)
                | datamesh_core::catalog::Change::Label(_)
                | datamesh_core::catalog::Change::Pin(_)
                | datamesh_core::catalog::Change::Share(_)
                | datamesh_core::catalog::Change::Unshare(_)
                | datamesh_core::catalog::Change::Unknown { .. } => continue,
            };
            let found = db.version_by_id(&id).map(|version| version.as_ref().map(change_of));
            tally.see(at, found, &Some(change.clone()));
        }
    }
    for absent in ["folder 3", "folder 0/name", "zzz", "A"] {
        tally.see(absent, db.lookup(&path(absent)), &None);
    }
    for (folder, recursive) in [(None, false), (None, true), (Some("folder 3"), false)] {
        for tags in [&[][..], &["blue"], &["red", "green"]] {
            let expected = model.list(folder, recursive, tags);
            tally.see("a listing", listed(db, folder, recursive, tags), &expected);
        }
    }
    let totals = db.totals().map(|t| (t.files, t.deleted, t.versions, t.bytes, t.version_bytes));
    tally.see("the totals", totals, &model.totals());
    tally.see("the log", db.operations(&owner(1).log, 0, 4096), &model.log().to_vec());
}

/// `DATAMESH_DAMAGE_CASES` multiplies the cases for a long run.
fn runner(cases: u32) -> TestRunner {
    let times = std::env::var("DATAMESH_DAMAGE_CASES").map_or(1, |times| times.parse().unwrap());
    let cases = cases * times;
    // The same blows every time: a failure is found again, and a run takes the same time.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[9; 32]);
    TestRunner::new_with_rng(Config { cases, failure_persistence: None, ..Config::default() }, rng)
}

fn strike(folder: &Path, whole: &[u8], blows: &[Blow]) {
    let mut file = whole.to_vec();
    for blow in blows {
        if file.len() == whole.len() {
            blow.strike(&mut file);
        }
    }
    for left in ["catalog.db-wal", "catalog.db-shm"] {
        let _ = fs::remove_file(folder.join(left));
    }
    fs::write(folder.join("catalog.db"), &file).unwrap();
}

#[test]
fn a_damaged_file_never_gives_a_wrong_answer() {
    let (folder, model) = sample();
    let file = folder.path().join("catalog.db");
    let whole = fs::read(&file).unwrap();
    let mut tally = Tally::default();
    ask(&AccountDb::open(&file, owner(1)).unwrap(), &model, &mut tally);
    assert_eq!(tally.refused, 0);
    let cell = std::cell::RefCell::new(Tally::default());
    let strategy = prop::collection::vec(blow(whole.len()), 1..4);
    runner(200)
        .run(&strategy, |blows| {
            strike(folder.path(), &whole, &blows);
            match AccountDb::open(&file, owner(1)) {
                Ok(db) => ask(&db, &model, &mut cell.borrow_mut()),
                Err(_) => cell.borrow_mut().refused += 1,
            }
            Ok(())
        })
        .unwrap();
    let tally = cell.into_inner();
    assert!(tally.right > 1000 && tally.refused > 1000, "{} {}", tally.right, tally.refused);
}

#[test]
fn writing_into_a_damaged_file_never_makes_a_wrong_answer() {
    let (folder, model) = sample();
    let file = folder.path().join("catalog.db");
    let whole = fs::read(&file).unwrap();
    let strategy = prop::collection::vec(blow(whole.len()), 1..3);
    let cell = std::cell::RefCell::new((0usize, 0usize));
    runner(60)
        .run(&strategy, |blows| {
            strike(folder.path(), &whole, &blows);
            let _ = fs::remove_file(folder.path().join("catalog.db.transfers"));
            let Ok(db) = AccountDb::open(&file, owner(1)) else {
                cell.borrow_mut().1 += 1;
                return Ok(());
            };
            let mut model = model.clone();
            for n in 0..8 {
                let at = format!("folder {}/new {n}", n % 3);
                match append(&db, 1, vec![change(put(&at, &format!("new version {n}")))]) {
                    Ok(made) => {
                        cell.borrow_mut().0 += 1;
                        model.apply(&made);
                    }
                    Err(_) => cell.borrow_mut().1 += 1,
                }
            }
            ask(&db, &model, &mut Tally::default());
            drop(db);
            if let Ok(db) = AccountDb::open(&file, owner(1)) {
                ask(&db, &model, &mut Tally::default());
            }
            Ok(())
        })
        .unwrap();
    let (written, refused) = cell.into_inner();
    assert!(written > 100 && refused > 20, "{written} {refused}");
}

#[test]
fn an_empty_or_cut_file_is_not_taken_for_a_fresh_one() {
    let (folder, _) = sample();
    let file = folder.path().join("catalog.db");
    let whole = fs::read(&file).unwrap();
    for length in [0, 1, 100, PAGE, whole.len() - PAGE] {
        fs::write(&file, &whole[..length]).unwrap();
        let opened = AccountDb::open(&file, owner(1));
        assert!(matches!(opened, Err(CatalogError::Damaged(_))), "{length}: {:?}", opened.err());
    }
    fs::write(&file, b"this is a letter to somebody, and no database at all\n".repeat(100))
        .unwrap();
    assert!(matches!(AccountDb::open(&file, owner(1)), Err(CatalogError::Damaged(_))));
}

#[test]
fn no_operation_is_taken_once_damage_was_noticed() {
    let (folder, _) = sample();
    let file = folder.path().join("catalog.db");
    let mut bytes = fs::read(&file).unwrap();
    // Somewhere in the content of an operation: its text occurs there and nowhere else.
    let text = b"version 17";
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[at + 9] ^= 1;
    fs::write(&file, bytes).unwrap();
    let db = AccountDb::open(&file, owner(1)).unwrap();
    append(&db, 1, vec![change(put("before", "before"))]).unwrap();
    assert!(matches!(db.check(), Err(CatalogError::Damaged(_))));
    let refused = append(&db, 1, vec![change(put("after", "after"))]);
    assert!(matches!(refused, Err(CatalogError::Damaged(_))));
    assert!(db.lookup(&path("before")).unwrap().is_some());
}

#[test]
fn acknowledged_operations_that_vanish_with_the_write_ahead_log_are_missed() {
    let catalog = Catalog::new();
    catalog.append(vec![change(put("a", "1"))]);
    let catalog = catalog.reopened();
    catalog.append(vec![change(put("b", "2"))]);
    catalog.append(vec![change(put("c", "3"))]);
    // What a crash leaves, the log damaged in its middle.
    let copy = tempfile::tempdir().unwrap();
    for name in ["catalog.db", "catalog.db-wal", "catalog.db.transfers", "catalog.db.transfers-wal"]
    {
        fs::copy(catalog.folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let wal = copy.path().join("catalog.db-wal");
    let whole = fs::read(&wal).unwrap();
    AccountDb::open(&copy.path().join("catalog.db"), owner(1)).unwrap().check().unwrap();
    fs::copy(catalog.file(), copy.path().join("catalog.db")).unwrap();
    for damage in [whole.len() / 2, 40, whole.len() - 10] {
        let mut bytes = whole.clone();
        bytes[damage] ^= 1;
        fs::write(&wal, bytes).unwrap();
        let _ = fs::remove_file(copy.path().join("catalog.db-shm"));
        fs::copy(catalog.file(), copy.path().join("catalog.db")).unwrap();
        let opened = AccountDb::open(&copy.path().join("catalog.db"), owner(1));
        assert!(matches!(opened, Err(CatalogError::Damaged(_))), "{damage}: {:?}", opened.err());
    }
}

/// What `folder` holds, by name.
fn content(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_catalog_that_is_gone_is_not_begun_anew() {
    let (folder, model) = sample();
    let file = folder.path().join("catalog.db");
    let journal = folder.path().join("catalog.db.transfers");
    let copy = fs::read(&file).unwrap();
    let refused = |what: &str| match AccountDb::open(&file, owner(1)).map(drop) {
        Err(CatalogError::Damaged(damage)) => {
            assert!(damage.reason.contains(what), "{damage}");
            assert!(!file.exists());
        }
        other => panic!("{other:?}"),
    };
    fs::remove_file(&file).unwrap();
    let acknowledged = format!("operation {} was acknowledged", model.log().len());
    // The first refusal must not make the second forget.
    refused(&acknowledged);
    refused(&acknowledged);
    let whole = fs::read(&journal).unwrap();
    for damaged in [&whole[..whole.len() / 2], &[]] {
        fs::write(&journal, damaged).unwrap();
        let before = content(folder.path());
        refused("journal");
        assert_eq!(content(folder.path()), before);
    }
    // Without a journal, what SQLite left says it.
    fs::remove_file(&journal).unwrap();
    for left in ["catalog.db-wal", "catalog.db-shm"] {
        fs::write(folder.path().join(left), b"left").unwrap();
        refused("is left");
        fs::remove_file(folder.path().join(left)).unwrap();
    }
    // A copy brings it back.
    fs::write(&journal, &whole).unwrap();
    fs::write(&file, &copy).unwrap();
    let mut tally = Tally::default();
    ask(&AccountDb::open(&file, owner(1)).unwrap(), &model, &mut tally);
    assert_eq!(tally.refused, 0);
}
