//! `datamesh search`.

use clap::ValueEnum;
use datamesh_api::{OperationsExt, SearchRequest, Sort};

use super::{FilterArgs, limit, show};
use crate::context::Context;
use crate::error::{Outcome, Stop};

/// Find files by words of their names, folders, tags and notes
///
/// Each word must begin a word there: "rep" finds "annual-report.pdf". Words in double quotes follow each
/// other, a word behind a minus must not be there. What fits best comes first; a name counts more than a tag, a
/// tag more than a note, a note more than a folder. Capitals and accents make no difference.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh search annual report
  datamesh search report --type pdf --size \">1MB\" --date \"last month\"
  datamesh search --in work -- invoice -draft       \"draft\" must not be there
  datamesh search '\"annual report\"'               one behind the other
  datamesh search --regex '20(25|26)/.*\\.jpe?g$'   without words, a pattern of the whole path
  datamesh search --tags finance --sort size --reverse --json")]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// Only below this folder
    #[arg(long = "in", value_name = "FOLDER")]
    folder: Option<String>,

    /// Order: fit (what fits best first), name, size (smallest first), date (stored first)
    #[arg(long, value_enum, default_value_t = By::Fit, value_name = "ORDER")]
    sort: By,

    /// The other way round
    #[arg(long)]
    reverse: bool,

    /// Most files, up to 10000
    #[arg(long, value_name = "COUNT", value_parser = limit, default_value_t = 50)]
    limit: usize,

    /// Words to look for
    #[arg(value_name = "WORD")]
    words: Vec<String>,
}

/// Orders of files.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Fit,
    Name,
    Size,
    Date,
}

impl SearchArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let words = self.words.join(" ");
        let request = SearchRequest {
            words: (!words.trim().is_empty()).then_some(words),
            filter: self.filter.read(self.folder.as_deref())?,
            sort: match self.sort {
                By::Fit => Sort::Fit,
                By::Name => Sort::Name,
                By::Size => Sort::Size,
                By::Date => Sort::Date,
            },
            reverse: self.reverse,
            skip: 0,
            limit: self.limit,
        };
        let operations = context.connect().await?;
        show(context, &operations.search(request).await?)
    }
}
