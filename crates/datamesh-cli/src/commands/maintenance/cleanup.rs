//! `datamesh cleanup`.

use datamesh_api::{CleanupRequest, OperationsExt};

use super::{kept_pinned, released};
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{plural, size, visible};

/// Give back the space of what nothing refers to any more
///
/// Gives up the versions of files that were removed 30 days ago, and of the others those that the
/// settings retention.keep and retention.younger_than do not keep (by default all are kept). Releases what puts
/// that were broken off left on nodes. With --orphaned it also asks every node what it keeps for this account
/// and releases what is older than 7 days and not in any version, transfer or page of the catalog.
/// With --duplicates, content that was stored more than once is kept once and referred to; with --low-health,
/// files that lack shards are listed and mended, and nothing of them is deleted.
/// Segments of which less than half is still referred to give what lives to fresh ones, and where there are
/// eight small segments or more they are merged; the old ones are released after that.
/// Nodes keep released shards in their trash for 7 days, and then their space comes back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh cleanup --dry-run
  datamesh cleanup --orphaned
  datamesh cleanup --duplicates --low-health
  datamesh cleanup --force        removed files at once; they cannot be taken back then")]
pub(crate) struct CleanupArgs {
    /// Ask all nodes what they keep for this account
    #[arg(long)]
    orphaned: bool,

    /// Bring content together that is stored more than once
    #[arg(long)]
    duplicates: bool,

    /// List files that lack shards, and have the nodes mend them
    #[arg(long)]
    low_health: bool,

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
        let Self { orphaned, duplicates, low_health, dry_run, force } = self;
        let request = CleanupRequest { orphaned, duplicates, low_health, dry_run, force };
        let reply = operations.cleanup(request).await?;
        let rewritten = [&reply.duplicates.rewritten, &reply.repacked.rewritten];
        let pending = rewritten.iter().map(|rewritten| rewritten.pending).max().unwrap_or(0);
        let pending = pending.max(reply.deleted.pending);
        let low = &reply.low_health;
        // What is still low in the end is what remains to be done.
        let lacking = low
            .files
            .iter()
            .any(|file| file.mended.is_none() || file.reason.is_some() || file.mended < Some(0));
        let partial = pending > 0 || !reply.silent.is_empty() || (!dry_run && lacking);
        let outcome = if partial { Outcome::Partial } else { Outcome::Done };
        let output = &context.output;
        if output.is_for_programs() {
            output.answer(&reply)?;
            return Ok(outcome);
        }
        let would = if dry_run { "would give up" } else { "gave up" };
        output.line(format!(
            "{would} {} of removed files and old ones, {} of content",
            plural(reply.deleted.versions, "version"),
            size(reply.deleted.bytes)
        ))?;
        kept_pinned(output, reply.deleted.pinned);
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
        if duplicates {
            let parts = plural(reply.duplicates.slices, "part");
            let bytes = size(reply.duplicates.bytes);
            output.line(format!("{parts} of files stored more than once, {bytes}"))?;
            if reply.duplicates.kept > 0 {
                let kept = plural(reply.duplicates.kept, "content");
                output.note(format!("{kept} stay as they are: too few nodes renewed a copy"));
            }
        }
        if low_health {
            output.line(format!(
                "{} that lack shards, {} unreadable now, {} rebuilt",
                plural(low.count, "file"),
                low.unreadable,
                plural(low.rebuilt, "shard")
            ))?;
            for file in &low.files {
                let margin = |margin: Option<i32>| {
                    margin.map_or_else(|| "unknown".to_owned(), |margin| margin.to_string())
                };
                let now = match dry_run {
                    true => String::new(),
                    false => format!(", now {}", margin(file.mended)),
                };
                let why = file.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
                let name = visible(file.path.as_str());
                output.line(format!("  {name}  margin {}{now}{why}", margin(file.margin)))?;
            }
        }
        let repacked = &reply.repacked;
        if repacked.sparse + repacked.small > 0 {
            let sparse = plural(repacked.sparse, "segment");
            let of_all = format!("{} of {}", size(repacked.live_bytes), size(repacked.bytes));
            output.line(format!(
                "{sparse} of which less than half is referred to, {} small ones: {of_all} stay",
                repacked.small
            ))?;
        }
        if !dry_run {
            let mut all = reply.deleted.released.clone();
            let moved = rewritten.map(|rewritten| &rewritten.released);
            for more in moved.into_iter().chain([&reply.released]) {
                all.segments += more.segments;
                all.shards += more.shards;
                all.bytes += more.bytes;
                all.not_found += more.not_found;
                all.renewed += more.renewed;
                all.unanswered = all.unanswered.max(more.unanswered);
            }
            released(output, &all);
        }
        for node in &reply.silent {
            output.note(format!("{node} does not say what it keeps"));
        }
        output.pending(pending);
        Ok(outcome)
    }
}
