//! `datamesh rename`.

use datamesh_api::{OperationsExt, RenameRequest};

use super::placed;
use crate::completion::mesh_names;
use crate::context::Context;
use crate::error::{Outcome, Stop};

/// Give a file or folder another name, without moving a byte
///
/// Nothing is overwritten unless you say --replace, and even then it is a new version of what was there. Where
/// there is a folder with the new name of a folder, both are joined.
/// Older versions stay at the old name, where `versions` lists them, and are kept as long as those of a
/// removed file.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh rename draft.pdf report.pdf
  datamesh rename report.pdf archive/          into a folder
  datamesh rename photos pictures              a folder, with everything below it")]
pub(crate) struct RenameArgs {
    /// Where a file has the new name already, make it a new version of that
    #[arg(long)]
    replace: bool,

    /// A file or folder in the account, or the beginning of a file's id
    #[arg(value_name = "NAME", add = mesh_names())]
    name: String,

    /// The new name; one that ends with a slash is the folder that it goes into
    #[arg(value_name = "NEW_NAME", add = mesh_names())]
    to: String,
}

impl RenameArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let to = placed::target(&self.name, &self.to)?;
        let operations = context.connect().await?;
        let request = RenameRequest { name: self.name, to, replace: self.replace };
        placed::show(context, "renamed", &operations.rename(request).await?)
    }
}
