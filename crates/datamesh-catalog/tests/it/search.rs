//! What is searched for is found, whatever happened to the files before, and nothing else.

use std::collections::BTreeSet;

use datamesh_catalog::{
    AccountDb, CatalogError, FetchedQuery, ListQuery, Listed, Order, SearchDb, SearchQuery, Summary,
};
use datamesh_core::catalog::{Change, Label, Purge, Put};
use datamesh_core::{FileId, VersionId};
use proptest::prelude::*;

use crate::fixture::{Catalog, certificate, change, delete, id, owner, path, tagged};

fn index() -> (tempfile::TempDir, SearchDb) {
    let folder = tempfile::tempdir().unwrap();
    let db = SearchDb::open(&folder.path().join("search.db")).unwrap();
    (folder, db)
}

fn words(words: &str) -> SearchQuery {
    SearchQuery { words: Some(words.to_owned()), limit: 100, ..SearchQuery::default() }
}

fn all() -> SearchQuery {
    SearchQuery { order: Order::Name, limit: 10_000, ..SearchQuery::default() }
}

fn found(db: &SearchDb, query: &SearchQuery) -> Vec<String> {
    db.search(query).unwrap().0.iter().map(ToString::to_string).collect()
}

fn of_size(at: &str, version: &str, size: u64, created: u64) -> Change {
    change(Put { size, created, ..tagged(at, version, &[]) })
}

fn label(version: &str, add: &[&str], note: &str) -> Change {
    Change::Label(Label {
        version: VersionId(id(version)),
        created: 5,
        add: add.iter().map(|&tag| tag.to_owned()).collect(),
        remove: Vec::new(),
        note: Some(note.to_owned()),
    })
}

#[test]
fn words_are_found_in_names_folders_tags_and_notes() {
    let catalog = Catalog::new();
    catalog.append(vec![
        change(tagged("work/Annual_Report-2026.PDF", "1", &["finance"])),
        change(tagged("work/draft report.txt", "2", &["finance", "old stuff"])),
        change(tagged("holidays/été à Paris.jpg", "3", &[])),
        label("3", &["family"], "the annual meeting of all"),
        change(tagged("reports/x", "4", &[])),
    ]);
    let (_folder, db) = index();
    db.catch_up(&catalog.db).unwrap();
    // A name counts more than a note, a note more than a folder.
    assert_eq!(
        found(&db, &words("annual")),
        ["work/Annual_Report-2026.PDF", "holidays/été à Paris.jpg"]
    );
    assert_eq!(found(&db, &words("ANNUAL rep")), ["work/Annual_Report-2026.PDF"]);
    assert_eq!(found(&db, &words("ete paris")), ["holidays/été à Paris.jpg"]);
    assert_eq!(found(&db, &words("fam")), ["holidays/été à Paris.jpg"]);
    assert_eq!(found(&db, &words("\"old stuff\"")), ["work/draft report.txt"]);
    assert_eq!(found(&db, &words("\"stuff old\"")), [] as [&str; 0]);
    assert_eq!(found(&db, &words("report -draft")), ["work/Annual_Report-2026.PDF", "reports/x"]);
    for hostile in ["\"", "*", "a OR", "name:x", "NEAR(a b)", "'; DROP TABLE file", "\0", "-"] {
        match db.search(&words(hostile)) {
            Ok(_) | Err(CatalogError::Search { .. }) => {}
            Err(error) => panic!("{hostile:?}: {error}"),
        }
    }
    let pattern = |pattern: &str| SearchQuery { pattern: Some(pattern.to_owned()), ..all() };
    assert_eq!(found(&db, &pattern(r"\d{4}\.PDF$")), ["work/Annual_Report-2026.PDF"]);
    assert!(matches!(db.search(&pattern("(")), Err(CatalogError::Search { .. })));
    assert!(matches!(db.search(&pattern("(x{1000}){1000}")), Err(CatalogError::Search { .. })));
}

