use datamesh_catalog::{Cursor, ListQuery, Listed, Page};
use datamesh_core::catalog::{Change, EntryKind, Put};

use crate::fixture::{Catalog, change, delete, path, put, tagged};

fn names(page: &Page) -> Vec<String> {
    page.rows
        .iter()
        .map(|row| match row {
            Listed::Entry(summary) => summary.path.to_string(),
            Listed::Folder(path) => format!("{path}/"),
        })
        .collect()
}

/// All pages of a query in pages of `limit`, the cursors as bytes in between.
fn all(catalog: &Catalog, query: &ListQuery, limit: usize) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let query = ListQuery { limit: Some(limit), after, ..query.clone() };
        let page = catalog.db.list(&query).unwrap();
        assert!(page.rows.len() <= limit);
        found.extend(names(&page));
        match page.next {
            Some(cursor) => after = Some(Cursor::from_bytes(cursor.as_bytes()).unwrap()),
            None => return found,
        }
    }
}

#[test]
fn a_folder_shows_its_files_and_folders_once() {
    let catalog = Catalog::new();
    let folder = |at: &str| change(Put { kind: EntryKind::Folder, ..put(at, at) });
    catalog.append(vec![
        change(put("a/x", "1")),
        change(put("a/y/1", "2")),
        change(put("a/y/2", "3")),
        change(put("a/y-z", "4")),
        change(put("a/y", "5")),
        folder("a/e"),
        folder("a/w"),
        change(put("a/w/1", "6")),
        change(put("a/gone/1", "7")),
        delete("a/gone/1", "8"),
        change(put("ab", "9")),
        change(put("a0/é", "10")),
    ]);
    let query = |folder: Option<&str>, recursive| ListQuery {
        folder: folder.map(path),
        recursive,
        ..ListQuery::default()
    };
    for limit in [1, 2, 3, 100] {
        assert_eq!(all(&catalog, &query(None, false), limit), ["a/", "a0/", "ab"]);
        assert_eq!(
            all(&catalog, &query(Some("a"), false), limit),
            ["a/e", "a/w", "a/x", "a/y", "a/y-z", "a/y/"]
        );
        assert_eq!(
            all(&catalog, &query(Some("a"), true), limit),
            ["a/e", "a/w", "a/w/1", "a/x", "a/y", "a/y-z", "a/y/1", "a/y/2"]
        );
        assert_eq!(all(&catalog, &query(Some("a/y"), false), limit), ["a/y/1", "a/y/2"]);
        assert!(all(&catalog, &query(Some("a/gone"), false), limit).is_empty());
        assert_eq!(all(&catalog, &query(None, true), limit).len(), 10);
    }
    let none = ListQuery { limit: Some(0), ..ListQuery::default() };
    assert!(catalog.db.list(&none).unwrap().rows.is_empty());
    let deleted = catalog.db.deleted(None, 10).unwrap();
    assert_eq!(deleted.iter().map(|d| d.path.to_string()).collect::<Vec<_>>(), ["a/gone/1"]);
    assert!(catalog.db.deleted(Some(&path("a/gone/1")), 10).unwrap().is_empty());
}

#[test]
fn tags_select_files_that_have_them_all() {
    let catalog = Catalog::new();
    catalog.append(vec![
        change(tagged("p/a", "1", &["blue", "red"])),
        change(tagged("p/b", "2", &["blue"])),
        change(tagged("p/q/c", "3", &["blue", "red"])),
        change(tagged("d", "4", &["red"])),
        change(tagged("e", "5", &["blu"])),
    ]);
    let query = |tags: &[&str], recursive| ListQuery {
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        recursive,
        ..ListQuery::default()
    };
    for limit in [1, 100] {
        assert_eq!(all(&catalog, &query(&["blue"], true), limit), ["p/a", "p/b", "p/q/c"]);
        assert_eq!(all(&catalog, &query(&["blue", "red"], true), limit), ["p/a", "p/q/c"]);
        assert_eq!(all(&catalog, &query(&["red"], false), limit), ["d", "p/"]);
        let below = ListQuery { folder: Some(path("p")), ..query(&["blue", "red"], false) };
        assert_eq!(all(&catalog, &below, limit), ["p/a", "p/q/"]);
        assert!(all(&catalog, &query(&["green"], true), limit).is_empty());
    }
    catalog.append(vec![change(tagged("p/a", "6", &["red"])), delete("p/q/c", "7")]);
    assert_eq!(all(&catalog, &query(&["blue"], true), 100), ["p/b"]);
    assert_eq!(all(&catalog, &query(&["red"], true), 100), ["d", "p/a"]);
    catalog.db.check().unwrap();
}

#[test]
fn ten_thousand_files_come_in_pages_or_in_one() {
    let catalog = Catalog::new();
    let name = |n: usize| format!("photos/{:03}/{n:05}.jpg", n / 100);
    for start in (0..10_000).step_by(2500) {
        let changes: Vec<Change> =
            (start..start + 2500).map(|n| change(put(&name(n), &format!("v{n}")))).collect();
        catalog.append(changes);
    }
    let expected: Vec<String> = (0..10_000).map(name).collect();
    let query = ListQuery { recursive: true, ..ListQuery::default() };
    assert_eq!(all(&catalog, &query, 10_000), expected);
    assert_eq!(all(&catalog, &query, 333), expected);
    let below = ListQuery { folder: Some(path("photos")), ..ListQuery::default() };
    let folders: Vec<String> = (0..100).map(|n| format!("photos/{n:03}/")).collect();
    assert_eq!(all(&catalog, &below, 7), folders);
    assert_eq!(catalog.db.totals().unwrap().files, 10_000);
}
