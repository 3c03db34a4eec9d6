//! What somebody types into a search, as an expression of the full-text index.
//!
//! Every word must be there, as the beginning of a word of the name, folder, tags or note; words in double
//! quotes follow each other; a word behind a minus must not be there. Nothing else has a meaning, so nothing
//! that is typed can upset the index.

use crate::error::{CatalogError, Result};

/// Most words of a search.
const WORDS_MAX: usize = 32;

/// Longest search in bytes.
const BYTES_MAX: usize = 1024;

/// The expression for what was typed.
///
/// # Errors
/// [`CatalogError::Search`] where there is no word in it that is to be there.
pub(super) fn expression(typed: &str) -> Result<String> {
    let wrong = |reason: &'static str| CatalogError::Search { reason: reason.to_owned() };
    if typed.len() > BYTES_MAX {
        return Err(wrong("a search has at most 1024 bytes"));
    }
    let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
    for (word, excluded) in words(typed) {
        // A word without letters and digits is none in the index.
        if !word.chars().any(char::is_alphanumeric) {
            continue;
        }
        let quoted = format!("\"{}\" *", word.replace(['"', '\0'], " "));
        if excluded { unwanted.push(quoted) } else { wanted.push(quoted) }
    }
    if wanted.len() + unwanted.len() > WORDS_MAX {
        return Err(wrong("a search has at most 32 words"));
    }
    if wanted.is_empty() {
        return Err(wrong("a search needs a word of letters or digits that is to be there"));
    }
    let all = wanted.join(" AND ");
    Ok(match unwanted.is_empty() {
        true => all,
        false => format!("({all}) NOT ({})", unwanted.join(" OR ")),
    })
}

/// The words and quoted phrases, and whether each stands behind a minus.
fn words(typed: &str) -> Vec<(&str, bool)> {
    let mut found = Vec::new();
    let mut rest = typed.trim_start();
    while !rest.is_empty() {
        let excluded = rest.starts_with('-');
        let from = rest.strip_prefix('-').unwrap_or(rest);
        let (word, after) = match from.strip_prefix('"') {
            // A quote that is not closed goes to the end.
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => from.split_once(char::is_whitespace).unwrap_or((from, "")),
        };
        found.push((word, excluded));
        rest = after.trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_is_typed_becomes_an_expression() {
        for (typed, expected) in [
            ("report", "\"report\" *"),
            ("  annual report ", "\"annual\" * AND \"report\" *"),
            ("\"annual report\" 2026", "\"annual report\" * AND \"2026\" *"),
            ("report -draft -old", "(\"report\" *) NOT (\"draft\" * OR \"old\" *)"),
            ("a\"b OR c", "\"a b\" * AND \"OR\" * AND \"c\" *"),
            ("x:y* ( )", "\"x:y*\" *"),
            ("\"open end", "\"open end\" *"),
        ] {
            assert_eq!(expression(typed).unwrap(), expected, "{typed}");
        }
        for typed in ["", "   ", "-draft", "***", "\"\"", "- -"] {
            assert!(matches!(expression(typed), Err(CatalogError::Search { .. })), "{typed}");
        }
        assert!(expression(&"word ".repeat(33)).is_err());
        assert!(expression(&"x".repeat(1025)).is_err());
    }
}
