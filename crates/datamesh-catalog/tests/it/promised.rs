//! Renewals that are promised with operations.

use datamesh_catalog::Append;
use datamesh_core::{Context, LogId, SegmentId};

use crate::fixture::{Catalog, certificate, change, put, sign};

fn refer(catalog: &Catalog, name: &str, segments: &[u8]) {
    let append = Append {
        changes: vec![change(put(name, name))],
        renew_published: segments.iter().map(|n| SegmentId([*n; 32])).collect(),
        ..Append::default()
    };
    catalog.db.append(append, |body| sign(1, Context::Operation, body)).unwrap();
}

fn promised(catalog: &Catalog, published: u64) -> Vec<u8> {
    catalog.db.promised(published).unwrap().iter().map(|segment| segment.0[0]).collect()
}

#[test]
fn a_promise_is_due_when_its_operation_is_published_and_goes_when_it_is_kept() {
    let catalog = Catalog::new();
    refer(&catalog, "a", &[1, 2]);
    refer(&catalog, "b", &[2, 3]);
    assert!(promised(&catalog, 0).is_empty());
    assert_eq!(promised(&catalog, 1), [1]);
    assert_eq!(promised(&catalog, 2), [1, 2, 3]);
    // One that a later operation made anew stays.
    let (one, two) = (SegmentId([1; 32]), SegmentId([2; 32]));
    catalog.db.keep_promises(&[one, two], 1).unwrap();
    let catalog = catalog.reopened();
    assert_eq!(promised(&catalog, 2), [2, 3]);
    catalog.db.check().unwrap();
}

#[test]
fn what_an_earlier_log_of_the_device_promised_is_due() {
    let catalog = Catalog::new();
    refer(&catalog, "a", &[1]);
    catalog.db.take_log(LogId([8; 16])).unwrap();
    assert_eq!(promised(&catalog, 0), [1]);
    catalog.db.keep_promises(&[SegmentId([1; 32])], 0).unwrap();
    assert!(promised(&catalog, 9).is_empty());
}

/// What a revoked device wrote goes, and every row is derived anew; a promise follows from none.
#[test]
fn a_promise_outlives_what_a_revoked_device_wrote() {
    let (here, there) = (Catalog::of(1), Catalog::of(2));
    refer(&here, "a", &[1]);
    let made = there.append(vec![change(put("b", "b")), change(put("c", "c"))]);
    here.db.admit(LogId([2; 16]), &certificate(2)).unwrap();
    assert_eq!(here.db.commit(&made).unwrap(), 2);
    here.db.keep_epochs(b"a record", &[(LogId([2; 16]), 1)]).unwrap();
    assert_eq!(here.db.check().unwrap().operations, 2);
    assert_eq!(promised(&here, 1), [1]);
}
