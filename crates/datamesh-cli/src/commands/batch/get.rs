//! `datamesh batch-get`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use datamesh_api::{EntryFailure, GetRequest, ListEntry, ListRequest, OperationsExt};
use datamesh_mirror::local::{self, LocalSink, Target};

use crate::commands::files::{merged, tell_fetched};
use crate::completion::mesh_names;
use crate::context::Context;
use crate::error::{Outcome, Stop, failed};
use crate::output::{Table, Transfer, columns, plural, size};
use crate::waiting::waiting;

/// Files of a page of the list of what would be fetched.
const PAGE_ENTRIES: usize = 1000;

/// Fetch many files, which names and patterns mean
///
/// In a pattern `*` stands for anything within a name, `**` for any folders, `?` for one character, `[ab]` for
/// one of these and `{jpg,png}` for one of these words; put it in quotes, so that the shell leaves it alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh batch-get 'photos/2026/*.jpg' pictures
  datamesh batch-get 'src/**/*.rs' copy --preserve-structure
  datamesh batch-get '**/*.pdf' papers --dry-run

Without --preserve-structure all files go into DEST itself by their last names; where two have the same, the \
second is not fetched. What is not fetched is listed, and the exit code is 4.")]
pub(crate) struct BatchGetArgs {
    /// Keep the folders of the account below DEST
    #[arg(long)]
    preserve_structure: bool,

    /// Files under way at once [default: as many as memory allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    parallel: Option<u16>,

    /// Tell what would be fetched, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Names in the account, or patterns
    #[arg(required = true, value_name = "GLOB", add = mesh_names())]
    patterns: Vec<String>,

    /// The folder that they go to; it is made where it is not there
    #[arg(required = true)]
    dest: PathBuf,
}

impl BatchGetArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if self.dry_run {
            return self.plan(context).await;
        }
        let target = match self.preserve_structure {
            true => Target::Tree(self.dest),
            false => Target::Folder(self.dest),
        };
        let operations = context.connect().await?;
        let mut sink = waiting(move || LocalSink::open(target)).await??;
        let output = context.output.clone();
        sink.left_to(move |bytes| {
            let bytes = size(bytes);
            output.note(format!("{bytes} are kept: the same command will go on from there"));
        });
        let parallel = self.parallel.unwrap_or(0);
        let request = GetRequest::Matching { patterns: self.patterns, parallel };
        let transfer = Transfer::begin(&context.output, "get", None);
        let reply = operations.get(request, &mut sink, transfer.events()).await;
        let written = sink.finish().await;
        let seconds = transfer.end().as_secs_f64();
        let (reply, closed) = merged(reply, written)?;
        if closed {
            return Err(failed("the output was closed before the end").into());
        }
        tell_fetched(context, &reply, seconds, None, false)
    }

    async fn plan(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let (mut after, mut files) = (None, Vec::new());
        loop {
            let request = ListRequest {
                patterns: self.patterns.clone(),
                limit: Some(PAGE_ENTRIES),
                after: after.take(),
                ..ListRequest::default()
            };
            let page = operations.list(request).await?;
            files.extend(page.entries.into_iter().filter_map(|entry| match entry {
                ListEntry::Entry(file) => Some(file),
                ListEntry::Folder { .. } => None,
            }));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let output = &context.output;
        // What the fetch itself would say of files that have the name of another.
        let (mut given, mut failed) = (BTreeSet::new(), Vec::new());
        if !self.preserve_structure {
            files.retain(|file| {
                let is_first = given.insert(file.path.name().to_owned());
                if !is_first {
                    let reason = local::same_name(file.path.name());
                    failed.push(EntryFailure { path: file.path.to_string(), reason });
                }
                is_first
            });
        }
        let outcome = if failed.is_empty() { Outcome::Done } else { Outcome::Partial };
        output.failures("fetched", &failed);
        if output.is_for_programs() {
            let plan = serde_json::json!({ "files": files, "failed": failed });
            output.answer_rows(&plan, "/files", columns::FILES)?;
            return Ok(outcome);
        }
        let mut table = Table::new(&["NAME", "SIZE"]);
        for file in &files {
            table.row([file.path.as_str(), &size(file.size)]);
        }
        output.table(&table)?;
        let bytes = files.iter().map(|file| file.size).sum();
        let count = plural(files.len() as u64, "file");
        output.note(format!("{count}, {} would be fetched", size(bytes)));
        Ok(outcome)
    }
}
