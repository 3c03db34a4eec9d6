//! Runs programs one after the other and tells how long each took.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Whether nobody is watching: no colours, no progress bars, the committed lock file as it is.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// A cargo command at `root` that reads no input and, where nobody is watching, draws nothing.
pub(crate) fn cargo(root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root).stdin(Stdio::null());
    if in_ci() {
        command
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_TERM_PROGRESS_WHEN", "never")
            .env("NEXTEST_SHOW_PROGRESS", "none")
            .env("NO_COLOR", "1")
            // Nothing is built twice there.
            .env("CARGO_INCREMENTAL", "0");
    }
    forget_us(&mut command);
    command
}

/// Keeps from a program what cargo told this one about this crate: told to the next cargo, it would be
/// taken for what that builds, and build scripts that look at it would be run again.
pub(crate) fn forget_us(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let is_ours = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if is_ours {
            command.env_remove(name);
        }
    }
}

/// Runs one step under its name.
///
/// # Errors
/// Where the step fails.
pub(crate) fn step(name: &str, run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    println!("== {name}");
    let start = Instant::now();
    let outcome = run();
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => {
            println!("== {name}: {seconds:.1} s");
            Ok(())
        }
        Err(error) => Err(format!("{name} failed after {seconds:.1} s: {error}")),
    }
}

/// Runs a program to its end.
///
/// # Errors
/// Where it cannot be started or says that it failed.
pub(crate) fn finish(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}")),
        Err(error) => Err(format!("{program} cannot be started: {error}")),
    }
}

/// Whether a program runs and says that it is well.
pub(crate) fn answers(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Installs the cargo program `name` from the registry where this machine has none. What is there
/// is used whatever its version: the pinned one is the one this was last tried with.
///
/// # Errors
/// Where it cannot be built.
pub(crate) fn install(root: &Path, name: &str, version: &str) -> Result<(), String> {
    let subcommand = name.strip_prefix("cargo-").unwrap_or(name);
    if answers(&mut cargo(root, &[subcommand, "--version"])) {
        return Ok(());
    }
    println!("{name} is not installed: building {version}, some minutes on two cores");
    let pinned = format!("{name}@{version}");
    // A folder of its own below target/, so that a build cut short goes on where it stopped.
    let folder = root.join("target/tools");
    finish(
        cargo(root, &["install", "--locked", "--quiet", &pinned])
            .arg("--target-dir")
            .arg(folder)
            .env_remove("CARGO_TARGET_DIR")
            // These programs run for seconds; their own profile links for minutes.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    )
}

/// Programs that tests over network namespaces need, and the Debian packages that have them.
const TEST_HOSTS: [(&str, &str); 2] = [("/usr/sbin/ip", "iproute2"), ("/usr/sbin/nft", "nftables")];

/// Installs what tests over network namespaces need, where that can be done. Where it cannot, those
/// tests say that they were not run.
pub(crate) fn install_test_hosts() {
    let missing: Vec<&str> = TEST_HOSTS
        .iter()
        .filter(|(program, _)| !Path::new(program).exists())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return;
    }
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        answers(&mut command)
    };
    let install = [&["install", "--yes", "--no-install-recommends"], missing.as_slice()].concat();
    // The lists of packages may be missing or old; they are fetched only where that is so.
    if !(apt(&install) || apt(&["update"]) && apt(&install)) {
        let missing = missing.join(", ");
        println!("not installed: {missing}. Tests over network namespaces will not run");
    }
}
