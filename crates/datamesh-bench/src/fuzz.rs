//! The fuzzer on every target: so many executions of each in all, going on where an earlier run
//! ended.
//!
//! It needs a nightly compiler. What it keeps lies beside the build; the repository has a small
//! corpus that it begins with and that the tests replay. An input that finds something is kept in
//! `fuzz/artifacts`, named in the table, and the run goes on with the next target.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::report::{Report, Row};
use crate::totals::{Total, Totals};

/// Executions of each target that are wished.
pub(crate) const WISHED: u64 = 10_000_000;

/// Most executions of one batch.
const BATCH: u64 = 1_000_000;

/// Where temporary files need no disk, on most systems.
const MEMORY: &str = "/dev/shm";

/// Longest input.
const INPUT_BYTES_MAX: usize = 16 * 1024;

/// Runs all targets until each had `wished` executions, or the time is over, which those share that are not done.
/// Returns what was found in this run.
pub(crate) fn run(
    root: &Path,
    totals: &Totals,
    wished: u64,
    minutes: Option<u64>,
    report: &mut Report,
) -> Vec<String> {
    let mut targets: Vec<String> = fs::read_dir(root.join("fuzz/fuzz_targets"))
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().path().file_stem()?.to_str()?.to_owned()))
        .collect();
    targets.sort();
    report.heading(&format!("fuzz: {wished} executions of each of {} targets", targets.len()));
    targets.retain(|target| totals.get(&format!("fuzz {target}")).next < wished);
    let share =
        minutes.map(|minutes| Duration::from_secs(60 * minutes) / targets.len().max(1) as u32);
    let mut found = Vec::new();
    for target in &targets {
        let name = format!("fuzz {target}");
        let mut total = Total { wished, ..totals.get(&name) };
        let (before, started) = (total.next, Instant::now());
        let mut finds = 0;
        while total.next < wished {
            let left = share.map(|share| share.saturating_sub(started.elapsed()));
            if left.is_some_and(|left| left < Duration::from_secs(1)) {
                break;
            }
            let (executions, input) = fuzz(root, target, BATCH.min(wished - total.next), left);
            total.next += executions;
            if let Some(input) = &input {
                total.failed.push(input.clone());
                found.push(format!("{target}: {input}"));
                finds += 1;
            }
            totals.put(&total);
            if input.is_some() || executions == 0 {
                break;
            }
        }
        let row = Row::of(name).with(total.next as f64, "in all");
        let row = row.with((total.next - before) as f64, "in this run");
        let row = row.with(started.elapsed().as_secs_f64(), "s");
        report.row(&row.with(f64::from(finds), "found"));
    }
    found
}

/// Fuzzes one target. Returns how often it was executed, and the input that found something.
fn fuzz(
    root: &Path,
    target: &str,
    executions: u64,
    time: Option<Duration>,
) -> (u64, Option<String>) {
    let kept = root.join("target/fuzz-corpus").join(target);
    fs::create_dir_all(&kept).unwrap();
    let seeds = root.join("fuzz/corpus").join(target);
    fs::create_dir_all(&seeds).unwrap();
    // The same versions of everything as the program has.
    fs::copy(root.join("Cargo.lock"), root.join("fuzz/Cargo.lock")).unwrap();
    let mut command = Command::new("cargo");
    // No code of ours is unsafe, and what is in C would not be built with a sanitizer.
    command.args(["+nightly", "fuzz", "run", "--sanitizer", "none", target]);
    command.arg(&kept).arg(&seeds).arg("--");
    if Path::new(MEMORY).is_dir() {
        command.env("TMPDIR", MEMORY);
    }
    command.arg(format!("-runs={executions}")).arg(format!("-max_len={INPUT_BYTES_MAX}"));
    command.args(["-print_final_stats=1", "-rss_limit_mb=2048", "-timeout=20"]);
    if let Some(time) = time {
        command.arg(format!("-max_total_time={}", time.as_secs().max(1)));
    }
    let done = command.current_dir(root).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&done.stderr);
    let executed = number_after(&text, "stat::number_of_executed_units:").unwrap_or(0);
    if done.status.success() {
        return (executed, None);
    }
    let last: Vec<&str> = text.lines().rev().take(40).collect();
    last.iter().rev().for_each(|line| println!("  | {line}"));
    let input = text.lines().rev().find_map(|line| {
        let (_, path) = line.split_once("Test unit written to ")?;
        Some(Path::new(path.trim()).file_name()?.to_str()?.to_owned())
    });
    assert!(input.is_some(), "the fuzzer does not run; its last words are above");
    (executed, input)
}

/// The number behind a word, the last time that it stands there.
fn number_after(text: &str, word: &str) -> Option<u64> {
    text.rsplit_once(word)?.1.split_whitespace().next()?.parse().ok()
}
