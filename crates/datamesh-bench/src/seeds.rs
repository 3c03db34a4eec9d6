//! The long forms of tests that follow numbers: as many as wished, a batch at a time, going on where
//! an earlier run ended, here or on another machine.
//!
//! Each batch is the tests themselves with a first number and a count. What ran is written into the
//! [table](crate::totals) after each, so that a run that was ended loses one batch. Numbers that fail
//! are kept there and named with the command that does them again, and the run goes on.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::report::{Report, Row};
use crate::totals::{Total, Totals};

/// Tests that take a first number and a count from their environment.
pub(crate) struct Seeded {
    /// What the run is called.
    pub(crate) name: &'static str,
    /// Package and name of each test; of those whose name ends in `::`, all that begin so.
    tests: &'static [(&'static str, &'static str)],
    first: &'static str,
    count: &'static str,
    /// How many are wished in all, where nobody says.
    pub(crate) wished: u64,
    /// Numbers of one batch: some minutes of work.
    batch: u64,
}

/// How the test runner ends where no test has the name.
const NO_TESTS_RUN: i32 = 4;

/// All of them.
pub(crate) const ALL: [Seeded; 7] = [
    // Whole meshes in which everything goes wrong.
    Seeded {
        name: "seeds",
        tests: &[("datamesh-client", "chaos::everything_goes_wrong_at_once_and_nothing_is_lost")],
        first: "DATAMESH_FIRST_SEED",
        count: "DATAMESH_SEEDS",
        wished: 10_000,
        batch: 20,
    },
    // Owners, collectors and repairers around one segment.
    Seeded {
        name: "interleavings",
        tests: &[(
            "datamesh-store",
            "interleavings::in_any_order_nothing_live_is_removed_and_nothing_dead_comes_back",
        )],
        first: "DATAMESH_FIRST_INTERLEAVING",
        count: "DATAMESH_INTERLEAVINGS",
        wished: 1_000_000,
        batch: 10_000,
    },
    // Files of disks that are not what was written: packs, databases, heads.
    Seeded {
        name: "corruptions",
        tests: &[
            (
                "datamesh-store",
                "corruption::every_corruption_is_found_and_no_healthy_shard_is_blamed",
            ),
            ("datamesh-catalog", "corruption::a_corrupted_catalog_tells_the_truth_or_nothing"),
            ("datamesh-catalog", "corruption::a_corrupted_journal_tells_nothing_that_never_was"),
            (
                "datamesh-catalog",
                "corruption::a_corrupted_database_of_a_node_tells_nothing_that_never_was",
            ),
            ("datamesh-client", "heads::heads_that_are_corrupted_where_they_are_kept_hide_nothing"),
        ],
        first: "DATAMESH_FIRST_CORRUPTION",
        count: "DATAMESH_CORRUPTIONS",
        wished: 100_000,
        batch: 2000,
    },
    // A fifth of the nodes lies.
    Seeded {
        name: "liars",
        tests: &[("datamesh-client", "liars::a_fifth_of_the_nodes_lies_and_nothing_is_lost")],
        first: "DATAMESH_FIRST_SEED",
        count: "DATAMESH_SEEDS",
        wished: 1000,
        batch: 50,
    },
    // Four of twelve holders are lost with their disks, real processes.
    Seeded {
        name: "quads",
        tests: &[(
            "datamesh-cli",
            "repair::quads_of_holders_in_8_and_4_are_lost_for_good_and_the_disks_have_every_shard_again",
        )],
        first: "DATAMESH_FIRST_QUAD",
        count: "DATAMESH_QUADS",
        wished: 100,
        batch: 5,
    },
    // Files that come back from the words alone, real processes.
    Seeded {
        name: "recovery",
        tests: &[(
            "datamesh-cli",
            "recover::many_files_come_back_from_the_words_with_three_of_six_dead",
        )],
        first: "DATAMESH_FIRST_FILE",
        count: "DATAMESH_FILES",
        wished: 100_000,
        batch: 10_000,
    },
    // Hosts with routers, loss and partition.
    Seeded {
        name: "namespaces",
        tests: &[("datamesh-cli", "namespaces::")],
        first: "DATAMESH_FIRST_ROUND",
        count: "DATAMESH_ROUNDS",
        wished: 20,
        batch: 1,
    },
];

