//! What narrows a search, the same in every command.

use datamesh_api::{Filter, SearchRequest, grammar};

use crate::error::{Stop, usage};
use crate::values::mesh_folder;

/// How many files are shown at most.
pub(crate) fn limit(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count <= SearchRequest::LIMIT_MAX);
    count.ok_or_else(|| {
        format!("\"{text}\" is not a number up to {}: list has no limit", SearchRequest::LIMIT_MAX)
    })
}

/// What narrows a search.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct FilterArgs {
    /// Only files with all these tags
    #[arg(long, value_delimiter = ',', value_name = "TAG,...")]
    pub(crate) tags: Vec<String>,

    /// Only files of these types: extensions, or image, video, audio, document, archive, code
    #[arg(long = "type", value_delimiter = ',', value_name = "TYPE,...")]
    pub(crate) types: Vec<String>,

    /// Only files of this size: ">1MB", "<=2GiB", "1MB-10MB"
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) size: Option<String>,

    /// Only files that were stored then: "last week", 2026-01-31, 2026-01-01:2026-06-30, ">2026-01-01"
    #[arg(long, value_name = "DATE")]
    pub(crate) date: Option<String>,

    /// Only files whose path this regular expression fits
    #[arg(long, value_name = "PATTERN")]
    pub(crate) regex: Option<String>,
}

impl FilterArgs {
    /// Whether there is more than tags, which a list knows by itself.
    pub(crate) fn narrows_more(&self) -> bool {
        !self.types.is_empty() || self.size.is_some() || self.date.is_some() || self.regex.is_some()
    }

    /// What the words mean.
    pub(crate) fn read(self, folder: Option<&str>) -> Result<Filter, Stop> {
        let mut extensions = Vec::new();
        for name in &self.types {
            extensions.extend(grammar::extensions(name).map_err(usage)?);
        }
        let now = jiff::Zoned::now();
        let dates = |text: &String| grammar::dates(text, &now);
        let sizes = |text: &String| grammar::sizes(text);
        Ok(Filter {
            folder: folder.map(mesh_folder).transpose()?.flatten(),
            tags: self.tags,
            extensions,
            size: self.size.as_ref().map(sizes).transpose().map_err(usage)?,
            stored: self.date.as_ref().map(dates).transpose().map_err(usage)?,
            pattern: self.regex,
        })
    }
}
