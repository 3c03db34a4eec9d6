//! Builds the release binary and runs `datamesh demo`.

use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::steps;

/// Becomes `datamesh demo` with further words, so that signals and the exit code are its own.
///
/// # Errors
/// Where cargo cannot be started; this function does not return otherwise.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let words = ["run", "--quiet", "--release", "--package", "datamesh-cli", "--bin", "datamesh"];
    let mut command = steps::cargo(root, &words);
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
    }
    command.arg("--manifest-path").arg(root.join("Cargo.toml")).args(["--", "demo"]).args(args);
    command.stdin(std::process::Stdio::inherit());
    Err(format!("cargo cannot be started: {}", command.exec()))
}
