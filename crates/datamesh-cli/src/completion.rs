//! Completing command lines: the shell asks this program what may come next.
//!
//! Names of files and shares come from the account's catalog as it is on this device, members from what it
//! remembers: nobody is asked, no password is needed, and a daemon is not in the way. Where anything goes wrong
//! nothing is completed.

use std::ffi::OsStr;
use std::sync::OnceLock;

use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use datamesh_node::{Candidate, Home, config};

use crate::args::tree;
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
    CompleteEnv::with_factory(tree).var(VARIABLE).complete();
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

/// Completes names of files and folders in the account. Other devices choose them: one that could steer a terminal
/// is not offered.
pub(crate) fn mesh_names() -> ArgValueCompleter {
    completer(|home, typed| {
        // What bash inserts into the line it takes apart again; the other shells, and the console, quote by
        // themselves.
        let bash = CONSOLE.get().is_none()
            && std::env::var_os(VARIABLE).is_some_and(|shell| shell == "bash");
        let typed = if bash { unescaped(typed) } else { typed.to_owned() };
        let names = datamesh_node::names_beginning(home, &typed, NAMES_MAX);
        let names = names.into_iter().filter(|name| visible(name) == *name);
        names
            .map(|name| CompletionCandidate::new(if bash { escaped(&name) } else { name }))
            .collect()
    })
}

/// A name as a word of bash.
fn escaped(name: &str) -> String {
    let mut word = String::new();
    for letter in name.chars() {
        if letter.is_ascii() && !letter.is_ascii_alphanumeric() && !"/._-+,:@%=".contains(letter) {
            word.push('\\');
        }
        word.push(letter);
    }
    word
}

/// The name that a word of bash stands for, as far as it is typed; one within quotes as it is.
fn unescaped(word: &str) -> String {
    let (mut name, mut letters) = (String::new(), word.chars());
    while let Some(letter) = letters.next() {
        name.push(match letter {
            '\\' => letters.next().unwrap_or_default(),
            letter => letter,
        });
    }
    name.trim_end_matches('\0').to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_bash_and_come_back_from_it() {
        assert_eq!(escaped("a b/qu'ote\"s$.txt"), "a\\ b/qu\\'ote\\\"s\\$.txt");
        assert_eq!(escaped("ünï 文.txt"), "ünï\\ 文.txt");
        for name in ["plain/name-1.txt", "a b", "~tilde", "back\\slash", "(c) [1] {2}"] {
            assert_eq!(unescaped(&escaped(name)), name);
        }
        assert_eq!(unescaped("cut off\\"), "cut off");
    }
}