#[test]
fn sizes_dates_extensions_and_tags_narrow_it() {
    let catalog = Catalog::new();
    catalog.append(vec![
        of_size("a.txt", "1", 10, 1000),
        of_size("b/c.TXT", "2", 2000, 3000),
        of_size("b/d.jpg", "3", 5_000_000, 2000),
        of_size("b/.txt", "4", 7, 4000),
        label("2", &["x"], ""),
    ]);
    let (_folder, db) = index();
    db.catch_up(&catalog.db).unwrap();
    let text = SearchQuery { extensions: vec!["txt".to_owned()], ..all() };
    assert_eq!(found(&db, &text), ["a.txt", "b/c.TXT"]);
    assert_eq!(found(&db, &SearchQuery { size: Some(10..=2000), ..all() }), ["a.txt", "b/c.TXT"]);
    assert_eq!(found(&db, &SearchQuery { size: Some(2001..=u64::MAX), ..all() }), ["b/d.jpg"]);
    let stored = SearchQuery { stored: Some(2000..=3000), order: Order::Stored, ..all() };
    assert_eq!(found(&db, &stored), ["b/d.jpg", "b/c.TXT"]);
    let newest = SearchQuery { order: Order::Stored, reverse: true, limit: 2, ..all() };
    assert_eq!(found(&db, &newest), ["b/.txt", "b/c.TXT"]);
    assert!(db.search(&newest).unwrap().1, "there are more");
    for pattern in [None, Some(".".to_owned())] {
        let rest = SearchQuery { pattern, skip: 2, ..newest.clone() };
        assert_eq!(found(&db, &rest), ["b/d.jpg", "a.txt"]);
        assert!(!db.search(&rest).unwrap().1);
    }
    let many = SearchQuery { tags: vec!["x".to_owned(); 600], ..all() };
    assert!(matches!(db.search(&many), Err(CatalogError::Search { .. })));
    let largest = SearchQuery { order: Order::Size, reverse: true, limit: 4, ..all() };
    assert_eq!(found(&db, &largest), ["b/d.jpg", "b/c.TXT", "a.txt", "b/.txt"]);
    assert!(!db.search(&largest).unwrap().1);
    let tag = SearchQuery { tags: vec!["x".to_owned()], folder: Some(path("b")), ..all() };
    assert_eq!(found(&db, &tag), ["b/c.TXT"]);
    assert_eq!(found(&db, &SearchQuery { folder: Some(path("a")), ..all() }), [] as [&str; 0]);
}

#[test]
fn a_damaged_index_is_begun_anew() {
    let catalog = Catalog::new();
    catalog.append(vec![change(tagged("a", "1", &[]))]);
    let (folder, db) = index();
    db.catch_up(&catalog.db).unwrap();
    drop(db);
    let file = folder.path().join("search.db");
    std::fs::write(&file, b"no database at all, but longer than nothing").unwrap();
    let db = SearchDb::open(&file).unwrap();
    assert!(db.rebuilt().is_some());
    db.catch_up(&catalog.db).unwrap();
    assert_eq!(found(&db, &words("a")), ["a"]);
}

