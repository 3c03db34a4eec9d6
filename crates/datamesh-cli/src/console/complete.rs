//! What may come next on a line, by the same rules as in a shell.

use std::ffi::OsString;

use reedline::{Completer, CompletionResult, Span, Suggestion};

use crate::args::tree;

/// Words of the console itself.
const OWN: [(&str, &str); 2] = [("exit", "Leave the console"), ("quit", "Leave the console")];

/// Completes commands, flags, and names of files.
pub(super) struct Commands;

impl Completer for Commands {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        CompletionResult::fresh(suggestions(line.get(..pos).unwrap_or(line)))
    }
}

/// The words before the one that is being typed, where that one begins, and what there is of it. Nothing where the
/// line cannot be split.
fn split(line: &str) -> Option<(Vec<String>, usize, String)> {
    let mut start = 0;
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, c) if c.is_whitespace() => start = at + c.len_utf8(),
            _ => {}
        }
    }
    let (before, word) = line.split_at(start);
    let closed = match quote {
        Some(open) => format!("{word}{open}"),
        None if escaped => word[..word.len() - 1].to_owned(),
        None => word.to_owned(),
    };
    let typed = shlex::split(&closed)?.pop().unwrap_or_default();
    Some((shlex::split(before)?, start, typed))
}

fn suggestions(line: &str) -> Vec<Suggestion> {
    let Some((words, start, typed)) = split(line) else { return Vec::new() };
    let mut all: Vec<OsString> = vec![OsString::from("datamesh")];
    all.extend(words.iter().map(OsString::from));
    all.push(OsString::from(&typed));
    let (index, here) = (all.len() - 1, std::env::current_dir().ok());
    let found = clap_complete::engine::complete(&mut tree(), all, index, here.as_deref());
    let mut found: Vec<(String, Option<String>)> = found
        .unwrap_or_default()
        .into_iter()
        .filter(|candidate| !candidate.is_hide_set())
        .filter_map(|candidate| {
            let value = candidate.get_value().to_str()?.to_owned();
            Some((value, candidate.get_help().map(ToString::to_string)))
        })
        .collect();
    if words.is_empty() {
        let own = OWN.iter().filter(|(word, _)| word.starts_with(&typed));
        found.extend(own.map(|(word, help)| ((*word).to_owned(), Some((*help).to_owned()))));
    }
    // What a command is about comes before how it does it.
    found.sort_by_key(|(value, _)| value.starts_with('-'));
    let span = Span::new(start, line.len());
    let suggestion = |(value, description): (String, Option<String>)| {
        let quoted = shlex::try_quote(&value).ok()?.into_owned();
        let append_whitespace = !value.ends_with(['/', '=']);
        let display_override = (quoted != value).then_some(value);
        Some(Suggestion {
            value: quoted,
            display_override,
            description,
            span,
            append_whitespace,
            ..Suggestion::default()
        })
    };
    found.into_iter().filter_map(suggestion).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(line: &str) -> Vec<String> {
        suggestions(line).into_iter().map(|suggestion| suggestion.value).collect()
    }

    #[test]
    fn commands_and_flags_are_completed_and_the_word_alone_is_replaced() {
        assert!(values("").contains(&"put".to_owned()));
        assert!(values("").contains(&"exit".to_owned()));
        assert_eq!(values("vers"), ["versions"]);
        assert!(values("list --so").contains(&"--sort".to_owned()));
        assert_eq!(values("list --sort s"), ["size"]);
        let one = &suggestions("health; vers")[..];
        assert!(one.is_empty() || one[0].span.start >= 8);
        let two = suggestions("list  --rev");
        assert_eq!((two[0].span.start, two[0].span.end), (6, 11));
    }

    #[test]
    fn words_that_are_not_closed_yet_are_split_too() {
        let parts = |words: &[&str], start: usize, typed: &str| {
            Some((words.iter().map(|word| (*word).to_owned()).collect(), start, typed.to_owned()))
        };
        assert_eq!(split("get 'a b' \"c d"), parts(&["get", "a b"], 10, "c d"));
        assert_eq!(split("get a\\ b"), parts(&["get"], 4, "a b"));
        assert_eq!(split("get a\\"), parts(&["get"], 4, "a"));
        assert_eq!(split("x "), parts(&["x"], 2, ""));
    }
}