/// Runs tests until `wished` numbers were run in all, by this run and those before, or the time is
/// over. Returns what failed in this run.
pub(crate) fn run(
    seeded: &Seeded,
    totals: &Totals,
    wished: u64,
    end: Option<Instant>,
    report: &mut Report,
) -> Vec<String> {
    let mut total = Total { wished, ..totals.get(seeded.name) };
    let (before, mut failed) = (total.next, Vec::new());
    report.heading(&format!("{}: {wished} in all, {before} before this run", seeded.name));
    let started = Instant::now();
    // What is not known takes a small batch first.
    let mut batch = if end.is_some() { (seeded.batch / 10).max(1) } else { seeded.batch };
    while total.next < wished && end.is_none_or(|end| Instant::now() < end) {
        let count = batch.min(wished - total.next);
        let begun = Instant::now();
        for number in failures(seeded, total.next, count) {
            println!(
                "  {number} failed; again with: {}={number} {}=1 cargo nextest run --workspace --no-capture {}",
                seeded.first, seeded.count, seeded.tests[0].1,
            );
            failed.push(number.to_string());
        }
        total.next += count;
        total.failed.extend(
            failed.iter().filter(|it| !total.failed.contains(it)).cloned().collect::<Vec<_>>(),
        );
        totals.put(&total);
        batch = end.map_or(seeded.batch, |end| {
            let left = end.saturating_duration_since(Instant::now());
            fitting(left, begun.elapsed(), count).clamp(1, seeded.batch)
        });
    }
    let row = Row::of(seeded.name).with(total.next as f64, "in all");
    let row = row.with((total.next - before) as f64, "in this run");
    let row = row.with(started.elapsed().as_secs_f64(), "s");
    report.row(&row.with(failed.len() as f64, "failed"));
    failed
}

/// How many fit into the time that is left, where `count` took so long.
fn fitting(left: Duration, took: Duration, count: u64) -> u64 {
    (left.as_secs_f64() / took.as_secs_f64().max(0.001) * count as f64) as u64
}

/// Runs one batch and returns the numbers that failed; where a test does not tell, its first.
fn failures(seeded: &Seeded, first: u64, count: u64) -> Vec<u64> {
    let mut failed = Vec::new();
    for (package, test) in seeded.tests {
        let mut command = Command::new("cargo");
        // With the whole workspace: one package alone would be built anew with other features.
        command.args(["nextest", "run", "--workspace", "--profile", "long", "--no-capture"]);
        let exact = if test.ends_with("::") { "" } else { "=" };
        command.args(["-E", &format!("package(={package}) & test({exact}{test})")]);
        command.env(seeded.first, first.to_string()).env(seeded.count, count.to_string());
        let done = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&done.stderr).into_owned()
            + &String::from_utf8_lossy(&done.stdout);
        // What a machine cannot run is no run.
        let not_run = text.lines().find(|line| line.starts_with("not run: "));
        assert!(not_run.is_none(), "{not_run:?}");
        assert!(done.status.code() != Some(NO_TESTS_RUN), "there is no test {test} of {package}");
        if done.status.success() {
            continue;
        }
        let told = told(&text);
        // What it said is lost with the terminal otherwise.
        let last: Vec<&str> = text.lines().rev().take(40).collect();
        last.iter().rev().for_each(|line| println!("  | {line}"));
        failed.extend(if told.is_empty() { vec![first] } else { told });
    }
    failed.sort_unstable();
    failed.dedup();
    failed
}

/// The numbers behind the last `failed: [`.
fn told(text: &str) -> Vec<u64> {
    let Some((_, rest)) = text.rsplit_once("failed: [") else { return Vec::new() };
    let Some((numbers, _)) = rest.split_once(']') else { return Vec::new() };
    numbers.split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_what_a_test_says() {
        let text = "thread 'a' panicked at b.rs:1:1:\n2 of 100 failed: [3, 17]; the first: x [1]\n";
        assert_eq!(told(text), [3, 17]);
        assert_eq!(told("nothing of the kind"), [0u64; 0]);
    }

    #[test]
    fn a_batch_fits_into_what_is_left() {
        assert_eq!(fitting(Duration::from_secs(60), Duration::from_secs(6), 20), 200);
        assert_eq!(fitting(Duration::ZERO, Duration::from_secs(6), 20), 0);
    }
}
