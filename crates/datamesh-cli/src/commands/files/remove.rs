//! `datamesh remove`.

use datamesh_api::{OperationsExt, RemoveRequest};

use crate::completion::mesh_names;
use crate::context::Context;
use crate::error::{Outcome, Stop, usage};
use crate::output::{plural, visible};

/// Mark files as deleted
///
/// A removed file is no longer listed. Its versions stay and can still be fetched by number or taken
/// back with `versions --undelete`, and so does the space that they take. `cleanup` gives up what was
/// removed 30 days ago, `versions --purge --force` at once; nodes keep it in their trash for 7 days
/// more, and then their space comes back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh remove report.pdf draft.pdf
  datamesh remove -r photos/2019
  datamesh get --version 1 report.pdf back.pdf     a version of a removed file")]
pub(crate) struct RemoveArgs {
    /// Of folders everything below them
    #[arg(short, long)]
    recursive: bool,

    /// Names in the account, or beginnings of files' ids
    #[arg(required = true, value_name = "NAME", add = mesh_names())]
    names: Vec<String>,
}

impl RemoveArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let mut names = self.names;
        if self.recursive {
            for name in &mut names {
                *name = name.trim_end_matches('/').to_owned();
            }
            if names.iter().any(String::is_empty) {
                return Err(usage("all files at once cannot be removed")
                    .hint("name the folders: datamesh list")
                    .into());
            }
        }
        let operations = context.connect().await?;
        let request = RemoveRequest { names, recursive: self.recursive };
        let reply = operations.remove(request).await?;
        let output = &context.output;
        let outcome = if reply.pending > 0 { Outcome::Partial } else { Outcome::Done };
        if output.is_for_programs() {
            output.answer(&reply)?;
            return Ok(outcome);
        }
        for path in &reply.removed {
            output.line(format!("removed {}", visible(path.as_str())))?;
        }
        let files = plural(reply.removed.len() as u64, "file");
        output.note(format!(
            "{files} removed; their versions and space stay until they are cleaned up or purged: datamesh cleanup --help"
        ));
        output.pending(reply.pending);
        Ok(outcome)
    }
}
