//! Contents are told once for each operation, and what is committed on their strength holds.

use datamesh_catalog::{Append, CatalogError, Contents, Unindexed};
use datamesh_core::catalog::Change;
use datamesh_core::{ContentTag, Context, SegmentId, VersionId};

use crate::fixture::{Catalog, certificate, change, delete, id, owner, put, sign};

fn segment(n: u8) -> SegmentId {
    SegmentId([n; 32])
}

/// A version and what is in it.
fn contents(version: &str, tag: u8, segments: &[u8]) -> Contents {
    Contents {
        tags: vec![(ContentTag([tag; 16]), VersionId(id(version)))],
        segments: segments.iter().copied().map(segment).collect(),
    }
}

fn append(catalog: &Catalog, append: Append) -> Result<(), CatalogError> {
    let sign = |body: &[u8]| sign(1, Context::Operation, body);
    catalog.db.append(Append { now: 5, ..append }, sign).map(drop)
}

fn told(at: &str, version: &str, tag: u8, segments: &[u8]) -> Append {
    let contents = Some(contents(version, tag, segments));
    Append { changes: vec![change(put(at, version))], contents, ..Append::default() }
}

#[test]
fn what_an_append_tells_counts_and_what_it_does_not_is_to_be_told() {
    let catalog = Catalog::new();
    append(&catalog, told("a", "one", 1, &[1, 2])).unwrap();
    append(&catalog, told("a", "two", 2, &[2])).unwrap();
    assert_eq!(catalog.db.uses(&[1, 2, 3].map(segment)).unwrap(), Some(vec![1, 2, 0]));
    assert_eq!(catalog.db.having(&ContentTag([1; 16])).unwrap(), Some(VersionId(id("one"))));
    assert_eq!(catalog.db.having(&ContentTag([3; 16])).unwrap(), None);
    // A change of which nobody says what is in it, and one behind it.
    let changes: Vec<Change> = vec![delete("a", "gone")];
    append(&catalog, Append { changes, ..Append::default() }).unwrap();
    append(&catalog, told("a", "three", 1, &[3])).unwrap();
    let catalog = catalog.reopened();
    assert_eq!(catalog.db.uses(&[segment(1)]).unwrap(), None);
    let from = Unindexed { log: owner(1).log, after: 2 };
    assert_eq!(catalog.db.unindexed().unwrap(), [from]);
    catalog.db.index_contents(from, 4, &contents("three", 1, &[3, 1])).unwrap();
    // A second time nothing is counted.
    catalog.db.index_contents(from, 4, &contents("three", 1, &[3, 1])).unwrap();
    assert_eq!(catalog.db.unindexed().unwrap(), []);
    assert_eq!(catalog.db.uses(&[1, 2, 3].map(segment)).unwrap(), Some(vec![2, 2, 1]));
    assert_eq!(catalog.db.having(&ContentTag([1; 16])).unwrap(), Some(VersionId(id("three"))));
    catalog.db.check().unwrap();
}

#[test]
fn a_reference_commits_only_where_its_segment_was_renewed_for_all_that_refer_to_it() {
    let catalog = Catalog::new();
    append(&catalog, told("a", "one", 1, &[1])).unwrap();
    let refers = |version, renewed| Append {
        renewed: vec![(segment(1), renewed)],
        ..told("b", version, 1, &[1])
    };
    append(&catalog, refers("two", 1)).unwrap();
    // Meanwhile there are two.
    let refused = append(&catalog, refers("three", 1));
    assert!(matches!(refused, Err(CatalogError::Referred { segment: s }) if s == segment(1)));
    append(&catalog, refers("three", 2)).unwrap();
    // What another device did is not told yet: it may refer to the segment, too.
    let other = Catalog::of(2);
    let made = other.append(vec![change(put("c", "elsewhere"))]);
    catalog.db.admit(owner(2).log, &certificate(2)).unwrap();
    catalog.db.commit(&made).unwrap();
    let refused = append(&catalog, refers("four", 9));
    assert!(matches!(refused, Err(CatalogError::Referred { .. })));
    let from = Unindexed { log: owner(2).log, after: 0 };
    catalog.db.index_contents(from, 1, &contents("elsewhere", 9, &[1])).unwrap();
    assert!(append(&catalog, refers("four", 3)).is_err());
    append(&catalog, refers("four", 4)).unwrap();
    assert_eq!(catalog.db.uses(&[segment(1)]).unwrap(), Some(vec![5]));
    catalog.db.check().unwrap();
}
