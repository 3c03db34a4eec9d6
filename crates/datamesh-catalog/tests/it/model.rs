//! The catalog against a map in memory.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_catalog::{AccountDb, ListQuery, Listed, Version};
use datamesh_core::catalog::{Change, Operation};
use proptest::prelude::*;

use crate::fixture::{Catalog, change, delete, path, tagged};

const PATHS: [&str; 9] = ["a", "a/b", "a/b/c", "a/b-c", "a/c", "b", "b/a", "ab", "b/a/a"];
const TAGS: [&str; 3] = ["blue", "green", "red"];

/// All that the catalog should know: every version of every path, in order.
#[derive(Default, Clone)]
pub(crate) struct Model {
    versions: BTreeMap<String, Vec<Change>>,
    log: Vec<Operation>,
}

impl Model {
    pub(crate) fn apply(&mut self, operations: &[Operation]) {
        for operation in operations {
            self.log.push(operation.clone());
            let Some(at) = operation.change.path() else { continue };
            self.versions.entry(at.to_string()).or_default().push(operation.change.clone());
        }
    }

    pub(crate) fn log(&self) -> &[Operation] {
        &self.log
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &String> {
        self.versions.keys()
    }

    pub(crate) fn versions(&self, at: &str) -> &[Change] {
        self.versions.get(at).map_or(&[], Vec::as_slice)
    }

    fn live(&self) -> impl Iterator<Item = (&str, &datamesh_core::catalog::Put)> {
        self.versions.iter().filter_map(|(at, versions)| match versions.last() {
            Some(Change::Put(put)) => Some((at.as_str(), &**put)),
            _ => None,
        })
    }

    /// What a listing shows; implied folders end with a slash.
    pub(crate) fn list(&self, folder: Option<&str>, recursive: bool, tags: &[&str]) -> Vec<String> {
        let below = folder.map_or_else(String::new, |folder| format!("{folder}/"));
        let mut rows = BTreeSet::new();
        for (at, put) in self.live() {
            let Some(rest) = at.strip_prefix(&below) else { continue };
            if !tags.iter().all(|tag| put.tags.iter().any(|held| held == tag)) {
                continue;
            }
            match rest.split_once('/') {
                Some((name, _)) if !recursive => rows.insert(format!("{below}{name}/")),
                _ => rows.insert(at.to_owned()),
            };
        }
        rows.into_iter().collect()
    }

    pub(crate) fn totals(&self) -> (u64, u64, u64, u64, u64) {
        let all = || self.versions.values().flatten();
        let bytes = |change: &Change| match change {
            Change::Put(put) => Some(put.size),
            _ => None,
        };
        (
            self.live().count() as u64,
            self.versions.len() as u64 - self.live().count() as u64,
            all().filter_map(bytes).count() as u64,
            self.live().map(|(_, put)| put.size).sum(),
            all().filter_map(bytes).sum(),
        )
    }
}

/// The change that a version of the catalog says.
pub(crate) fn change_of(version: &Version) -> Change {
    match &version.entry {
        datamesh_catalog::Entry::Put(put) => Change::Put(put.clone()),
        datamesh_catalog::Entry::Delete(delete) => Change::Delete(delete.clone()),
    }
}

/// The rows of a listing as the model writes them.
pub(crate) fn listed(
    db: &AccountDb,
    folder: Option<&str>,
    recursive: bool,
    tags: &[&str],
) -> Result<Vec<String>, datamesh_catalog::CatalogError> {
    let query = ListQuery {
        folder: folder.map(path),
        recursive,
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        ..ListQuery::default()
    };
    let page = db.list(&query)?;
    assert!(page.next.is_none());
    let name = |row: &Listed| match row {
        Listed::Entry(summary) => summary.path.to_string(),
        Listed::Folder(path) => format!("{path}/"),
    };
    Ok(page.rows.iter().map(name).collect())
}

fn compare(db: &AccountDb, model: &Model) {
    for at in PATHS {
        let expected = model.versions(at);
        let versions = db.versions(&path(at), 0, 256).unwrap();
        assert_eq!(versions.iter().map(change_of).collect::<Vec<_>>(), expected, "{at}");
        let current = db.lookup(&path(at)).unwrap();
        assert_eq!(current.as_ref().map(change_of).as_ref(), expected.last(), "{at}");
        assert_eq!(current.map_or(0, |current| current.number), expected.len() as u64);
        for recursive in [false, true] {
            let expected = model.list(Some(at), recursive, &[]);
            assert_eq!(listed(db, Some(at), recursive, &[]).unwrap(), expected, "below {at}");
        }
    }
    for recursive in [false, true] {
        for tags in [&[][..], &["blue"], &["blue", "red"], &["red", "green", "blue"]] {
            let expected = model.list(None, recursive, tags);
            assert_eq!(listed(db, None, recursive, tags).unwrap(), expected, "{tags:?}");
        }
    }
    let totals = db.totals().unwrap();
    let found = (totals.files, totals.deleted, totals.versions, totals.bytes, totals.version_bytes);
    assert_eq!(found, model.totals());
    assert_eq!(db.operations(&db.owner().log, 0, 4096).unwrap(), model.log());
}

#[derive(Debug, Clone)]
enum Act {
    Put(usize, usize, usize),
    Delete(usize),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..PATHS.len(), 0..8usize, 0..50usize).prop_map(|(at, tags, size)| Act::Put(at, tags, size)),
        3 => (0..PATHS.len()).prop_map(Act::Delete),
        1 => Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn answers_like_a_map(acts in prop::collection::vec(prop::collection::vec(act(), 1..6), 1..12)) {
        let mut catalog = Catalog::new();
        let mut model = Model::default();
        let mut number = 0;
        for batch in acts {
            let mut changes = Vec::new();
            let mut reopen = false;
            for act in batch {
                number += 1;
                let version = format!("version {number}");
                match act {
                    Act::Put(at, tags, size) => {
                        let tags: Vec<&str> = TAGS.iter().enumerate()
                            .filter(|(bit, _)| tags >> bit & 1 == 1).map(|(_, tag)| *tag).collect();
                        let mut put = tagged(PATHS[at], &version, &tags);
                        put.size = size as u64;
                        changes.push(change(put));
                    }
                    Act::Delete(at) => changes.push(delete(PATHS[at], &version)),
                    Act::Reopen => reopen = true,
                }
            }
            model.apply(&catalog.append(changes));
            if reopen {
                catalog = catalog.reopened();
            }
            compare(&catalog.db, &model);
        }
        catalog.db.check().unwrap();
    }
}
