//! Bringing an archive in.
//!
//! An archive in a file is read twice. The first time all of it is checked, to the last byte: names,
//! limits, checksums, what its parts say of each other. Only then anything is stored; an archive that is
//! refused leaves the account as it was. A stream is read once, with the same checks: where it turns out
//! to be bad, what came before is stored already, and is listed.

mod guard;
mod item;
mod parcels;
mod report;
mod scan;
mod sources;
mod store;
mod verify;

use datamesh_api::{
    EntryFailure, ErrorKind, EventFn, OperationError, Operations, PutRequest, Totals,
};
use datamesh_core::{Hash, MeshPath};
use tokio::sync::mpsc;

use crate::entry::Walk;
use crate::error::ArchiveError;
use crate::limits::Limits;
use crate::open::Archive;

use self::guard::{SAME_WITHOUT_FOLDERS, Terms};
use self::item::Item;
use self::parcels::{PARCELS_WAITING, Parcels};
use self::report::Files;
use self::scan::{Scanned, Taker, scan};
use self::store::Store;

pub use self::report::{ImportReport, ImportedFile};

/// Refused entries that an error names.
const REFUSED_NAMED_MAX: usize = 10;

/// How an archive is brought in.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Read every file back from the mesh and compare it.
    pub verify: bool,
    /// Keep the folders of the archive; else only the last part of each name is used.
    pub preserve_structure: bool,
    /// The mesh folder that it goes to; all files where there is none.
    pub into: Option<MeshPath>,
    /// What comes before each tag that metadata brings. Where a file has no metadata, the folders in
    /// its name become its tags.
    pub tag_prefix: Option<String>,
    /// Leave paths alone that exist; else they get a new version.
    pub skip_existing: bool,
    /// Take names with backslashes, control characters or drive letters as they are.
    pub odd_names: bool,
    /// Only say what would be stored.
    pub dry_run: bool,
    /// How much the archive may ask for.
    pub limits: Limits,
    /// How files are stored. Its tags come to those of each file.
    pub put: PutRequest,
}

/// Notes what would be stored.
#[derive(Default)]
struct Look {
    files: Files,
    /// The files are listed, not only counted.
    list: bool,
    open: Option<Item>,
    bytes: u64,
    folders: u64,
}

impl Taker for Look {
    fn begin(&mut self, item: Item) -> Result<(), ArchiveError> {
        self.bytes += item.size;
        self.open = Some(item);
        Ok(())
    }

    fn bytes(&mut self, _: &[u8]) -> Result<(), ArchiveError> {
        Ok(())
    }

    fn end(&mut self, hash: Hash) -> Result<(), ArchiveError> {
        if let Some(Item { path, size, tags, .. }) = self.open.take().filter(|_| self.list) {
            self.files.add(ImportedFile { path, size, hash, tags });
        }
        Ok(())
    }

    fn folders(&mut self, folders: Vec<Item>) -> Result<(), ArchiveError> {
        self.folders = folders.len() as u64;
        Ok(())
    }
}

/// Checks all of an archive. Stores nothing.
fn look(
    archive: &mut Archive,
    terms: &Terms,
    prefix: Option<&str>,
    list: bool,
) -> Result<(Scanned, Look), ArchiveError> {
    let mut walk = archive.walk(&terms.limits)?;
    let mut look = Look { list, ..Look::default() };
    let scanned = scan(&mut *walk, terms, prefix, true, &mut look)?;
    Ok((scanned, look))
}

/// Checks an archive that is open already.
pub(crate) fn check(mut walk: Box<dyn Walk>, limits: Limits) -> Result<u64, ArchiveError> {
    let terms = Terms { structure: true, limits, ..Terms::default() };
    let mut look = Look::default();
    scan(&mut *walk, &terms, Some("tag "), true, &mut look).map(|_| look.bytes)
}

