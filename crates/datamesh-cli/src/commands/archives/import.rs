//! `datamesh import`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use datamesh_api::{ErrorKind, OperationError, PutRequest};
use datamesh_archive::{Archive, ImportOptions, ImportReport, Limits, import};

use crate::context::Context;
use crate::error::{Outcome, Stop, usage};
use crate::output::{Table, Transfer, plural, size, visible};
use crate::password::Password;
use crate::values::{self, mesh_folder};
use crate::waiting::waiting;

/// Bring the files of an archive in
///
/// tar, tar.zst and zip are read, encrypted by `export --encrypt` or `age -p` or not, whoever made them.
/// All of a file is checked before anything of it is stored; a stream is checked as it comes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh import all.tar.zst --preserve-structure     with the folders that it has
  datamesh import holiday.zip --into photos/2026       all files into one folder
  datamesh import old.zip --dry-run                    what would be stored
  datamesh import all.tar.zst.age --preserve-structure --verify
  xz -dc old.tar.xz | datamesh import - --preserve-structure

Without --preserve-structure only the last part of each name is used; two files that have the same are refused. A \
path that exists gets a new version, as by `put`.

Tags and notes come from archives that were exported with --include-metadata. --tag-prefix P makes a tag \"x\" of such a \
file to \"Px\"; a file without metadata gets a tag of P and the name of each folder that it is in.

Nothing is stored of an archive that has absolute names, names with \"..\", one name for two things, contents that \
do not fit their checksums, or more than the limits allow. Links, devices, sparse files and names that other \
systems take for something else are passed over and listed, and the exit code is 4.")]
pub(crate) struct ImportArgs {
    /// Read each file back from the mesh and compare it with the archive
    #[arg(long)]
    verify: bool,

    /// Keep the folders of the archive
    #[arg(long)]
    preserve_structure: bool,

    /// What comes before each tag
    #[arg(long, value_name = "PREFIX")]
    tag_prefix: Option<String>,

    /// The mesh folder that it goes to [default: all files]
    #[arg(long, value_name = "FOLDER")]
    into: Option<String>,

    /// Leave files alone that exist
    #[arg(long)]
    skip_existing: bool,

    /// Take names with backslashes, control characters and drive letters as they are
    #[arg(long)]
    odd_names: bool,

    /// Only say what would be stored
    #[arg(long)]
    dry_run: bool,

    /// Store even where there are too few failure domains, with less protection
    #[arg(long)]
    allow_degraded: bool,

    /// Most entries that the archive may have
    #[arg(long, value_name = "N", default_value_t = Limits::default().entries)]
    max_entries: u64,

    /// Most bytes that may come of it
    #[arg(long, value_name = "SIZE", default_value = "1TiB", value_parser = values::size)]
    max_size: u64,

    /// Most bytes that may come of one byte of it, beyond the first 256 MiB
    #[arg(long, value_name = "N", default_value_t = Limits::default().ratio)]
    max_ratio: u64,

    /// A file whose first line is the archive's password [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    archive_password_file: Option<PathBuf>,

    /// The archive; - is standard input
    archive: PathBuf,
}

impl ImportArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if context.console && self.archive == Path::new("-") {
            return Err(usage("standard input is the console's own here").into());
        }
        let options = self.options()?;
        let verbose = context.output.is_verbose();
        let opened = waiting(move || self.open()).await;
        let archive = opened??;
        let operations = context.connect().await?;
        let transfer = Transfer::begin(&context.output, "import", None);
        let report =
            import(&*operations, archive, &options, transfer.events(), transfer.length()).await;
        transfer.end();
        tell(context, &report?, verbose)
    }

    fn options(&self) -> Result<ImportOptions, OperationError> {
        Ok(ImportOptions {
            verify: self.verify,
            preserve_structure: self.preserve_structure,
            into: self.into.as_deref().map(mesh_folder).transpose()?.flatten(),
            tag_prefix: self.tag_prefix.clone(),
            skip_existing: self.skip_existing,
            odd_names: self.odd_names,
            dry_run: self.dry_run,
            limits: Limits {
                entries: self.max_entries,
                bytes: self.max_size,
                ratio: self.max_ratio,
            },
            put: PutRequest { allow_degraded: self.allow_degraded, ..PutRequest::default() },
        })
    }

    /// Opens the archive, and asks for its password if it needs one.
    fn open(&self) -> Result<Archive, OperationError> {
        let password = Password::of_archive(self.archive_password_file.clone());
        let ask = || password.get();
        let shown = self.archive.display();
        let failed = |error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Failed,
            };
            OperationError::new(kind, format!("\"{shown}\" cannot be read: {error}"))
        };
        let file = match self.archive == Path::new("-") {
            true => File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?),
            false => File::open(&self.archive).map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(usage(format!("\"{shown}\" is a folder"))
                .hint("store a folder and all below it with datamesh put -r"));
        }
        let opened = match metadata.is_file() {
            true => Archive::file(file, &ask),
            false => Archive::stream(Box::new(file), &ask),
        };
        Ok(opened?)
    }
}

/// Says what came of it.
fn tell(context: &Context, report: &ImportReport, verbose: bool) -> Result<Outcome, Stop> {
    let output = &context.output;
    output.failures("taken in", &report.skipped);
    output.failures("imported", &report.failed);
    let bytes = size(report.bytes);
    let files = plural(report.file_count, "file");
    if output.is_for_programs() {
        output.answer(report)?;
    } else if report.dry_run {
        let mut table = Table::new(&["NAME", ">SIZE", "TAGS"]);
        for file in &report.files {
            table.row([file.path.to_string(), size(file.size), file.tags.join(",")]);
        }
        output.table(&table)?;
        output.note(format!("{files}, {bytes} would be stored"));
    } else {
        for file in report.files.iter().filter(|_| verbose) {
            output.line(format!(
                "imported {}  {}",
                visible(file.path.as_str()),
                size(file.size)
            ))?;
        }
        output.line(format!("imported {files}, {bytes}"))?;
    }
    notes(context, report);
    Ok(if report.is_partial() { Outcome::Partial } else { Outcome::Done })
}

/// Says what else is to be known.
fn notes(context: &Context, report: &ImportReport) {
    let output = &context.output;
    if let Some(verified) = report.verified {
        output.note(format!("{} read back and compared", plural(verified, "file")));
    }
    let unnamed = |count: u64, named: usize| count.saturating_sub(named as u64);
    let skipped = unnamed(report.skipped_count, report.skipped.len());
    if skipped > 0 {
        output.warn(format!("{} more not taken in", plural(skipped, "name")));
    }
    let failed = unnamed(report.failed_count, report.failed.len());
    if failed > 0 {
        output.warn(format!("{} more not imported", plural(failed, "file")));
    }
    if report.existing_count > 0 {
        let left = plural(report.existing_count, "file");
        output.note(format!("{left} left alone, as they exist"));
    }
    if report.known_bytes > 0 {
        let known = size(report.known_bytes);
        output.note(format!("{known} were not sent: the account stores the same content already"));
    }
    output.faults(&report.faults);
    if report.degraded {
        output.warn(
            "degraded: one failure domain holds several shards, so the loss of one may lose the file",
        );
    }
    if report.owed > 0 {
        let shards = plural(report.owed as u64, "shard");
        output.warn(format!(
            "{shards} found no node and are owed: the margin is smaller until they are stored"
        ));
    }
    output.pending(report.pending);
    if let Some(stopped) = &report.stopped {
        output.warn(format!("the import ended early: {}", visible(&stopped.message)));
        if let Some(hint) = &stopped.hint {
            output.note(hint);
        }
    }
}
