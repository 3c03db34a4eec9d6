//! What an import did. Its fields are a stable contract: `--json` prints them.

use datamesh_api::{EntryFailure, OperationError, PeerFault};
use datamesh_core::{Hash, MeshPath};
use serde::Serialize;

use crate::format::Format;

/// A file that was stored, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportedFile {
    /// Its path.
    pub path: MeshPath,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of its content in the archive.
    pub hash: Hash,
    /// Tags that it was given; those that it had before stay where there are none.
    pub tags: Vec<String>,
}

/// Names in one list of a report; of more the number says enough.
pub(super) const NAMED_MAX: usize = 10_000;

/// Faults that a report lists.
const FAULTS_MAX: usize = 100;

/// Bytes that the files of a report may take; the number counts those behind too.
const FILES_BYTES_MAX: usize = 64 << 20;

/// Files that are listed as far as there is room.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) listed: Vec<ImportedFile>,
    pub(super) count: u64,
    bytes: usize,
}

impl Files {
    pub(super) fn add(&mut self, file: ImportedFile) {
        let tags: usize = file.tags.iter().map(|tag| tag.len() + size_of::<String>()).sum();
        self.count += 1;
        self.bytes += size_of::<ImportedFile>() + file.path.as_str().len() + tags;
        if self.bytes <= FILES_BYTES_MAX {
            self.listed.push(file);
        }
    }
}

/// What an import did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct ImportReport {
    /// Nothing was done; `files` are what would be stored.
    pub dry_run: bool,
    /// The archive's format.
    pub format: Format,
    /// It was sealed under a password.
    pub encrypted: bool,
    /// What was stored, in the order of commits; the first of it where it is very much.
    pub files: Vec<ImportedFile>,
    /// How many files were stored.
    pub file_count: u64,
    /// Empty folders that were stored.
    pub folders: u64,
    /// Bytes of what was stored.
    pub bytes: u64,
    /// Bytes of that which were not sent, because the account had stored them already.
    pub known_bytes: u64,
    /// Files that were not stored because their path was taken, with `--skip-existing`.
    pub existing: Vec<MeshPath>,
    /// How many there are; the first 10,000 are listed.
    pub existing_count: u64,
    /// Files that were read back from the mesh and had the content of the archive; nothing where that
    /// was not asked for.
    pub verified: Option<u64>,
    /// Entries that are not stored, and why; the first 10,000.
    pub skipped: Vec<EntryFailure>,
    /// How many there are.
    pub skipped_count: u64,
    /// Entries that should have been stored and were not, or did not verify.
    pub failed: Vec<EntryFailure>,
    /// How many there are; the first 10,000 are listed.
    pub failed_count: u64,
    /// Shards that are owed.
    pub owed: usize,
    /// Some file was stored in a mesh too small for its scheme.
    pub degraded: bool,
    /// Peers that failed on the way.
    pub faults: Vec<PeerFault>,
    /// Changes of the catalog that too few nodes have yet.
    pub pending: u64,
    /// Why the import ended early; what is listed as stored stays.
    pub stopped: Option<OperationError>,
}

impl ImportReport {
    pub(super) fn new(format: Format, encrypted: bool, dry_run: bool) -> Self {
        Self {
            dry_run,
            format,
            encrypted,
            files: Vec::new(),
            file_count: 0,
            folders: 0,
            bytes: 0,
            known_bytes: 0,
            existing: Vec::new(),
            existing_count: 0,
            verified: None,
            skipped: Vec::new(),
            skipped_count: 0,
            failed: Vec::new(),
            failed_count: 0,
            owed: 0,
            degraded: false,
            faults: Vec::new(),
            pending: 0,
            stopped: None,
        }
    }

    /// Notes an entry that should have been stored.
    pub(super) fn fail(&mut self, failure: EntryFailure) {
        self.failed_count += 1;
        if self.failed.len() < NAMED_MAX {
            self.failed.push(failure);
        }
    }

    /// Notes a file that exists.
    pub(super) fn exists(&mut self, path: MeshPath) {
        self.existing_count += 1;
        if self.existing.len() < NAMED_MAX {
            self.existing.push(path);
        }
    }

    /// Notes peers that failed.
    pub(super) fn note_faults(&mut self, faults: Vec<PeerFault>) {
        let room = FAULTS_MAX.saturating_sub(self.faults.len());
        self.faults.extend(faults.into_iter().take(room));
    }

    /// Something of the archive is not on the mesh as it should be.
    pub fn is_partial(&self) -> bool {
        !self.skipped.is_empty()
            || !self.failed.is_empty()
            || self.owed > 0
            || self.pending > 0
            || self.stopped.is_some()
    }
}
