//! `datamesh versions`.

use std::time::Duration;

use datamesh_api::{OperationsExt, PurgeRequest, UndeleteRequest, VersionsRequest};

use crate::commands::maintenance::{kept_pinned, released};
use crate::completion::mesh_names;
use crate::context::Context;
use crate::error::{Outcome, Stop, usage};
use crate::output::{Table, columns, plural, size, time, visible};

use super::protection;

/// List the versions of files, take one back, or give old ones up
///
/// With --purge versions that need not be kept are given up for good: all but the current one, unless
/// --keep or --younger-than keep more. The versions of a removed file are kept for 30 days after the
/// removal, unless --force. What only they referred to is released; nodes keep it in their trash for
/// 7 days, and then their space comes back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh versions report.pdf
  datamesh get --version 3 report.pdf third.pdf
  datamesh versions --undelete report.pdf                     what was removed is back
  datamesh versions --undelete --version 3 report.pdf         an older version is current again
  datamesh versions --purge --keep 5 --younger-than 90d report.pdf --dry-run")]
pub(crate) struct VersionsArgs {
    /// Make the newest version, or the one of --version, the current one again
    #[arg(long, conflicts_with = "purge")]
    undelete: bool,

    /// The number of the version to take back
    #[arg(long, requires = "undelete", value_name = "N")]
    version: Option<u64>,

    /// Give up the versions that need not be kept
    #[arg(long)]
    purge: bool,

    /// Keep so many of the newest versions, the current one among them
    #[arg(long, requires = "purge", value_name = "N")]
    keep: Option<u64>,

    /// Keep versions that are younger than this, for instance 30d
    #[arg(long, requires = "purge", value_name = "TIME", value_parser = humantime::parse_duration)]
    younger_than: Option<Duration>,

    /// Give up the versions of a removed file at once
    #[arg(long, requires = "purge")]
    force: bool,

    /// Tell what would be given up, and do nothing
    #[arg(long, requires = "purge")]
    dry_run: bool,

    /// Names in the account, or beginnings of files' ids
    #[arg(required = true, value_name = "NAME", add = mesh_names())]
    names: Vec<String>,
}

impl VersionsArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if !self.purge && self.names.len() > 1 {
            return Err(usage("one file at a time")
                .hint("several names go with --purge only")
                .into());
        }
        if self.purge {
            self.run_purge(context).await
        } else if self.undelete {
            self.run_undelete(context).await
        } else {
            self.run_list(context).await
        }
    }

    async fn run_list(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let output = &context.output;
        let mut table = Table::new(&[">VERSION", "STATE", ">SIZE", "STORED", "SCHEME", "ID"]);
        for name in self.names {
            let reply = operations.versions(VersionsRequest { name }).await?;
            if output.is_for_programs() {
                output.answer_rows(&reply, "/versions", columns::FILES)?;
                continue;
            }
            for (at, version) in reply.versions.iter().enumerate() {
                let state = match (version.deleted, version.purged, at) {
                    (true, ..) => "deleted",
                    (_, true, _) => "purged",
                    (_, _, 0) => "current",
                    _ => "",
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
        }
        if !output.is_for_programs() {
            output.table(&table)?;
        }
        Ok(Outcome::Done)
    }

    async fn run_undelete(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let output = &context.output;
        let mut outcome = Outcome::Done;
        for name in self.names {
            let request = UndeleteRequest { name, version: self.version };
            let reply = operations.undelete(request).await?;
            if reply.pending > 0 {
                outcome = Outcome::Partial;
            }
            if output.is_for_programs() {
                output.answer(&reply)?;
            } else {
                output.line(format!("took back {}", visible(reply.path.as_str())))?;
                output.pending(reply.pending);
            }
        }
        Ok(outcome)
    }

    async fn run_purge(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let request = PurgeRequest {
            names: self.names,
            keep: self.keep,
            younger_than_ms: self
                .younger_than
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            force: self.force,
            dry_run: self.dry_run,
        };
        let reply = operations.purge(request).await?;
        let output = &context.output;
        let outcome = if reply.pending > 0 { Outcome::Partial } else { Outcome::Done };
        if output.is_for_programs() {
            output.answer(&reply)?;
            return Ok(outcome);
        }
        let versions = plural(reply.versions, "version");
        let would = if self.dry_run { "would give up" } else { "gave up" };
        output.line(format!("{would} {versions}, {} of content", size(reply.bytes)))?;
        let segments = plural(reply.unreferenced, "segment");
        output.note(format!(
            "{segments} only they refer to, {} shared with versions that stay",
            reply.shared
        ));
        kept_pinned(output, reply.pinned);
        if !self.dry_run {
            released(output, &reply.released);
        }
        output.pending(reply.pending);
        Ok(outcome)
    }
}
