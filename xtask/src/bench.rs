//! Builds the release binary and measures it, or runs it long and hard. Long runs that are only tests
//! with other numbers are driven from the profile of the tests.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::steps::{self, cargo, finish};

/// The fuzzer's version that this was last tried with.
const FUZZ_VERSION: &str = "0.13.2";

/// Runs of `torture` that start the released program themselves. All others are tests, which bring what
/// they need: for those the minutes of a release build would be spent on a loop around cargo.
const RELEASED: [&str; 4] = ["large", "wide", "pairs", "kills"];

/// The runs that are asked for by `--only`; nothing where the words leave that open.
fn only(args: &[String]) -> Option<Vec<&str>> {
    let at = args.iter().position(|word| word == "--only" || word.starts_with("--only="))?;
    let runs = args[at].strip_prefix("--only=").or(args.get(at + 1).map(String::as_str))?;
    Some(runs.split(',').collect())
}

/// Whether the chore needs the program as it is released.
fn needs_release(chore: &str, args: &[String]) -> bool {
    let tests_only =
        |runs: Vec<&str>| runs.iter().all(|run| !RELEASED.contains(run) && !run.is_empty());
    chore != "torture" || !only(args).is_some_and(tests_only)
}

/// The program that measures. It calls cargo itself, for tests and the fuzzer.
fn driver(built: &Path, root: &Path) -> Command {
    let mut command = Command::new(built.join("datamesh-bench"));
    command.current_dir(root);
    steps::forget_us(&mut command);
    command
}

/// Becomes `datamesh-bench` with the chore's name and further words.
///
/// # Errors
/// Where the programs cannot be built or started; this function does not return otherwise.
pub(crate) fn run(root: &Path, chore: &str, args: &[String]) -> Result<(), String> {
    if args.iter().any(|word| word.split(',').any(|run| run == "fuzz")) {
        steps::install(root, "cargo-fuzz", FUZZ_VERSION)?;
    }
    let release =
        ["build", "--release", "--package", "datamesh-cli", "--package", "datamesh-bench"];
    // With the tests of the whole workspace: what those need changes features of crates, and built
    // without them everything would be built twice.
    let tests = ["build", "--workspace", "--tests", "--bin", "datamesh", "--bin", "datamesh-bench"];
    let (build, profile) = match needs_release(chore, args) {
        true => (release.as_slice(), "release"),
        false => (tests.as_slice(), "debug"),
    };
    finish(&mut cargo(root, build))?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let built = target.join(profile);
    let mut command = driver(&built, root);
    // Beside what was built: a temporary folder may be memory, and the disk is what counts.
    command.arg("--folder").arg(&built).arg(chore);
    command.arg("--program").arg(built.join("datamesh")).args(args);
    Err(format!("the measurement cannot be started: {}", command.exec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_below_is_not_told_of_this_crate() {
        let ours = ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"];
        assert!(ours.iter().all(|name| std::env::var_os(name).is_some()), "cargo tells tests too");
        let command = driver(Path::new("built"), Path::new("."));
        let removed: Vec<_> =
            command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert!(ours.iter().all(|name| removed.contains(&name.as_ref())), "{removed:?}");
    }

    #[test]
    fn only_what_is_no_test_needs_the_release() {
        let torture = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            needs_release("torture", &words)
        };
        assert!(!torture(&["--only", "seeds", "--minutes", "4"]));
        assert!(!torture(&["--minutes", "4", "--only=seeds,fuzz"]));
        assert!(torture(&[]), "the default has real processes of the release");
        assert!(torture(&["--only", "seeds,kills"]));
        assert!(torture(&["--only=large"]));
        assert!(torture(&["--only"]), "nothing is said");
        assert!(needs_release("bench", &["--only".to_owned(), "parts".to_owned()]));
    }
}
