//! `datamesh cleanup`.

use datamesh_api::{CleanupRequest, OperationsExt};

use super::released;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{plural, size};

/// Give back the space of what nothing refers to any more
///
/// Gives up the versions of files that were removed 30 days ago, and of the others those that the
/// settings retention.keep and retention.younger_than do not keep (by default all are kept). Releases what puts
/// that were broken off left on nodes. With --orphaned it also asks every node what it keeps for this account
/// and releases what is older than 7 days and not in any version, transfer or page of the catalog.
/// Nodes keep released shards in their trash for 7 days, and then their space comes back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh cleanup --dry-run
  datamesh cleanup --orphaned
  datamesh cleanup --force        removed files at once; they cannot be taken back then")]
pub(crate) struct CleanupArgs {
    /// Ask all nodes what they keep for this account
    #[arg(long)]
    orphaned: bool,

    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not wait the 30 days in which a removed file can be taken back
    #[arg(long)]
    force: bool,
}

impl CleanupArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let Self { orphaned, dry_run, force } = self;
        let reply = operations.cleanup(CleanupRequest { orphaned, dry_run, force }).await?;
        let partial = reply.deleted.pending > 0 || !reply.silent.is_empty();
        let outcome = if partial { Outcome::Partial } else { Outcome::Done };
        let output = &context.output;
        if output.is_json() {
            output.json(&reply)?;
            return Ok(outcome);
        }
        let would = if dry_run { "would give up" } else { "gave up" };
        output.line(format!(
            "{would} {} of removed files and old ones, {} of content",
            plural(reply.deleted.versions, "version"),
            size(reply.deleted.bytes)
        ))?;
        let found = |count, what| format!("{} {what}", plural(count, "segment"));
        output.line(found(reply.deleted.unreferenced, "only they refer to"))?;
        output.line(found(reply.left, "of broken-off puts"))?;
        if orphaned {
            output.line(format!(
                "{} that nothing refers to, {} with {}",
                plural(reply.orphaned, "segment"),
                plural(reply.orphaned_shards, "shard"),
                size(reply.orphaned_bytes)
            ))?;
        }
        if !dry_run {
            let mut all = reply.deleted.released.clone();
            all.segments += reply.released.segments;
            all.shards += reply.released.shards;
            all.bytes += reply.released.bytes;
            all.not_found += reply.released.not_found;
            all.renewed += reply.released.renewed;
            all.unanswered = all.unanswered.max(reply.released.unanswered);
            released(output, &all);
        }
        for node in &reply.silent {
            output.note(format!("{node} does not say what it keeps"));
        }
        output.pending(reply.deleted.pending);
        Ok(outcome)
    }
}
