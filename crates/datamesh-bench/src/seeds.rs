//! The long forms of tests that follow seeds: as many as wished, a batch at a time, going on where
//! an earlier run ended.
//!
//! Each batch is the test itself with a first seed and a count. What ran is kept in a file beside
//! the folder of the run, so that a run that was ended loses one batch. A batch that fails is named
//! with the command that does it again, counts as failed, and the run goes on.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::report::{Report, Row};

/// A test that takes a first seed and a count from its environment.
pub(crate) struct Seeded {
    /// What the run is called.
    pub(crate) name: &'static str,
    package: &'static str,
    test: &'static str,
    first: &'static str,
    count: &'static str,
    /// Seeds of one batch: some minutes of work.
    batch: u64,
}

/// Whole meshes in which everything goes wrong.
pub(crate) const SEEDS: Seeded = Seeded {
    name: "seeds",
    package: "datamesh-client",
    test: "chaos::everything_goes_wrong_at_once_and_nothing_is_lost",
    first: "DATAMESH_FIRST_SEED",
    count: "DATAMESH_SEEDS",
    batch: 100,
};

/// Owners, collectors and repairers around one segment.
pub(crate) const INTERLEAVINGS: Seeded = Seeded {
    name: "interleavings",
    package: "datamesh-store",
    test: "interleavings::in_any_order_nothing_live_is_removed_and_nothing_dead_comes_back",
    first: "DATAMESH_FIRST_INTERLEAVING",
    count: "DATAMESH_INTERLEAVINGS",
    batch: 10_000,
};

/// What ran so far.
#[derive(Default)]
struct Done {
    /// The next seed.
    next: u64,
    /// First seeds of batches that failed.
    failed: Vec<u64>,
}

impl Done {
    fn read(file: &Path) -> Self {
        let Ok(text) = fs::read(file) else { return Self::default() };
        let kept: Value = serde_json::from_slice(&text).unwrap();
        let failed = kept["failed"].as_array().into_iter().flatten();
        Self {
            next: kept["next"].as_u64().unwrap(),
            failed: failed.filter_map(Value::as_u64).collect(),
        }
    }

    fn write(&self, file: &Path) {
        let kept = json!({ "next": self.next, "failed": self.failed });
        let draft = file.with_extension("draft");
        fs::write(&draft, kept.to_string()).unwrap();
        fs::rename(draft, file).unwrap();
    }
}

/// Runs a test until `wished` seeds were run in all, by this run and those before.
pub(crate) fn run(seeded: &Seeded, folder: &Path, wished: u64, report: &mut Report) {
    let file = folder.join(format!("torture-{}.json", seeded.name));
    let mut done = Done::read(&file);
    let before = done.next;
    report.heading(&format!("{}: {wished} in all, {before} before this run", seeded.test));
    let started = Instant::now();
    while done.next < wished {
        let count = seeded.batch.min(wished - done.next);
        let filter = format!("test(={})", seeded.test);
        let status = Command::new("cargo")
            .args(["nextest", "run", "--package", seeded.package, "-E", &filter])
            .env(seeded.first, done.next.to_string())
            .env(seeded.count, count.to_string())
            .status()
            .unwrap();
        if !status.success() {
            println!(
                "a batch failed; again with: {}={} {}={count} cargo nextest run --package {} -E '{filter}'",
                seeded.first, done.next, seeded.count, seeded.package
            );
            done.failed.push(done.next);
        }
        done.next += count;
        done.write(&file);
    }
    let row = Row::of(seeded.name).with(done.next as f64, "in all");
    let row = row.with((done.next - before) as f64, "in this run");
    let row = row.with(started.elapsed().as_secs_f64(), "s");
    report.row(&row.with(done.failed.len() as f64, "batches failed"));
    assert!(done.failed.is_empty(), "batches that failed begin with {:?}", done.failed);
}
