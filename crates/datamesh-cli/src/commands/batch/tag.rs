//! `datamesh batch-tag`.

use datamesh_api::{LabelRequest, OperationsExt};

use crate::completion::mesh_names;
use crate::context::Context;
use crate::error::{Outcome, Stop, usage};
use crate::output::{Table, columns, plural};

/// Change tags and notes of files that are stored already
///
/// In a pattern `*` stands for anything within a name, `**` for any folders, `?` for one character, `[ab]` for
/// one of these and `{jpg,png}` for one of these words. Nothing is sent but the change of the catalog.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh batch-tag report.pdf --add-tags finance,2026
  datamesh batch-tag 'photos/**/*.{jpg,png}' --add-tags family --dry-run
  datamesh batch-tag '**' --remove-tags draft
  datamesh batch-tag contract.pdf --note \"signed by both\"")]
pub(crate) struct BatchTagArgs {
    /// Tags to add
    #[arg(long, value_delimiter = ',', value_name = "TAG,...")]
    add_tags: Vec<String>,

    /// Tags to take away
    #[arg(long, value_delimiter = ',', value_name = "TAG,...")]
    remove_tags: Vec<String>,

    /// A note that `search` finds; an empty one takes the note away
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,

    /// Tell what would be changed, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Names in the account, or patterns
    #[arg(required = true, value_name = "GLOB", add = mesh_names())]
    patterns: Vec<String>,
}

impl BatchTagArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if self.add_tags.is_empty() && self.remove_tags.is_empty() && self.note.is_none() {
            let nothing = usage("there is nothing to change");
            return Err(nothing.hint("give --add-tags, --remove-tags or --note").into());
        }
        let operations = context.connect().await?;
        let request = LabelRequest {
            patterns: self.patterns,
            add: self.add_tags,
            remove: self.remove_tags,
            note: self.note,
            dry_run: self.dry_run,
        };
        let reply = operations.label(request).await?;
        let output = &context.output;
        let partly = reply.pending > 0 || !reply.failed.is_empty();
        let outcome = if partly { Outcome::Partial } else { Outcome::Done };
        output.failures("changed", &reply.failed);
        if output.is_for_programs() {
            output.answer_rows(&reply, "/files", columns::LABELLED)?;
            return Ok(outcome);
        }
        let mut table = Table::new(&["NAME", "TAGS", "NOTE"]);
        let changed = reply.files.iter().filter(|file| !file.unchanged);
        for file in changed.clone() {
            table.row([file.path.as_str(), &file.tags.join(","), &file.note]);
        }
        output.table(&table)?;
        let (all, changed) = (reply.files.len() as u64, changed.count() as u64);
        let would = if reply.dry_run { "would be changed" } else { "changed" };
        let rest = all - changed;
        output
            .note(format!("{} {would}, {rest} as they should be already", plural(changed, "file")));
        output.pending(reply.pending);
        Ok(outcome)
    }
}
