//! Checks the dependencies against `deny.toml`: advisories, bans, licences, sources.

use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::steps;

/// The version this was last tried with.
const VERSION: &str = "0.20.2";

/// How long the advisory database may take to come.
const FETCH_MAX: Duration = Duration::from_secs(60);

/// Installs cargo-deny where it is missing and runs it.
///
/// The advisory database is a git repository. Where it cannot be fetched, the other checks run
/// and it is said that advisories were not looked at. Warnings, which are many versions of one
/// crate, show in `cargo deny check`.
///
/// # Errors
/// Where a dependency breaks a rule.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    steps::install(root, "cargo-deny", VERSION)?;
    if fetch(root) {
        return steps::finish(&mut steps::cargo(
            root,
            &["deny", "check", "--hide-inclusion-graph"],
        ));
    }
    let line = "!".repeat(78);
    println!("{line}\nADVISORIES WERE NOT CHECKED: the advisory database cannot be fetched here.");
    println!("Bans, licences and sources are checked.\n{line}");
    // Offline, so that cargo-deny does not try for the database again; then the crates of other
    // systems, which no build here has needed yet, must be there too.
    steps::finish(&mut steps::cargo(root, &["fetch", "--locked"]))?;
    let only = ["bans", "licenses", "sources"];
    let words = ["deny", "--offline", "--log-level", "error", "check"];
    steps::finish(steps::cargo(root, &words).args(only))
}

/// Fetches the advisory database within its time.
fn fetch(root: &Path) -> bool {
    let mut command = steps::cargo(root, &["deny", "fetch", "db"]);
    let Ok(mut child) = command.spawn() else { return false };
    let end = Instant::now() + FETCH_MAX;
    wait_until(&mut child, end).is_some_and(|status| status.success())
}

/// Waits for a program and ends it when its time is over.
fn wait_until(child: &mut Child, end: Instant) -> Option<ExitStatus> {
    while Instant::now() < end {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(50));
    }
    // Both fail only where the program has just ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    None
}
