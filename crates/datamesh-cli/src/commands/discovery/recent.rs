//! `datamesh recent`.

use datamesh_api::{OperationsExt, SearchRequest, Sort};

use super::{FilterArgs, limit, show};
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
        show(context, &operations.search(request).await?)
    }
}
