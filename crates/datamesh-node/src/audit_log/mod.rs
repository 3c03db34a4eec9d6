//! The audit log: what was done in this home and to it, each entry chained to the one before by its
//! hash (`docs/specs/audit-log.md`).
//!
//! It lies in the home, in the clear, beside the catalog that has the same names in the clear: a
//! hashed name would tell its owner nothing and hide little from whoever has the home.
//!
//! Promised: an entry that is edited, taken out or moved is found, and where. Not promised: that the
//! newest entries are still there, or that the whole was not written anew, by somebody who can write
//! in the home. Against that a hash helps that was noted elsewhere: the check compares with it.

mod admissions;
mod read;
mod verify;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use datamesh_core::{Clock, Hash, Timestamp};
use serde::{Deserialize, Serialize};

use crate::home::Home;
use crate::system::SystemClock;

pub(crate) use admissions::NotedAdmissions;
pub use read::{AuditFilter, list_audit_log};
pub use verify::{AuditLogChecked, AuditLogProblem, verify_audit_log};

/// The folder in the home.
const FOLDER: &str = "audit";

/// Bytes after which an entry begins a new file.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Files that are kept; the oldest goes when there is one more, and an entry says so.
const FILES_MAX: usize = 64;

/// Longest line in bytes. Longer details are cut.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Longest value of a detail in bytes.
const VALUE_BYTES_MAX: usize = 512;

/// Entries of one event that others can cause, in an hour; those beyond are counted.
const CAUSED_MAX: u64 = 60;

/// The hour, in milliseconds.
const HOUR_MS: u64 = 3600 * 1000;

/// BLAKE3 derive-key context of the chain.
const CONTEXT: &str = "datamesh 2026 audit log entry v1";

/// What the first entry of all follows.
const BEGINNING: Hash = Hash([0; 32]);

/// One entry, without its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Counts from 1.
    pub number: u64,
    /// When it was written, by the machine's clock.
    pub time: Timestamp,
    /// What happened.
    pub event: String,
    /// More about it.
    pub detail: BTreeMap<String, String>,
    /// Hash of the entry before.
    pub previous: Hash,
}

/// An entry as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedEntry {
    /// The entry.
    #[serde(flatten)]
    pub entry: AuditEntry,
    /// Its hash.
    pub hash: Hash,
}

/// The end of the chain.
#[derive(Debug, Clone, Copy)]
struct End {
    number: u64,
    hash: Hash,
}

/// Writes the log of one home. Several processes may, one entry at a time.
#[derive(Debug)]
pub(crate) struct AuditLog {
    folder: PathBuf,
    /// [`FILE_BYTES_MAX`] and [`FILES_MAX`].
    bounds: (u64, usize),
    /// Where this process left the newest file: its path, length, and the chain's end.
    left: Mutex<Option<(PathBuf, u64, End)>>,
    /// For each event that others can cause: the hour, and how often it happened in it.
    caused: Mutex<BTreeMap<String, (u64, u64)>>,
}

fn hash_of(body: &[u8]) -> Hash {
    Hash::derive(CONTEXT, body)
}

/// The files of the log, oldest first.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "log") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The entry in a line without its end, and the line's hash as it stands there.
fn parse(line: &[u8]) -> Option<(RecordedEntry, &[u8])> {
    let (hash, body) = line.split_at_checked(64)?;
    let body = body.strip_prefix(b" ")?;
    let hash: Hash = std::str::from_utf8(hash).ok()?.parse().ok()?;
    let entry: AuditEntry = serde_json::from_slice(body).ok()?;
    Some((RecordedEntry { entry, hash }, body))
}

/// Whether a line is an entry, for the [fuzzer](crate::parsers).
pub(crate) fn is_entry(line: &[u8]) -> bool {
    parse(line).is_some()
}

