//! Archives that are written and read, and those that others made to do harm.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise and lives in real time"
)]

mod behaviour;
mod bounds;
mod damage;
mod hostile_tars;
mod hostile_zips;
mod making;
mod round_trips;
mod tools;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datamesh_api::{OperationError, PutRequest};
use datamesh_archive::{
    Archive, ArchiveError, ExportOptions, ExportReport, Format, ImportOptions, ImportReport,
    Target, export, import,
};
use datamesh_testkit::SeededEntropy;
use datamesh_testkit::account::Account;
use zeroize::Zeroizing;

/// A cheap cost of the password, as these tests are not about that.
const WORK: u8 = 4;

pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

pub(crate) fn exporting(format: Format) -> ExportOptions {
    ExportOptions {
        format,
        password: None,
        work: WORK,
        metadata: false,
        patterns: Vec::new(),
        entropy: Arc::new(SeededEntropy::new(1)),
    }
}

pub(crate) fn sealed(format: Format) -> ExportOptions {
    ExportOptions { password: Some(Zeroizing::new(PASSWORD.to_owned())), ..exporting(format) }
}

/// Options that keep folders.
pub(crate) fn keeping() -> ImportOptions {
    ImportOptions {
        preserve_structure: true,
        put: PutRequest::default(),
        ..ImportOptions::default()
    }
}

pub(crate) fn take_out(
    account: &Account,
    file: &Path,
    options: &ExportOptions,
) -> Result<ExportReport, OperationError> {
    let target = Target::File(file.to_owned());
    block(export(account, &target, options, Arc::new(|_| {})))
}

pub(crate) fn password() -> Result<Zeroizing<String>, OperationError> {
    Ok(Zeroizing::new(PASSWORD.to_owned()))
}

/// Opens an archive as a file, or as a stream of its bytes.
pub(crate) fn open(file: &Path, stream: bool) -> Result<Archive, ArchiveError> {
    let file = File::open(file).unwrap();
    if stream { Archive::stream(Box::new(file), &password) } else { Archive::file(file, &password) }
}

pub(crate) fn bring_in(
    account: &Account,
    file: &Path,
    options: &ImportOptions,
    stream: bool,
) -> Result<ImportReport, OperationError> {
    let archive = open(file, stream)?;
    block(import(account, archive, options, Arc::new(|_| {}), |_| {}))
}

/// Brings bytes in, as a file and as a stream where that can be; both must say the same, and a file that
/// is refused must leave nothing. What the file says.
pub(crate) fn bring_bytes(
    bytes: &[u8],
    options: &ImportOptions,
) -> (Account, Result<ImportReport, OperationError>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive");
    std::fs::write(&file, bytes).unwrap();
    let account = Account::new();
    let report = bring_in(&account, &file, options, false);
    if report.is_err() {
        assert!(account.entries().is_empty(), "a refused archive left something");
    }
    if !bytes.starts_with(b"PK") {
        let streamed = bring_in(&Account::new(), &file, options, true);
        let stopped = |report: &Result<ImportReport, OperationError>| match report {
            Ok(report) => report.stopped.as_ref().map(|error| error.message.clone()),
            Err(error) => Some(error.message.clone()),
        };
        // Of a stream the first refusal is told, of a file all are.
        assert_eq!(stopped(&report).is_some(), stopped(&streamed).is_some(), "{streamed:?}");
    }
    (account, report)
}

/// What an import of these bytes is refused with.
pub(crate) fn refusal(bytes: &[u8]) -> String {
    let (_, report) = bring_bytes(bytes, &keeping());
    report.unwrap_err().message
}
