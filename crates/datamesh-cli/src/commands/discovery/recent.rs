//! `datamesh recent`.

use datamesh_api::{OperationsExt, SearchRequest, Sort};

use super::{By, FilterArgs, limit, show, sort};
use crate::completion::mesh_names;
use crate::context::Context;
use crate::error::{Outcome, Stop};

/// List the files that were stored last
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh recent
  datamesh recent --type image --limit 5
  datamesh recent photos --date today")]
pub(crate) struct RecentArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// Most files, up to 10000
    #[arg(long, value_name = "COUNT", value_parser = limit, default_value_t = 20)]
    limit: usize,

    /// Show them in this order, not the newest first
    #[arg(long, value_enum, value_name = "ORDER")]
    sort: Option<By>,

    /// Only below this folder
    #[arg(add = mesh_names())]
    folder: Option<String>,
}

impl RecentArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let request = SearchRequest {
            words: None,
            filter: self.filter.read(self.folder.as_deref())?,
            sort: Sort::Date,
            reverse: true,
            skip: 0,
            limit: self.limit,
        };
        let operations = context.connect().await?;
        let mut reply = operations.search(request).await?;
        if let Some(by) = self.sort {
            sort(&mut reply.files, by, |file| file);
        }
        show(context, &reply)
    }
}
