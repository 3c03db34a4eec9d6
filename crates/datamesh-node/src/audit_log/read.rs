//! Reading the log, a line at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use datamesh_api::OperationError;
use datamesh_core::Timestamp;

use super::{FOLDER, LINE_BYTES_MAX, RecordedEntry, files, parse};
use crate::home::{Home, file_error};

/// Most entries that one call returns.
const ENTRIES_MAX: usize = 100_000;

/// Which entries are wanted.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Events that are this one or begin with it and a dot: `key` for `key.export`.
    pub event: Option<String>,
    /// Nothing before this time.
    pub since: Option<Timestamp>,
    /// Nothing from this time on.
    pub until: Option<Timestamp>,
    /// Text in the event or in a detail.
    pub text: Option<String>,
    /// The newest so many, at most 100 000.
    pub limit: Option<usize>,
}

impl AuditFilter {
    fn takes(&self, recorded: &RecordedEntry) -> bool {
        let entry = &recorded.entry;
        let named = |wanted: &String| {
            entry
                .event
                .strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.event.as_ref().is_none_or(named)
            && self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time < until)
            && self.text.as_ref().is_none_or(|text| {
                entry.event.contains(text) || entry.detail.values().any(|v| v.contains(text))
            })
    }
}

/// One line of a file.
pub(super) enum Line {
    /// A line with its end.
    Whole(Vec<u8>),
    /// Bytes at the end of the file without a line's end.
    Torn,
    /// More bytes than a line may have.
    Long,
}

/// Calls `each` for the lines of a file until it says no.
pub(super) fn lines(path: &Path, mut each: impl FnMut(Line) -> bool) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    loop {
        let mut line = Vec::new();
        reader.by_ref().take(LINE_BYTES_MAX as u64 * 2).read_until(b'\n', &mut line)?;
        let line = match line.pop() {
            None => return Ok(()),
            Some(b'\n') => Line::Whole(line),
            Some(_) if line.len() + 1 >= LINE_BYTES_MAX * 2 => Line::Long,
            Some(_) => Line::Torn,
        };
        let last = !matches!(line, Line::Whole(_));
        if !each(line) || last {
            return Ok(());
        }
    }
}

/// The newest entries that a filter takes, oldest first. Lines that are no entries are left out:
/// [`verify_audit_log`](super::verify_audit_log) says where they are.
///
/// # Errors
/// Where a file of the log cannot be read.
pub fn list_audit_log(
    home: &Home,
    filter: &AuditFilter,
) -> Result<Vec<RecordedEntry>, OperationError> {
    let folder = home.file(FOLDER);
    let limit = filter.limit.unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX);
    let mut newest: VecDeque<RecordedEntry> = VecDeque::new();
    for path in files(&folder).map_err(|error| file_error("reading", &folder, &error))? {
        let read = lines(&path, |line| {
            if let Line::Whole(line) = line
                && let Some((recorded, _)) = parse(&line)
                && filter.takes(&recorded)
            {
                newest.push_back(recorded);
                if newest.len() > limit {
                    newest.pop_front();
                }
            }
            true
        });
        read.map_err(|error| file_error("reading", &path, &error))?;
    }
    Ok(newest.into())
}