#[test]
fn what_was_fetched_most_comes_first() {
    const DAY: u64 = 24 * 3600 * 1000;
    let (_folder, db) = index();
    let file = |name: &str| FileId(id(name));
    let now = 500 * DAY;
    db.note_fetched(&[file("old"), file("old"), file("old")], now - 30 * DAY).unwrap();
    db.note_fetched(&[file("a"), file("b"), file("a")], now - DAY).unwrap();
    db.note_fetched(&[file("b"), file("c")], now).unwrap();
    let since = |days: u64| {
        let query = FetchedQuery { since: now - days * DAY, limit: 10 };
        let fetched = db.fetched(query).unwrap();
        fetched.iter().map(|it| (it.file, it.count, it.last)).collect::<Vec<_>>()
    };
    assert_eq!(
        since(0),
        [(file("b"), 1, now), (file("c"), 1, now)]
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    let week = since(7);
    assert_eq!(week[0], (file("b"), 2, now));
    assert_eq!(week[1], (file("a"), 2, now - DAY));
    assert_eq!(since(60)[0], (file("old"), 3, now - 30 * DAY));
    // After more than a year it is forgotten.
    db.note_fetched(&[file("c")], now + 500 * DAY).unwrap();
    let left = db.fetched(FetchedQuery { since: 0, limit: 10 }).unwrap();
    assert_eq!(left.len(), 1);
}

/// Changes of one device; `mark` tells the versions of devices apart.
fn changes(mark: &'static str) -> impl Strategy<Value = Vec<Change>> {
    let one = (0..8_u8, 0..4_usize, 0..6_usize).prop_map(move |(kind, at, version)| {
        let name = ["a", "b.txt", "c/d.txt", "c/e"][at];
        let version = format!("{mark}{version}");
        (kind, name, version)
    });
    prop::collection::vec(one, 0..24).prop_map(move |all| {
        let mut made = BTreeSet::new();
        let mut last = VersionId([0; 16]);
        let mut changes = Vec::new();
        for (number, (kind, name, version)) in all.into_iter().enumerate() {
            let fresh = format!("{mark}/{number}");
            match kind {
                0..4 => {
                    // Some know of what was there, others do not.
                    let version = if made.insert(version.clone()) { version } else { fresh };
                    let put = Put {
                        replaces: if kind == 0 { last } else { VersionId([0; 16]) },
                        ..tagged(name, &version, &["t"])
                    };
                    last = put.version;
                    changes.push(change(put));
                }
                4 => changes.push(delete(name, &fresh)),
                5 => changes.push(Change::Purge(Purge {
                    versions: vec![VersionId(id(&version))],
                    created: 5,
                })),
                _ => changes.push(label(&version, &["labelled"], "noted")),
            }
        }
        changes
    })
}

fn listed(db: &AccountDb, tags: &[&str]) -> Vec<String> {
    let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
    let query = ListQuery { recursive: true, tags, ..ListQuery::default() };
    let row = |row: &Listed| row.path().to_string();
    db.list(&query).unwrap().rows.iter().map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever two devices do, the index has what the list has, however often it looked meanwhile.
    #[test]
    fn the_index_has_what_the_list_has(
        by_one in changes("one"),
        by_two in changes("two"),
        looks in prop::collection::vec(any::<bool>(), 8),
    ) {
        let one = Catalog::of(1);
        let one: Vec<_> = by_one.into_iter().flat_map(|change| one.append(vec![change])).collect();
        let two = Catalog::of(2);
        let two: Vec<_> = by_two.into_iter().flat_map(|change| two.append(vec![change])).collect();
        let catalog = Catalog::of(3);
        for seed in [1, 2] {
            catalog.db.admit(owner(seed).log, &certificate(seed)).unwrap();
        }
        let (_folder, db) = index();
        let mut parts: Vec<_> = one.chunks(3).zip(std::iter::repeat(1)).collect();
        for (n, part) in two.chunks(3).enumerate() {
            parts.insert((2 * n + 1).min(parts.len()), (part, 2));
        }
        for ((part, _), look) in parts.into_iter().zip(looks.iter().cycle()) {
            catalog.db.commit(part).unwrap();
            if *look {
                db.catch_up(&catalog.db).unwrap();
            }
        }
        db.catch_up(&catalog.db).unwrap();
        prop_assert_eq!(found(&db, &all()), listed(&catalog.db, &[]));
        for tag in ["t", "labelled"] {
            let query = SearchQuery { tags: vec![tag.to_owned()], ..all() };
            prop_assert_eq!(found(&db, &query), listed(&catalog.db, &[tag]));
        }
        let noted: Vec<String> = listed(&catalog.db, &[])
            .into_iter()
            .filter(|at| {
                let summary: Summary = catalog.db.summary(&path(at)).unwrap().unwrap();
                summary.note == "noted"
            })
            .collect();
        let mut by_note = found(&db, &words("noted"));
        by_note.sort();
        prop_assert_eq!(by_note, noted);
    }
}
