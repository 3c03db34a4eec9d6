//! Builds the release binary and measures it, or runs it long and hard.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::steps::{self, cargo, finish};

/// The fuzzer's version that this was last tried with.
const FUZZ_VERSION: &str = "0.13.2";

/// Becomes `datamesh-bench` with the chore's name and further words.
///
/// # Errors
/// Where the programs cannot be built or started; this function does not return otherwise.
pub(crate) fn run(root: &Path, chore: &str, args: &[String]) -> Result<(), String> {
    if args.iter().any(|word| word.split(',').any(|run| run == "fuzz")) {
        steps::install(root, "cargo-fuzz", FUZZ_VERSION)?;
    }
    let build = ["build", "--release", "--package", "datamesh-cli", "--package", "datamesh-bench"];
    finish(&mut cargo(root, &build))?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let built = target.join("release");
    let mut command = Command::new(built.join("datamesh-bench"));
    // Beside what was built: a temporary folder may be memory, and the disk is what counts.
    command.current_dir(root).arg("--folder").arg(&built).arg(chore);
    command.arg("--program").arg(built.join("datamesh")).args(args);
    Err(format!("the measurement cannot be started: {}", command.exec()))
}