/// The error of an archive that has refused entries.
fn refused(refused: &[EntryFailure], count: u64) -> OperationError {
    let named = &refused[..refused.len().min(REFUSED_NAMED_MAX)];
    // Each reason once.
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for failure in named {
        let name = format!("\"{}\"", failure.path);
        match reasons.iter_mut().find(|(reason, _)| *reason == failure.reason) {
            Some((_, names)) => names.push(name),
            None => reasons.push((&failure.reason, vec![name])),
        }
    }
    let reasons: Vec<String> =
        reasons.iter().map(|(reason, names)| format!("{}: {reason}", names.join(", "))).collect();
    let more = count.saturating_sub(named.len() as u64);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let message = format!("the archive is refused: {}{more}", reasons.join("; "));
    let hint = if named.iter().all(|failure| failure.reason == SAME_WITHOUT_FOLDERS) {
        "--preserve-structure keeps the folders of the archive"
    } else {
        "unpack what you trust of it into an empty folder, and store that: datamesh put -r"
    };
    OperationError::new(ErrorKind::Failed, message).hint(hint)
}

fn broke_off(error: tokio::task::JoinError) -> OperationError {
    OperationError::new(ErrorKind::Failed, format!("reading the archive broke off: {error}"))
}

/// Brings an archive in. `length` is told how many bytes there are to store, where that is known.
///
/// # Errors
/// [`OperationError`] where the archive is refused or nothing of it could be stored. What goes wrong
/// later is in the report.
pub async fn import(
    operations: &dyn Operations,
    mut archive: Archive,
    options: &ImportOptions,
    events: EventFn,
    length: impl Fn(u64),
) -> Result<ImportReport, OperationError> {
    let terms = Terms {
        structure: options.preserve_structure,
        into: options.into.clone(),
        odd_names: options.odd_names,
        limits: options.limits,
    };
    let prefix = options.tag_prefix.clone();
    let mut report = ImportReport::new(archive.format(), archive.is_sealed(), options.dry_run);
    if options.dry_run || !archive.is_stream() {
        let (terms, prefix, list) = (terms.clone(), prefix.clone(), options.dry_run);
        let looked = tokio::task::spawn_blocking(move || {
            let looked = look(&mut archive, &terms, prefix.as_deref(), list);
            looked.map(|looked| (archive, looked))
        });
        let (again, (scanned, look)) = looked.await.map_err(broke_off)??;
        if scanned.refusals > 0 {
            return Err(refused(&scanned.refused, scanned.refusals));
        }
        if options.dry_run {
            (report.skipped, report.skipped_count) = (scanned.skipped, scanned.skips);
            (report.files, report.file_count) = (look.files.listed, look.files.count);
            (report.bytes, report.folders) = (look.bytes, look.folders);
            return Ok(report);
        }
        archive = again;
        length(look.bytes);
    }
    report.verified = options.verify.then_some(0);
    let (out, mut parcels) = mpsc::channel(PARCELS_WAITING);
    let reading = tokio::task::spawn_blocking(move || -> Result<Scanned, ArchiveError> {
        let mut walk = archive.walk(&terms.limits)?;
        let mut out = Parcels::new(out);
        let scanned = scan(&mut *walk, &terms, prefix.as_deref(), false, &mut out);
        match &scanned {
            Err(error) => out.break_off(&error.to_string()),
            Ok(_) => out.flush()?,
        }
        scanned
    });
    let (totals, files) = (Totals::new(events), Files::default());
    let mut store = Store { operations, options, totals, report, files };
    while let Some(parcel) = parcels.recv().await {
        store.parcel(parcel).await;
        if store.report.stopped.is_some() {
            break;
        }
    }
    // Where the storing stopped, the reading does now.
    drop(parcels);
    let scanned = reading.await.map_err(broke_off)?;
    let mut report = store.report;
    (report.files, report.file_count) = (store.files.listed, store.files.count);
    match scanned {
        Ok(scanned) => {
            (report.skipped, report.skipped_count) = (scanned.skipped, scanned.skips);
            if scanned.refusals > 0 {
                report.stopped.get_or_insert(refused(&scanned.refused, scanned.refusals));
            }
        }
        // Where the storing stopped, it says why.
        Err(error) => drop(report.stopped.get_or_insert(error.into())),
    }
    match report.stopped.take() {
        Some(error) if report.file_count + report.folders == 0 => Err(error),
        stopped => {
            report.stopped = stopped;
            Ok(report)
        }
    }
}
