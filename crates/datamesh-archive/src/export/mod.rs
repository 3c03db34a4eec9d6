//! Taking files out into an archive.
//!
//! The account is listed page by page and each file is fetched in the version that was listed, small
//! ones several at once. A file that cannot be had is left out and listed. Where a large one breaks off
//! in the middle, its beginning is in the archive already and cannot be taken back: then the archive is
//! begun again without it. Into a pipe that cannot be done, and the export fails.

mod fetch;
mod select;
mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use datamesh_api::{
    EntryFailure, ErrorKind, EventFn, FileVersion, GetReply, OperationError, Operations, PeerFault,
    Totals,
};
use datamesh_core::catalog::EntryKind;
use datamesh_core::{Entropy, MeshPath};
use datamesh_crypto::keystore::PASSWORD_BYTES_MIN;
use futures::StreamExt;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::entry::Entry;
use crate::format::Format;
use crate::metadata::{METADATA_BYTES_MAX, Metadata};
use crate::names::Name;
use crate::paths::{Clash, Paths};

use self::fetch::{Fetched, SMALL_BYTES};
use self::select::Pages;
use self::writer::{Form, Order, Writer};

pub use self::writer::Target;
pub use datamesh_crypto::age::WORK as PASSWORD_WORK;

/// Small files that are fetched at once.
const AT_ONCE: usize = 8;

/// How often an archive is begun again.
const BEGUN_AGAIN_MAX: usize = 8;

/// Files that fail one after the other because nobody can be reached, before it is believed.
const UNREACHABLE_MAX: usize = 16;

/// Faults that a report lists.
const FAULTS_MAX: usize = 100;

/// How files are taken out.
#[derive(Clone)]
pub struct ExportOptions {
    /// The archive's format.
    pub format: Format,
    /// Seals the archive.
    pub password: Option<Zeroizing<String>>,
    /// What stretching the password costs: [`PASSWORD_WORK`].
    pub work: u8,
    /// Keeps tags, notes, hashes and times of the files.
    pub metadata: bool,
    /// Files, folders with all that is in them, and patterns; all files where there are none.
    pub patterns: Vec<String>,
    /// What keys are drawn from.
    pub entropy: Arc<dyn Entropy>,
}

/// What an export did. Its fields are a stable contract: `--json` prints them.
#[derive(Debug, Clone, Serialize)]
pub struct ExportReport {
    /// The archive's format.
    pub format: Format,
    /// It is sealed under a password.
    pub encrypted: bool,
    /// Tags, notes, hashes and times went with the files.
    pub metadata: bool,
    /// Files in the archive.
    pub files: u64,
    /// Empty folders in it.
    pub folders: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Names that other systems may take for something else, and that an import takes with `--odd-names`
    /// only.
    pub odd_names: u64,
    /// What is not in the archive, and why.
    pub failed: Vec<EntryFailure>,
    /// Peers that failed on the way; others served in their place.
    pub faults: Vec<PeerFault>,
}

/// One attempt at an archive.
struct Run<'a> {
    operations: &'a dyn Operations,
    options: &'a ExportOptions,
    totals: Totals,
    report: ExportReport,
    /// Files that broke off in an attempt before, and why.
    left_out: &'a [EntryFailure],
    unreachable: usize,
    /// The account keeps a file and a folder of one name apart; no disk does.
    paths: Paths,
}

/// Why an attempt ended.
enum Ended {
    /// This file broke off in the middle.
    Part(EntryFailure),
    /// The writing failed.
    Writing,
    /// It cannot be done.
    Failed(OperationError),
}

impl From<OperationError> for Ended {
    fn from(error: OperationError) -> Self {
        Self::Failed(error)
    }
}

