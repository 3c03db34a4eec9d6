//! Completing command lines: the shell asks this program what may come next.
//!
//! Names of files and shares come from the account's catalog as it is on this device, members from what it
//! remembers: nobody is asked, no password is needed, and a daemon is not in the way. Where anything goes wrong
//! nothing is completed.

use std::ffi::OsStr;
use std::sync::OnceLock;

use clap::CommandFactory;
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use datamesh_node::{Candidate, Home, config};

use crate::args::Args;
use crate::output::visible;

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

/// The home that the line is for.
fn home() -> Option<Home> {
    let named = || std::env::var_os("DATAMESH_HOME").map(std::path::PathBuf::from);
    let usual = || named().or_else(Home::default_path).map(Home::at);
    CONSOLE.get().cloned().or_else(usual)
}

/// Completes what `find` knows in the home.
fn completer<F>(find: F) -> ArgValueCompleter
where
    F: Fn(&Home, &str) -> Vec<CompletionCandidate> + Send + Sync + 'static,
{
    ArgValueCompleter::new(move |typed: &OsStr| match (home(), typed.to_str()) {
        (Some(home), Some(typed)) => find(&home, typed),
        _ => Vec::new(),
    })
}

fn with_help(found: Vec<Candidate>) -> Vec<CompletionCandidate> {
    let candidate = |it: Candidate| {
        let help = (!it.about.is_empty()).then(|| visible(&it.about).into());
        CompletionCandidate::new(it.value).help(help)
    };
    found.into_iter().map(candidate).collect()
}

/// Completes names of files and folders in the account.
pub(crate) fn mesh_names() -> ArgValueCompleter {
    completer(|home, typed| {
        let names = datamesh_node::names_beginning(home, typed, NAMES_MAX);
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// Completes ids of the mesh's members.
pub(crate) fn peers() -> ArgValueCompleter {
    completer(|home, typed| with_help(datamesh_node::peers_beginning(home, typed)))
}

/// Completes ids of shares.
pub(crate) fn shares() -> ArgValueCompleter {
    completer(|home, typed| with_help(datamesh_node::shares_beginning(home, typed)))
}

/// Completes addresses of the list of peers.
pub(crate) fn addresses() -> ArgValueCompleter {
    completer(|home, typed| {
        let addresses = datamesh_node::addresses_beginning(home, typed);
        addresses.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// Completes names of settings.
pub(crate) fn settings() -> ArgValueCompleter {
    completer(|home, typed| {
        let settings = config::show(home).unwrap_or_default().into_iter();
        let settings = settings.filter(|setting| setting.key.starts_with(typed));
        settings
            .map(|setting| CompletionCandidate::new(setting.key).help(Some(setting.about.into())))
            .collect()
    })
}
