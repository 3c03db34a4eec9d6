//! Everything that a change must pass, cheapest first; the first failure ends it.

use std::path::Path;

use crate::steps::{self, cargo, finish, step};
use crate::{arrows, deny, finding, tidy};

/// The test runner's version that this was last tried with.
const NEXTEST_VERSION: &str = "0.9.143";

/// Runs all checks, then all tests. The test runner's summary is the last thing printed.
///
/// # Errors
/// With the first step that fails.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let locked: &[&str] = if steps::in_ci() { &["--locked"] } else { &[] };
    let run = |words: &[&str], after: &[&str]| finish(cargo(root, words).args(locked).args(after));
    step("format", || finish(&mut cargo(root, &["fmt", "--all", "--check"])))?;
    step("arrows", || finding::report("arrows", arrows::check(root)))?;
    step("tidy", || finding::report("tidy", tidy::check(root)))?;
    let clippy = ["clippy", "--workspace", "--all-targets"];
    step("clippy", || run(&clippy, &["--", "--deny", "warnings"]))?;
    step("deny", || deny::run(root))?;
    step("documentation tests", || run(&["test", "--workspace", "--doc"], &[]))?;
    step("test runner", || steps::install(root, "cargo-nextest", NEXTEST_VERSION))?;
    steps::install_test_hosts();
    println!("== tests");
    run(&["nextest", "run", "--workspace"], &[])
}
