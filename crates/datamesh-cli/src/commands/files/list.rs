//! `datamesh list`.

use datamesh_api::{FileVersion, ListEntry, ListRequest, OperationsExt, SearchRequest, Sort};

use crate::commands::discovery::{By, FilterArgs};
use crate::completion::mesh_names;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Format, Table, columns, size, time};
use crate::values::mesh_folder;

use super::protection;

/// Entries that are asked for at once: what is in memory, whatever the account holds.
const PAGE_ENTRIES: usize = 1000;

/// List files
///
/// With --type, --size, --date, --regex or --sort it lists files to any depth, as `search` does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh list                      the top of the account
  datamesh list photos/2026 -r       everything below a folder
  datamesh list -r --tags draft      all files with a tag
  datamesh list --size \">1GB\" --sort size --reverse
  datamesh list -r --json            for programs")]
pub(crate) struct ListArgs {
    /// To any depth
    #[arg(short, long)]
    recursive: bool,

    #[command(flatten)]
    filter: FilterArgs,

    /// Order: name, size (smallest first), date (stored first)
    #[arg(long, value_enum, value_name = "ORDER")]
    sort: Option<By>,

    /// The other way round
    #[arg(long, requires = "sort")]
    reverse: bool,

    /// Most entries
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,

    /// Only below this folder
    #[arg(add = mesh_names())]
    folder: Option<String>,
}

impl ListArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if self.filter.narrows_more() || self.sort.is_some() {
            return self.run_narrowed(context).await;
        }
        let folder = self.folder.as_deref().map(mesh_folder).transpose()?.flatten();
        let operations = context.connect().await?;
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut after = None;
        let mut pages = Pages::default();
        loop {
            let request = ListRequest {
                folder: folder.clone(),
                recursive: self.recursive,
                tags: self.filter.tags.clone(),
                limit: Some(left.min(PAGE_ENTRIES)),
                after: after.take(),
                ..ListRequest::default()
            };
            let reply = operations.list(request).await?;
            left = left.saturating_sub(reply.entries.len());
            let last = reply.next.is_none() || left == 0 || reply.entries.is_empty();
            after.clone_from(&reply.next);
            pages.show(context, reply.entries, last.then_some(after.is_some()))?;
            if last {
                return pages.end(context, after.is_some());
            }
        }
    }
}

impl ListArgs {
    /// Files to any depth that fit, from the search index, page by page.
    async fn run_narrowed(self, context: &Context) -> Result<Outcome, Stop> {
        let filter = self.filter.read(self.folder.as_deref())?;
        let operations = context.connect().await?;
        let (mut skip, mut left) = (0, self.limit.unwrap_or(usize::MAX));
        let mut pages = Pages::default();
        loop {
            let request = SearchRequest {
                words: None,
                filter: filter.clone(),
                sort: match self.sort {
                    None | Some(By::Name) => Sort::Name,
                    Some(By::Size) => Sort::Size,
                    Some(By::Date) => Sort::Date,
                },
                reverse: self.reverse,
                skip,
                limit: left.min(PAGE_ENTRIES),
            };
            let reply = operations.search(request).await?;
            skip += PAGE_ENTRIES;
            left = left.saturating_sub(PAGE_ENTRIES);
            let last = !reply.more || left == 0;
            let entries = reply.files.into_iter().map(ListEntry::Entry).collect();
            pages.show(context, entries, last.then_some(reply.more))?;
            if last {
                return pages.end(context, reply.more);
            }
        }
    }
}

/// Writes page by page what reads as one answer.
#[derive(Default)]
struct Pages {
    count: usize,
}

impl Pages {
    /// Shows a page. With the last one comes whether there are more than were asked for.
    fn show(
        &mut self,
        context: &Context,
        entries: Vec<ListEntry>,
        more: Option<bool>,
    ) -> Result<(), Stop> {
        match context.output.format() {
            Format::Json => self.json(context, &entries, more),
            Format::Csv => {
                self.count += entries.len();
                context.output.answer_rows(&entries, "", columns::ENTRIES)
            }
            Format::Table | Format::Archive(_) => self.table(context, &entries),
        }
    }

    /// Says what the rows do not: that there are none, or `more` than were asked for.
    fn end(&self, context: &Context, more: bool) -> Result<Outcome, Stop> {
        let output = &context.output;
        match (more, self.count) {
            _ if output.is_for_programs() => {}
            (true, _) => {
                output.note("there are more: see them with a larger --limit, or narrow it")
            }
            (false, 0) => output.note("no files"),
            (false, _) => {}
        }
        Ok(Outcome::Done)
    }

    fn json(
        &mut self,
        context: &Context,
        entries: &[ListEntry],
        more: Option<bool>,
    ) -> Result<(), Stop> {
        let mut text = String::new();
        if self.count == 0 {
            text.push_str("{\"entries\":[");
        }
        for entry in entries {
            if self.count > 0 {
                text.push(',');
            }
            self.count += 1;
            text.push_str(&encoded(entry)?);
        }
        if let Some(more) = more {
            text.push_str(&format!("],\"more\":{more}}}\n"));
        }
        context.output.raw(&text)
    }

    fn table(&mut self, context: &Context, entries: &[ListEntry]) -> Result<(), Stop> {
        let mut table = Table::new(&["NAME", ">SIZE", "STORED", "SCHEME", "TAGS"]);
        for entry in entries {
            match entry {
                ListEntry::Folder { path } => {
                    table.row([
                        format!("{path}/"),
                        String::new(),
                        String::new(),
                        String::new(),
                        String::new(),
                    ]);
                }
                ListEntry::Entry(version) => table.row(row(version)),
            }
        }
        self.count += entries.len();
        context.output.table(&table)
    }
}

/// A file or empty folder as a row of a table.
pub(crate) fn row(version: &FileVersion) -> [String; 5] {
    let folder = version.kind == Some(datamesh_core::catalog::EntryKind::Folder);
    [
        if folder { format!("{}/", version.path) } else { version.path.to_string() },
        if folder { "-".to_owned() } else { size(version.size) },
        time(version.created),
        protection(version),
        version.tags.join(","),
    ]
}

fn encoded(value: &impl serde::Serialize) -> Result<String, Stop> {
    serde_json::to_string(value).map_err(|error| Stop::Failed(crate::error::failed(error)))
}