/// Takes files out into an archive.
///
/// # Errors
/// [`OperationError`] where nothing is meant by the patterns, the account cannot be listed, or the archive
/// cannot be written whole. Then no file has its name.
pub async fn export(
    operations: &dyn Operations,
    target: &Target,
    options: &ExportOptions,
    events: EventFn,
) -> Result<ExportReport, OperationError> {
    if options.password.as_ref().is_some_and(|password| password.len() < PASSWORD_BYTES_MIN) {
        let message = format!("a password needs at least {PASSWORD_BYTES_MIN} bytes");
        return Err(OperationError::usage(message));
    }
    let mut left_out: Vec<EntryFailure> = Vec::new();
    loop {
        let form = Form {
            format: options.format,
            password: options.password.clone(),
            work: options.work,
            entropy: Arc::clone(&options.entropy),
        };
        let mut run = Run::new(operations, options, Arc::clone(&events), &left_out);
        let mut pages = Pages::new(&options.patterns)?;
        // Before there is a file: it is not made for nothing.
        let first = run.first(&mut pages).await?;
        let writer = Writer::begin(target, form)?;
        match run.all(first, &mut pages, &writer).await {
            Ok(()) => {
                let unreachable = run.unreachable;
                let mut report = run.report;
                report.failed.extend(left_out);
                if report.files + report.folders == 0 {
                    return Err(nothing(&report.failed, unreachable));
                }
                report.archive_bytes = writer.finish().await?;
                return Ok(report);
            }
            Err(Ended::Writing) => return Err(writer.failure().await),
            Err(Ended::Failed(error)) => return Err(error),
            Err(Ended::Part(failure)) => {
                let again = writer.can_begin_again() && left_out.len() < BEGUN_AGAIN_MAX;
                drop(writer);
                if !again {
                    let message = format!("\"{}\" broke off: {}", failure.path, failure.reason);
                    return Err(OperationError::new(ErrorKind::Failed, message)
                        .hint("try again, or take the others out with --pattern"));
                }
                left_out.push(failure);
            }
        }
    }
}

/// The error where not one file could be had, so many of them because too few nodes answer.
fn nothing(failed: &[EntryFailure], unreachable: usize) -> OperationError {
    let message = match failed {
        [one] => format!("\"{}\" could not be fetched: {}", one.path, one.reason),
        all => format!("none of {} files could be fetched", all.len()),
    };
    if unreachable < failed.len() {
        return OperationError::new(ErrorKind::Failed, message);
    }
    OperationError::new(ErrorKind::Network, message)
        .hint("see which nodes answer with: datamesh peers")
}

impl<'a> Run<'a> {
    fn new(
        operations: &'a dyn Operations,
        options: &'a ExportOptions,
        events: EventFn,
        left_out: &'a [EntryFailure],
    ) -> Self {
        let report = ExportReport {
            format: options.format,
            encrypted: options.password.is_some(),
            metadata: options.metadata,
            files: 0,
            folders: 0,
            bytes: 0,
            archive_bytes: 0,
            odd_names: 0,
            failed: Vec::new(),
            faults: Vec::new(),
        };
        Self {
            operations,
            options,
            totals: Totals::new(events),
            report,
            left_out,
            unreachable: 0,
            paths: Paths::default(),
        }
    }

    /// The first page with something on it.
    async fn first(&self, pages: &mut Pages) -> Result<Vec<FileVersion>, OperationError> {
        while let Some(page) = pages.next(self.operations).await? {
            if !page.is_empty() {
                return Ok(page);
            }
        }
        Err(OperationError::new(ErrorKind::NotFound, "there is nothing to export")
            .hint("datamesh list -r shows what there is"))
    }

    /// Writes all pages.
    async fn all(
        &mut self,
        first: Vec<FileVersion>,
        pages: &mut Pages,
        writer: &Writer,
    ) -> Result<(), Ended> {
        let mut page = Some(first);
        while let Some(versions) = page {
            self.page(versions, writer).await?;
            page = pages.next(self.operations).await?;
        }
        Ok(())
    }

