//! `datamesh duplicate`.

use datamesh_api::{DuplicateRequest, OperationsExt};

use super::placed;
use crate::completion::mesh_names;
use crate::context::Context;
use crate::error::{Outcome, Stop};

/// Give a file's content another name too, without moving a byte
///
/// The duplicate is a file of its own: what becomes of one does not change the other. It refers to the
/// segments that are stored already, so it takes no space but its entry in the catalog.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh duplicate report.pdf report-2025.pdf
  datamesh duplicate report.pdf archive/                   as archive/report.pdf
  datamesh duplicate --version 3 report.pdf third.pdf      an older version
  datamesh duplicate -r photos photos-backup")]
pub(crate) struct DuplicateArgs {
    /// Everything below the name, which is a folder
    #[arg(short, long)]
    recursive: bool,

    /// Which version's content it is to have, instead of the current one's
    #[arg(long, value_name = "N", conflicts_with = "recursive")]
    version: Option<u64>,

    /// Where a file has the other name already, make it a new version of that
    #[arg(long)]
    replace: bool,

    /// A name in the account, or the beginning of an id
    #[arg(value_name = "NAME", add = mesh_names())]
    name: String,

    /// The other name; one that ends with a slash is the folder that it goes into
    #[arg(value_name = "NEW_NAME", add = mesh_names())]
    to: String,
}

impl DuplicateArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let request = DuplicateRequest {
            to: placed::target(&self.name, &self.to)?,
            name: self.name,
            version: self.version,
            recursive: self.recursive,
            replace: self.replace,
        };
        let operations = context.connect().await?;
        placed::show(context, "duplicated", &operations.duplicate(request).await?)
    }
}
