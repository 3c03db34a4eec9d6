//! A rewrite says where a version's content is, whatever comes first.

use bytes::Bytes;
use datamesh_catalog::AccountDb;
use datamesh_core::catalog::{Change, Content, Operation, Protection, Rewrite};
use datamesh_core::{Scheme, VersionId};

use crate::fixture::{Catalog, certificate, change, id, owner, path, put};

fn rewrite(version: &str, bytes: &[u8]) -> Change {
    Change::Rewrite(Box::new(Rewrite {
        version: VersionId(id(version)),
        created: 5,
        protection: Protection { scheme: Scheme::new(8, 4).unwrap(), degraded: false, margin: 4 },
        key: put("a", version).key,
        content: Content::Manifest(Bytes::copy_from_slice(bytes)),
    }))
}

/// The content of a version, and its scheme.
fn content(db: &AccountDb, at: &str, number: u64) -> (Vec<u8>, String) {
    let version = db.version(&path(at), number).unwrap().unwrap();
    let put = version.put().unwrap();
    (put.content.sealed().to_vec(), put.protection.unwrap().scheme.to_string())
}

#[test]
fn the_content_is_where_the_newest_rewrite_says() {
    let catalog = Catalog::new();
    catalog.append(vec![change(put("a", "one")), change(put("a", "two"))]);
    assert_eq!(catalog.db.rewritten(&[VersionId(id("one"))]).unwrap(), [None]);
    catalog.append(vec![rewrite("one", b"first"), rewrite("one", b"then")]);
    let catalog = catalog.reopened();
    assert_eq!(content(&catalog.db, "a", 1), (b"then".to_vec(), "8+4".to_owned()));
    assert_eq!(content(&catalog.db, "a", 2), (b"two".to_vec(), "4+2".to_owned()));
    let place = catalog.db.rewritten(&[VersionId(id("one"))]).unwrap();
    assert_eq!(place, [Some((owner(1).log, 4))]);
    // Neither the versions nor what they are called is touched.
    assert_eq!(catalog.db.totals().unwrap().versions, 2);
    let summary = catalog.db.summary(&path("a")).unwrap().unwrap();
    assert_eq!((summary.versions, summary.version), (2, VersionId(id("two"))));
    catalog.append(vec![rewrite("two", b"elsewhere")]);
    let summary = catalog.db.summary(&path("a")).unwrap().unwrap();
    assert_eq!(summary.protection.unwrap().scheme.to_string(), "8+4");
    catalog.db.check().unwrap();
}

#[test]
fn logs_may_come_in_any_order() {
    let one = Catalog::of(1);
    let puts = one.append(vec![change(put("a", "one"))]);
    let two = Catalog::of(2);
    two.db.admit(owner(1).log, &certificate(1)).unwrap();
    two.db.commit(&puts).unwrap();
    let by_two = two.append(vec![rewrite("one", b"by two")]);
    let by_one = one.append(vec![rewrite("one", b"by one"), rewrite("one", b"by one again")]);
    let parts: [&[Operation]; 3] = [&puts, &by_one, &by_two];
    let mut seen = Vec::new();
    for order in [[0, 1, 2], [2, 0, 1], [0, 2, 1]] {
        let catalog = Catalog::of(3);
        for seed in [1, 2] {
            catalog.db.admit(owner(seed).log, &certificate(seed)).unwrap();
        }
        for part in order {
            catalog.db.commit(parts[part]).unwrap();
        }
        seen.push(content(&catalog.db, "a", 1));
        catalog.db.check().unwrap();
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}