/// The last whole line of a file, and where it ends.
fn last_line(file: &mut File) -> io::Result<(Vec<u8>, u64)> {
    let length = file.seek(SeekFrom::End(0))?;
    let from = length.saturating_sub(2 * LINE_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(2 * LINE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    // What follows the last line's end was cut off by a crash and never acknowledged.
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
        return Ok((Vec::new(), from));
    };
    let start = bytes[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Ok((bytes[start..end].to_vec(), from + end as u64 + 1))
}

/// What is written as a detail's value.
fn bounded(value: &str) -> String {
    let mut end = value.len().min(VALUE_BYTES_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    if end < value.len() { format!("{}…", &value[..end]) } else { value.to_owned() }
}

impl AuditLog {
    pub(crate) fn of(home: &Home) -> Self {
        let (left, caused) = (Mutex::new(None), Mutex::default());
        Self { folder: home.file(FOLDER), bounds: (FILE_BYTES_MAX, FILES_MAX), left, caused }
    }

    /// Writes an entry. A log that cannot be written stops nothing else: that is said in the
    /// service's own log.
    pub(crate) fn record(&self, event: &str, detail: &[(&str, String)]) {
        let detail = detail
            .iter()
            .take(12)
            .map(|(name, value)| ((*name).to_owned(), bounded(value)))
            .collect();
        if let Err(error) = self.append(event, detail) {
            tracing::error!(%error, event, "the audit log cannot be written");
        }
    }

    /// Writes an entry about something that others can cause as often as they like: no more than
    /// [`CAUSED_MAX`] of an event in an hour, so that nobody can push the rest out of the log. The
    /// first of a later hour says how many were left out.
    pub(crate) fn record_caused(&self, event: &str, detail: &[(&str, String)]) {
        let hour = SystemClock.now() / HOUR_MS;
        let left_out = {
            let mut caused = self.caused.lock().unwrap_or_else(PoisonError::into_inner);
            let (known, count) = caused.entry(event.to_owned()).or_insert((hour, 0));
            let left_out = if *known == hour { 0 } else { count.saturating_sub(CAUSED_MAX) };
            if *known != hour {
                (*known, *count) = (hour, 0);
            }
            *count += 1;
            if *count > CAUSED_MAX {
                return;
            }
            left_out
        };
        let mut detail = detail.to_vec();
        if left_out > 0 {
            detail.push(("left_out_before", left_out.to_string()));
        }
        self.record(event, &detail);
    }

    fn append(&self, event: &str, detail: BTreeMap<String, String>) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.folder.join("lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        let known = files(&self.folder)?;
        let (mut length, mut end, mut torn) = (0, End { number: 0, hash: BEGINNING }, 0);
        if let Some(path) = known.last() {
            let mut file = OpenOptions::new().read(true).write(true).open(path)?;
            length = file.metadata()?.len();
            match &*left {
                Some((seen, at, left)) if seen == path && *at == length => end = *left,
                _ => {
                    let (line, whole) = last_line(&mut file)?;
                    (torn, length) = (length - whole, whole);
                    file.set_len(whole)?;
                    // Chained to what stands there, be it an entry or not: the check says what is
                    // wrong with it.
                    end = match parse(&line) {
                        Some((last, _)) => End { number: last.entry.number, hash: last.hash },
                        None => End { number: number_of(path)?, hash: hash_of(&line) },
                    };
                }
            }
        }
        let first = end.number + 1;
        let mut lines = Vec::new();
        let mut add = |event: &str, detail: BTreeMap<String, String>| {
            let (time, event) = (SystemClock.now(), event.to_owned());
            let (number, previous) = (end.number + 1, end.hash);
            let entry = AuditEntry { number, time, event, detail, previous };
            let body = serde_json::to_vec(&entry).map_err(io::Error::other)?;
            end = End { number, hash: hash_of(&body) };
            lines.extend_from_slice(end.hash.to_string().as_bytes());
            lines.push(b' ');
            lines.extend_from_slice(&body);
            lines.push(b'\n');
            Ok::<(), io::Error>(())
        };
        if torn > 0 {
            add("log.torn", BTreeMap::from([("bytes".to_owned(), torn.to_string())]))?;
        }
        let current = known.last().filter(|_| length < self.bounds.0);
        let surplus = current.is_none() && known.len() >= self.bounds.1;
        if surplus && let Some(next) = known.get(1) {
            let through = number_of(next)?.saturating_sub(1).to_string();
            add("log.cut", BTreeMap::from([("through".to_owned(), through)]))?;
        }
        add(event, detail)?;
        let path = match current {
            Some(path) => path.clone(),
            None => self.folder.join(format!("{first:012}.log")),
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(current.is_none()).mode(0o600);
        let mut file = options.open(&path)?;
        let from = if current.is_some() { length } else { 0 };
        file.seek(SeekFrom::Start(from))?;
        file.write_all(&lines)?;
        *left = Some((path, from + lines.len() as u64, end));
        if surplus && let Some(oldest) = known.first() {
            // Not before the entry that says so is there.
            file.sync_all()?;
            fs::remove_file(oldest)?;
        }
        Ok(())
    }
}

/// The number of a file's first entry, which is its name.
fn number_of(path: &Path) -> io::Result<u64> {
    let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
    number.ok_or_else(|| io::Error::other("a file of the audit log has no number"))
}

#[cfg(test)]
mod tests;
