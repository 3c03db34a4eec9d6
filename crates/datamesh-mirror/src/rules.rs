//! What is not mirrored: the lines of `.datameshignore` files, and what the command excludes.
//!
//! The lines mean what they mean to git: a file's lines count for its folder and all below it, the
//! deepest file that says something of a name has the last word, and what lies below a folder that
//! is left out is left out too. The same rules are asked about names on the mesh, so that a name
//! that is left out is neither removed there nor fetched from there.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use datamesh_core::MeshPath;
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// The files with rules.
pub const IGNORE_FILE: &str = ".datameshignore";

/// Largest file with rules that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A pattern that is none.
#[derive(Debug, thiserror::Error)]
#[error("\"{pattern}\" is not a pattern")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// Why.
    pub source: ignore::Error,
}

/// The rules of one tree.
#[derive(Debug)]
pub struct Rules {
    excluded: Gitignore,
    /// By the folder that they are in; "" is the root.
    folders: BTreeMap<String, Gitignore>,
}

impl Rules {
    /// Only what is excluded, by patterns as in an ignore file of the root. It goes before all files.
    ///
    /// # Errors
    /// [`PatternError`] for a pattern that is none.
    pub fn new(excluded: &[String]) -> Result<Self, PatternError> {
        let mut builder = GitignoreBuilder::new(".");
        let wrong = |pattern: &str, source| PatternError { pattern: pattern.to_owned(), source };
        for pattern in excluded {
            builder.add_line(None, pattern).map_err(|error| wrong(pattern, error))?;
        }
        let excluded = builder.build().map_err(|error| wrong("", error))?;
        Ok(Self { excluded, folders: BTreeMap::new() })
    }

    /// Reads the rules of a folder, `name` by its way from the root, if it has some. Lines that are no
    /// patterns are returned.
    ///
    /// # Errors
    /// What the system says of a file that is there and cannot be read.
    pub(crate) fn enter(&mut self, folder: &Path, name: &str) -> io::Result<Vec<String>> {
        let file = match std::fs::File::open(folder.join(IGNORE_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Ok(Vec::new());
        }
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other("it has more than 1 MiB"));
        }
        let text = String::from_utf8_lossy(&text);
        let (rules, wrong) = rules_of(&text);
        self.folders.insert(name.to_owned(), rules);
        Ok(wrong)
    }

    /// Whether a name is left out by itself; its folders are not looked at.
    pub fn leaves_out(&self, path: &str, is_folder: bool) -> bool {
        if self.excluded.matched(path, is_folder).is_ignore() {
            return true;
        }
        if self.folders.is_empty() {
            return false;
        }
        let mut folder = path;
        loop {
            folder = folder.rsplit_once('/').map_or("", |(folder, _)| folder);
            if let Some(rules) = self.folders.get(folder) {
                let below = path[folder.len()..].trim_start_matches('/');
                match rules.matched(below, is_folder) {
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                    Match::None => {}
                }
            }
            if folder.is_empty() {
                return false;
            }
        }
    }

    /// Whether a name is left out, by itself or with a folder that it lies in.
    pub fn leaves_out_below(&self, path: &MeshPath, is_folder: bool) -> bool {
        let text = path.as_str();
        let folders = text.match_indices('/').map(|(at, _)| &text[..at]);
        folders.into_iter().any(|folder| self.leaves_out(folder, true))
            || self.leaves_out(text, is_folder)
    }
}

pub(crate) fn rules_of(text: &str) -> (Gitignore, Vec<String>) {
    let mut builder = GitignoreBuilder::new(".");
    let mut wrong = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        if builder.add_line(None, line).is_err() {
            wrong.push(line.to_owned());
        }
    }
    match builder.build() {
        Ok(rules) => (rules, wrong),
        // Each line by itself is a pattern, so this is their number.
        Err(error) => (Gitignore::empty(), vec![error.to_string()]),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    fn rules(excluded: &[&str], files: &[(&str, &str)]) -> Rules {
        let excluded: Vec<String> = excluded.iter().map(|&line| line.to_owned()).collect();
        let mut rules = Rules::new(&excluded).unwrap();
        for (folder, text) in files {
            rules.folders.insert((*folder).to_owned(), rules_of(text).0);
        }
        rules
    }

    fn left_out(rules: &Rules, path: &str) -> bool {
        rules.leaves_out_below(&path.parse().unwrap(), false)
    }

    #[test]
    fn the_deepest_file_has_the_last_word() {
        let rules = rules(
            &[],
            &[("", "*.log\n/build\n# a comment\n\nkeep/\n"), ("a/b", "!*.log\n/only-here\n")],
        );
        for path in ["x.log", "a/x.log", "build", "build/x", "a/keep/x", "a/b/only-here"] {
            assert!(left_out(&rules, path), "{path}");
        }
        for path in ["x", "a/b/x.log", "a/b/c/x.log", "a/build", "keep", "a/only-here"] {
            assert!(!left_out(&rules, path), "{path}");
        }
    }

    #[test]
    fn what_is_excluded_goes_before_all_files() {
        let rules = rules(&["*.tmp", "/cache/"], &[("", "!*.tmp\n")]);
        for path in ["x.tmp", "a/x.tmp", "cache/x"] {
            assert!(left_out(&rules, path), "{path}");
        }
        assert!(!left_out(&rules, "a/cache/x"));
        assert!(Rules::new(&["{a".to_owned()]).is_err());
    }

    #[test]
    fn hostile_lines_leave_the_others_as_they_are() {
        let (rules, wrong) = rules_of("\u{feff}*.a\n[\n*.b\r\n!\n\\\n");
        assert!(!wrong.is_empty());
        for name in ["x.a", "x.b"] {
            assert!(rules.matched(name, false).is_ignore(), "{name}");
        }
    }
}
