//! `datamesh popular`.

use clap::ValueEnum;
use datamesh_api::{OperationsExt, PopularRequest};

use super::{By, FilterArgs, limit, sort};
use crate::completion::mesh_names;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, columns, size, time};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// List the files that were fetched most often on this device
///
/// Counted is what `get` fetched whole, on this device alone, for up to 400 days. The counts stay on the
/// device: other devices of the account do not know them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh popular
  datamesh popular --period year --limit 5
  datamesh popular photos --type image --sort size
  datamesh popular --json")]
pub(crate) struct PopularArgs {
    /// Time that counts, up to now
    #[arg(long, value_enum, default_value_t = Period::Month, value_name = "TIME")]
    period: Period,

    #[command(flatten)]
    filter: FilterArgs,

    /// Show them in this order, not those first that were fetched most
    #[arg(long, value_enum, value_name = "ORDER")]
    sort: Option<By>,

    /// Only below this folder
    #[arg(add = mesh_names())]
    folder: Option<String>,

    /// Most files, up to 10000
    #[arg(long, value_name = "COUNT", value_parser = limit, default_value_t = 20)]
    limit: usize,
}

/// A time up to now.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Period {
    Day,
    Week,
    Month,
    Year,
    All,
}

impl Period {
    fn days(self) -> u64 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 30,
            Self::Year => 365,
            Self::All => u64::MAX / DAY_MS,
        }
    }
}

impl PopularArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
        let since = now.saturating_sub(self.period.days() * DAY_MS);
        let filter = self.filter.read(self.folder.as_deref())?;
        let operations = context.connect().await?;
        let mut reply =
            operations.popular(PopularRequest { since, filter, limit: self.limit }).await?;
        if let Some(by) = self.sort {
            sort(&mut reply.files, by, |popular| &popular.file);
        }
        let output = &context.output;
        if output.is_for_programs() {
            output.answer_rows(&reply, "/files", columns::POPULAR)?;
            return Ok(Outcome::Done);
        }
        let mut table = Table::new(&["NAME", ">FETCHED", "LAST", ">SIZE"]);
        for popular in &reply.files {
            table.row([
                popular.file.path.to_string(),
                popular.fetches.to_string(),
                time(popular.last_fetched),
                size(popular.file.size),
            ]);
        }
        output.table(&table)?;
        if reply.files.is_empty() {
            output.note("no file was fetched whole on this device in that time");
        }
        Ok(Outcome::Done)
    }
}
