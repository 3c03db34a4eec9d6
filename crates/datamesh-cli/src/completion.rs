//! Completing command lines: the shell asks this program what may come next.
//!
//! Names of files come from the account's catalog as it is on this device: nobody is asked, no password is
//! needed, and a daemon is not in the way. Where anything goes wrong nothing is completed.

use std::ffi::OsStr;
use std::sync::OnceLock;

use clap::CommandFactory;
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use datamesh_node::Home;

use crate::args::Args;

/// The variable by which a shell asks for completions.
pub(crate) const VARIABLE: &str = "DATAMESH_COMPLETE";

/// Most names that are told at once.
const NAMES_MAX: usize = 500;

/// The home of the console, which completes names of its own.
static CONSOLE: OnceLock<Home> = OnceLock::new();

/// Completes names of this home from now on.
pub(crate) fn complete_for(home: &Home) {
    // A console inside of one has the same home.
    let _ = CONSOLE.set(home.clone());
}

/// Answers a shell that asks for completions, and ends the program then.
pub(crate) fn answer() {
    CompleteEnv::with_factory(Args::command).var(VARIABLE).complete();
}

/// Completes names of files and folders in the account.
pub(crate) fn mesh_names() -> ArgValueCompleter {
    ArgValueCompleter::new(names_beginning)
}

fn names_beginning(typed: &OsStr) -> Vec<CompletionCandidate> {
    let named = || std::env::var_os("DATAMESH_HOME").map(std::path::PathBuf::from);
    let usual = || named().or_else(Home::default_path).map(Home::at);
    let Some(home) = CONSOLE.get().cloned().or_else(usual) else { return Vec::new() };
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let names = datamesh_node::names_beginning(&home, typed, NAMES_MAX);
    names.into_iter().map(CompletionCandidate::new).collect()
}
