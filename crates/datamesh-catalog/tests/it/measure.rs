//! How long things take. Asserts nothing; run by hand:
//! `cargo test -p datamesh-catalog measure -- --ignored --nocapture`.
#![expect(clippy::print_stderr, reason = "figures are for whoever runs this")]

use std::time::Instant;

use datamesh_catalog::{Order, SearchDb, SearchQuery};
use datamesh_core::catalog::Change;

use crate::fixture::{Catalog, append, change, path, put};

fn changes(from: usize, count: usize) -> Vec<Change> {
    (from..from + count)
        .map(|n| change(put(&format!("folder {:04}/file {n:07}", n / 500), &format!("v{n}"))))
        .collect()
}

#[test]
#[ignore = "measures"]
fn measure() {
    let catalog = Catalog::new();
    let made = catalog.append(changes(50_000_000, 1000));
    let start = Instant::now();
    for operation in &made {
        operation.verify(&catalog.db.owner().log_key).unwrap();
    }
    eprintln!("checking a signature: {:.1} µs", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    for operation in &made {
        crate::fixture::sign(1, datamesh_core::Context::Operation, &operation.hash().0);
    }
    eprintln!("making a signature as the tests do: {:.1} µs", start.elapsed().as_secs_f64() * 1e3);
    let journal = catalog.db.journal();
    let start = Instant::now();
    for n in 0..1000u64 {
        let segment = datamesh_core::SegmentId(datamesh_core::Hash::of(&n.to_le_bytes()).0);
        journal.sending(&segment, n).unwrap();
        journal.settled(&[segment]).unwrap();
    }
    eprintln!(
        "naming a segment in the journal and settling it: {:.1} µs",
        start.elapsed().as_secs_f64() * 1e3
    );
    let mut next = 0;
    for (size, calls) in [(1, 200), (100, 50), (1000, 10)] {
        let start = Instant::now();
        for _ in 0..calls {
            catalog.append(changes(next, size));
            next += size;
        }
        let seconds = start.elapsed().as_secs_f64();
        let rate = (size * calls) as f64 / seconds;
        eprintln!(
            "append of {size}: {rate:.0} changes/s, {:.2} ms a call",
            seconds * 1e3 / calls as f64
        );
    }
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let db = &catalog.db;
            scope.spawn(move || {
                for n in 0..100 {
                    append(db, 1, changes(10_000_000 + thread * 1000 + n, 1)).unwrap();
                }
            });
        }
    });
    eprintln!("append of 1 by 8 threads: {:.0} changes/s", 800.0 / start.elapsed().as_secs_f64());
    let start = Instant::now();
    let before = next;
    while next < 120_000 {
        catalog.append(changes(next, 1000));
        next += 1000;
    }
    eprintln!(
        "filling to 120,000 files: {:.0} changes/s",
        (next - before) as f64 / start.elapsed().as_secs_f64()
    );
    let catalog = catalog.reopened();
    let bytes = std::fs::metadata(catalog.file()).unwrap().len();
    eprintln!("{} bytes of database a file", bytes / next as u64);
    let start = Instant::now();
    let catalog = catalog.reopened();
    eprintln!("close and open: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    let lookups = 20_000;
    let start = Instant::now();
    for n in 0..lookups {
        let n = n * 7919 % 15_000;
        let at = format!("folder {:04}/file {n:07}", n / 500);
        assert!(catalog.db.lookup(&path(&at)).unwrap().is_some(), "{at}");
    }
    eprintln!("lookup: {:.1} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(lookups as u32));
    let start = Instant::now();
    for n in 0..lookups {
        assert!(catalog.db.lookup(&path(&format!("folder 0001/none {n}"))).unwrap().is_none());
    }
    eprintln!(
        "lookup of nothing: {:.1} µs",
        start.elapsed().as_secs_f64() * 1e6 / f64::from(lookups as u32)
    );
    let query = datamesh_catalog::ListQuery { recursive: true, ..Default::default() };
    let start = Instant::now();
    let page = catalog.db.list(&query).unwrap();
    eprintln!("page of {} rows: {:.1} ms", page.rows.len(), start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let page = catalog.db.list(&datamesh_catalog::ListQuery::default()).unwrap();
    eprintln!("page of {} folders: {:.1} ms", page.rows.len(), start.elapsed().as_secs_f64() * 1e3);
    searches(&catalog);
    let start = Instant::now();
    let checked = catalog.db.check().unwrap();
    eprintln!("check of {} operations: {:.1} s", checked.operations, start.elapsed().as_secs_f64());
}

fn searches(catalog: &Catalog) {
    let file = catalog.folder.path().join("search.db");
    let start = Instant::now();
    let db = SearchDb::open(&file).unwrap();
    db.catch_up(&catalog.db).unwrap();
    eprintln!("search index of everything: {:.2} s", start.elapsed().as_secs_f64());
    drop(db);
    let bytes = std::fs::metadata(&file).unwrap().len();
    eprintln!("search index: {:.1} MB", bytes as f64 / 1e6);
    let start = Instant::now();
    let db = SearchDb::open(&file).unwrap();
    db.catch_up(&catalog.db).unwrap();
    eprintln!("open, nothing to catch up with: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    let query = SearchQuery { limit: 50, ..SearchQuery::default() };
    let words = |words: &str| SearchQuery { words: Some(words.to_owned()), ..query.clone() };
    let pattern =
        |pattern: &str| SearchQuery { pattern: Some(pattern.to_owned()), ..query.clone() };
    let newest = SearchQuery { order: Order::Stored, reverse: true, ..query.clone() };
    let largest = SearchQuery { order: Order::Size, size: Some(3..=u64::MAX), ..newest.clone() };
    for (what, query) in [
        ("a word that one file has", words("0051234")),
        ("a word that every file has", words("file")),
        ("two words that 500 files have", words("file \"folder 0042\"")),
        ("a pattern that nothing fits", pattern("nowhere$")),
        ("the 50 newest", newest),
        ("the 50 largest", largest),
    ] {
        let start = Instant::now();
        let (found, more) = db.search(&query).unwrap();
        for path in &found {
            catalog.db.summary(path).unwrap().unwrap();
        }
        let ms = start.elapsed().as_secs_f64() * 1e3;
        eprintln!("{what}: {} found, more: {more}, {ms:.1} ms", found.len());
    }
}
