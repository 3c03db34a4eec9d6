//! `datamesh versions`.

use datamesh_api::{OperationsExt, VersionsRequest};

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, size, time};

use super::protection;

/// List the versions of a file, the newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh versions report.pdf
  datamesh get --version 3 report.pdf third.pdf")]
pub(crate) struct VersionsArgs {
    /// A name in the account, or the beginning of a file's id
    name: String,
}

impl VersionsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let reply = operations.versions(VersionsRequest { name: self.name }).await?;
        let output = &context.output;
        if output.is_json() {
            output.json(&reply)?;
            return Ok(Outcome::Done);
        }
        let mut table = Table::new(&[">VERSION", "STATE", ">SIZE", "STORED", "SCHEME", "ID"]);
        for (at, version) in reply.versions.iter().enumerate() {
            let state = match (version.deleted, at) {
                (true, _) => "deleted",
                (false, 0) => "current",
                (false, _) => "",
            };
            table.row([
                version.number.to_string(),
                state.to_owned(),
                if version.deleted { "-".to_owned() } else { size(version.size) },
                time(version.created),
                protection(version),
                version.version.to_string(),
            ]);
        }
        output.table(&table)?;
        Ok(Outcome::Done)
    }
}
