//! What a check found, and how it is told.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, relative to the root.
    pub(crate) file: PathBuf,
    /// The line, counted from 1; 0 where the whole file is meant.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) text: String,
}

impl Finding {
    /// A finding about a whole file.
    pub(crate) fn file(file: &Path, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, text: text.into() }
    }

    /// A finding about one line.
    pub(crate) fn line(file: &Path, line: usize, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.text),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.text),
        }
    }
}

/// Prints findings in order and fails where there are any.
pub(crate) fn report(chore: &str, findings: Result<Vec<Finding>, String>) -> Result<(), String> {
    let mut findings = findings?;
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("{chore}: nothing found");
            Ok(())
        }
        1 => Err(format!("{chore}: 1 finding")),
        more => Err(format!("{chore}: {more} findings")),
    }
}
