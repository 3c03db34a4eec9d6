//! Versions that are given up.

use datamesh_core::VersionId;
use datamesh_core::catalog::{Change, Purge};

use crate::fixture::{Catalog, certificate, change, delete, id, owner, path, put};

fn purge(versions: &[&str]) -> Change {
    let mut versions: Vec<VersionId> = versions.iter().map(|name| VersionId(id(name))).collect();
    versions.sort_unstable();
    Change::Purge(Purge { versions, created: 9 })
}

#[test]
fn a_purged_version_is_known_as_such_and_counts_no_more() {
    let catalog = Catalog::new();
    catalog.append(vec![change(put("a", "one")), change(put("a", "second"))]);
    catalog.append(vec![change(put("b", "other")), delete("b", "marker")]);
    let before = catalog.db.totals().unwrap();
    assert_eq!((before.versions, before.version_bytes), (3, 14));
    catalog.append(vec![purge(&["one"]), purge(&["one", "other"])]);
    let catalog = catalog.reopened();
    let purged = |at: &str| -> Vec<bool> {
        catalog.db.versions(&path(at), 0, 9).unwrap().iter().map(|v| v.purged).collect()
    };
    assert_eq!(purged("a"), [true, false]);
    assert_eq!(purged("b"), [true, false]);
    let ids = ["second", "other", "unheard of"].map(|name| VersionId(id(name)));
    assert_eq!(catalog.db.purged(&ids).unwrap(), [false, true, false]);
    let first = catalog.db.version_by_id(&VersionId(id("one"))).unwrap().unwrap();
    assert!(first.purged && first.number == 1);
    let after = catalog.db.totals().unwrap();
    assert_eq!((after.versions, after.version_bytes, after.files), (1, 6, 1));
    catalog.db.check().unwrap();
}

#[test]
fn a_purge_may_arrive_before_what_it_purges() {
    let (one, two) = (Catalog::of(1), Catalog::of(2));
    let puts = one.append(vec![change(put("a", "one")), change(put("a", "second"))]);
    two.db.admit(owner(1).log, &certificate(1)).unwrap();
    two.db.commit(&puts).unwrap();
    let purges = two.append(vec![purge(&["one"])]);
    let totals = two.db.totals().unwrap();
    let late = Catalog::of(3);
    for seed in [1, 2] {
        late.db.admit(owner(seed).log, &certificate(seed)).unwrap();
    }
    late.db.commit(&purges).unwrap();
    assert_eq!(late.db.purged(&[VersionId(id("one"))]).unwrap(), [true]);
    late.db.commit(&puts).unwrap();
    let seen = late.db.totals().unwrap();
    assert_eq!((seen.versions, seen.version_bytes), (totals.versions, totals.version_bytes));
    assert!(late.db.versions(&path("a"), 0, 9).unwrap()[0].purged);
    late.db.check().unwrap();
}
