//! The repository's chores, one file each: `cargo xtask <chore>`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal"
)]
#![allow(clippy::disallowed_methods, reason = "chores run once, on the real clock")]

mod arrows;
mod bench;
mod demo;
mod deny;
mod finding;
mod rust_text;
mod steps;
mod test;
mod tidy;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <chore>

  test      format, arrows, tidiness, lints, dependencies, then all tests
  demo      build the release binary and run `datamesh demo`; further words go to it
  bench     measure the machine's limits, the parts and the whole; --help tells how
  torture   run it long and hard with real processes; --help tells how
  durability  simulate years of a large mesh and count what is lost; --help tells how
  arrows    check which crate uses which, and the walls between them
  deny      check licences, bans and sources of the dependencies
  tidy      look for forgotten files, markers, paths of one machine, and the like
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let chore = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let root = root();
    let outcome = match (chore.as_str(), rest.as_slice()) {
        ("test", []) => test::run(&root),
        ("demo", args) => demo::run(&root, args),
        ("bench" | "torture" | "durability", args) => bench::run(&root, &chore, args),
        ("arrows", []) => finding::report("arrows", arrows::check(&root)),
        ("deny", []) => deny::run(&root),
        ("tidy", []) => finding::report("tidy", tidy::check(&root)),
        ("" | "help" | "-h" | "--help", []) => {
            print!("{USAGE}");
            return if chore.is_empty() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace: the one above this crate's, as cargo tells it when it runs us, so
/// that a binary built in one checkout and run in another looks at the other.
fn root() -> PathBuf {
    let mut folder = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    folder.pop();
    folder
}
