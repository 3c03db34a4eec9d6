//! Checking the chain.

use std::path::Path;

use datamesh_api::OperationError;
use datamesh_core::Hash;
use serde::{Deserialize, Serialize};

use super::read::{Line, lines};
use super::{BEGINNING, FOLDER, files, hash_of, parse};
use crate::home::{Home, file_error};

/// Where the chain is broken, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLogProblem {
    /// The file in the home's folder `audit`; nothing where the log as a whole is meant.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u64>,
    /// The number of the entry that should stand there.
    pub number: u64,
    /// What is wrong.
    pub what: String,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLogChecked {
    /// Entries whose hash and place are right.
    pub entries: u64,
    /// Number of the first entry that is there.
    pub first: Option<u64>,
    /// Number of the last good one.
    pub last: Option<u64>,
    /// Hash of the last good one: noted elsewhere, it shows later that nothing before it changed.
    pub hash: Option<Hash>,
    /// The first problem; what follows it was not checked.
    pub problem: Option<AuditLogProblem>,
}

struct Check {
    checked: AuditLogChecked,
    next: u64,
    previous: Hash,
    /// The last entry that was cut off, as an entry says.
    cut: Option<u64>,
    expected: Option<(u64, Hash)>,
}

impl Check {
    /// Takes the next line; what is wrong with it, if anything.
    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let (recorded, body) = parse(line).ok_or("this is no entry: it was edited")?;
        if hash_of(body) != recorded.hash {
            return Err("its hash is not that of its content: it was edited");
        }
        let entry = &recorded.entry;
        if self.checked.first.is_none() {
            if entry.number == 1 && entry.previous != BEGINNING {
                return Err("the first entry follows another: entries before it were taken out");
            }
            (self.next, self.previous) = (entry.number, entry.previous);
            self.checked.first = Some(entry.number);
        }
        if entry.number != self.next || entry.previous != self.previous {
            return Err(
                "it does not follow the entry before it: entries were taken out, put in, or \
                        moved",
            );
        }
        if let Some((number, hash)) = self.expected
            && number == entry.number
            && hash != recorded.hash
        {
            return Err("it is not the entry that was noted: the log was written anew");
        }
        if entry.event == "log.cut"
            && let Some(through) = entry.detail.get("through").and_then(|t| t.parse().ok())
        {
            self.cut = Some(self.cut.unwrap_or(0).max(through));
        }
        self.checked.entries += 1;
        self.checked.last = Some(entry.number);
        self.checked.hash = Some(recorded.hash);
        (self.next, self.previous) = (entry.number + 1, recorded.hash);
        Ok(())
    }

    fn file(&mut self, path: &Path) -> std::io::Result<()> {
        let mut number = 0;
        let mut problem = None;
        lines(path, |line| {
            number += 1;
            let judged = match line {
                Line::Whole(line) => self.line(&line),
                Line::Torn => Err("the entry is torn: the machine stopped while it was written"),
                Line::Long => Err("the line is longer than any entry: it was edited"),
            };
            problem = judged.err();
            problem.is_none()
        })?;
        if let Some(what) = problem {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            self.checked.problem = Some(AuditLogProblem {
                file: name,
                line: Some(number),
                number: self.next,
                what: what.to_owned(),
            });
        }
        Ok(())
    }

    fn whole(&mut self, what: &str) {
        let number = self.next;
        let problem = AuditLogProblem { file: None, line: None, number, what: what.to_owned() };
        self.checked.problem.get_or_insert(problem);
    }
}

/// Checks every entry of a home's audit log, and that the entry noted as `expected` is still there.
///
/// # Errors
/// Where a file of the log cannot be read.
pub fn verify_audit_log(
    home: &Home,
    expected: Option<(u64, Hash)>,
) -> Result<AuditLogChecked, OperationError> {
    let folder = home.file(FOLDER);
    let checked =
        AuditLogChecked { entries: 0, first: None, last: None, hash: None, problem: None };
    let mut check = Check { checked, next: 1, previous: BEGINNING, cut: None, expected };
    for path in files(&folder).map_err(|error| file_error("reading", &folder, &error))? {
        check.file(&path).map_err(|error| file_error("reading", &path, &error))?;
        if check.checked.problem.is_some() {
            return Ok(check.checked);
        }
    }
    match check.checked.first {
        Some(first) if first > 1 && check.cut != Some(first - 1) => {
            check.next = 1;
            check.whole("entries before the first are gone, and no entry says that they were cut");
        }
        _ => {}
    }
    if let Some((number, _)) = expected
        && check.checked.last.unwrap_or(0) < number
    {
        check.whole("the log ends before the entry that was noted");
    }
    Ok(check.checked)
}
