//! `datamesh invite`.

use std::time::Duration;

use datamesh_api::{InviteRequest, OperationsExt};

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::time;
use crate::values::{duration, size};

/// Make a ticket with which others join this mesh
///
/// The ticket is one line on standard output. It is a secret: whoever has it may join while it lasts.
/// Joining works only while this home's service runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh invite > ticket
  datamesh invite --uses 1 --expires 1h --node-only
  datamesh invite --account-only --quota 50GiB")]
pub(crate) struct InviteArgs {
    /// How many homes may use it
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,

    /// How long it lasts
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = duration)]
    expires: Duration,

    /// It admits nodes and permits no account to store
    #[arg(long, conflicts_with = "account_only")]
    node_only: bool,

    /// It permits accounts to store and admits no node
    #[arg(long)]
    account_only: bool,

    /// Most bytes that an account that joins by it may store on each node [default: no bound]
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "node_only")]
    quota: Option<u64>,
}

impl InviteArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let request = InviteRequest {
            uses: self.uses,
            expires_ms: u64::try_from(self.expires.as_millis()).unwrap_or(u64::MAX),
            node: !self.account_only,
            account: !self.node_only,
            bytes_per_node: self.quota.unwrap_or(u64::MAX),
        };
        let reply = operations.invite(request).await?;
        if context.output.is_for_programs() {
            context.output.answer(&reply)?;
            return Ok(Outcome::Done);
        }
        context.output.line(&reply.ticket)?;
        context.output.note(format!(
            "keep it secret; {} may use it until {}",
            crate::output::plural(reply.uses.into(), "home"),
            time(reply.expires)
        ));
        Ok(Outcome::Done)
    }
}