    async fn page(&mut self, versions: Vec<FileVersion>, writer: &Writer) -> Result<(), Ended> {
        let left_out: BTreeSet<&str> =
            self.left_out.iter().map(|failure| failure.path.as_str()).collect();
        let mut wanted = Vec::with_capacity(versions.len());
        for version in versions {
            if left_out.contains(version.path.as_str()) {
                continue;
            }
            let folder = version.kind == Some(EntryKind::Folder);
            let added = self.paths.add(version.path.as_str(), folder);
            // Two names may mean the same file.
            if added == Err(Clash::Twice) {
                continue;
            }
            if let Err(Clash::Both(path)) = added {
                let reason = format!("\"{path}\" is a file and a folder, which no disk can have");
                let path = version.path.to_string();
                self.report.failed.push(EntryFailure { path, reason });
                continue;
            }
            wanted.push(version);
        }
        let (operations, metadata) = (self.operations, self.options.metadata);
        let totals = self.totals.clone();
        // In the order of the list; a large file waits until all before it are written.
        let mut coming = futures::stream::iter(wanted)
            .map(|version| {
                let events = totals.part();
                async move {
                    let is_small =
                        version.size < SMALL_BYTES || version.kind == Some(EntryKind::Folder);
                    if !is_small {
                        return (version, None);
                    }
                    let fetched = fetch::small(operations, &version, metadata, events).await;
                    (version, Some(fetched))
                }
            })
            .buffered(AT_ONCE);
        while let Some((version, fetched)) = coming.next().await {
            match fetched {
                Some(Ok((entry, content, reply))) => {
                    self.small(&version, entry, content, reply, writer).await?;
                }
                Some(Err(error)) => self.failed(&version.path, error)?,
                None => self.large(&version, writer).await?,
            }
        }
        Ok(())
    }

    async fn small(
        &mut self,
        version: &FileVersion,
        entry: Entry,
        content: Bytes,
        reply: GetReply,
        writer: &Writer,
    ) -> Result<(), Ended> {
        let sent = writer.send(Order::Whole(entry, content)).await;
        sent.map_err(|_| Ended::Writing)?;
        self.done(version, reply);
        Ok(())
    }

    async fn large(&mut self, version: &FileVersion, writer: &Writer) -> Result<(), Ended> {
        let (operations, metadata) = (self.operations, self.options.metadata);
        let events = self.totals.part();
        match fetch::large(operations, version, metadata, writer, events).await {
            Fetched::Whole(reply) => self.done(version, reply),
            Fetched::Nothing(error) => self.failed(&version.path, error)?,
            Fetched::Part(_) if writer.has_failed() => return Err(Ended::Writing),
            Fetched::Part(reason) => {
                let path = version.path.to_string();
                return Err(Ended::Part(EntryFailure { path, reason }));
            }
        }
        Ok(())
    }

    fn done(&mut self, version: &FileVersion, reply: GetReply) {
        let report = &mut self.report;
        self.unreachable = 0;
        match version.kind {
            Some(EntryKind::Folder) => report.folders += 1,
            _ => report.files += 1,
        }
        report.bytes += version.size;
        let room = FAULTS_MAX.saturating_sub(report.faults.len());
        report.faults.extend(reply.faults.into_iter().take(room));
        let odd = matches!(Name::judge(version.path.as_str().as_bytes(), false), Name::Odd(_));
        report.odd_names += u64::from(odd);
        if self.options.metadata && Metadata::of(version).to_text().is_none() {
            let reason = format!(
                "it is in the archive without its metadata, which is longer than \
                 {METADATA_BYTES_MAX} bytes"
            );
            report.failed.push(EntryFailure { path: version.path.to_string(), reason });
        }
    }

    /// Notes a file that cannot be had. Where nobody can be reached, none can.
    fn failed(&mut self, path: &MeshPath, error: OperationError) -> Result<(), Ended> {
        match error.kind {
            ErrorKind::Network => self.unreachable += 1,
            _ => self.unreachable = 0,
        }
        if self.unreachable > UNREACHABLE_MAX {
            return Err(Ended::Failed(error));
        }
        let reason = error.message;
        self.report.failed.push(EntryFailure { path: path.to_string(), reason });
        Ok(())
    }
}
