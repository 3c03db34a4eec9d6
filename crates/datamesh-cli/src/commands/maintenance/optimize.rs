//! `datamesh optimize`.

use datamesh_api::{OperationsExt, ReschemeRequest};
use datamesh_core::Scheme;

use super::released;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{plural, size};

/// Store files in the way that suits the mesh now
///
/// With --rescheme files that were stored when the mesh was smaller, or with less protection than it can give
/// now, are coded anew: their encrypted bytes are fetched, cut into other shards, stored, read back and
/// compared, and only when the catalog says so on a quorum of the mesh the shards before are released. What is
/// broken off goes on the next time with the versions that are left.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh optimize --rescheme --dry-run
  datamesh optimize --rescheme
  datamesh optimize --rescheme photos/2025.tar --scheme 8+4")]
pub(crate) struct OptimizeArgs {
    /// Code files anew in the scheme that suits the mesh now
    #[arg(long, required = true)]
    rescheme: bool,

    /// Only these files, all their versions
    names: Vec<String>,

    /// Another scheme than the one that suits the mesh: 4+2, 8+4, 16+8
    #[arg(long)]
    scheme: Option<Scheme>,

    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl OptimizeArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let Self { rescheme: _, names, scheme, dry_run } = self;
        let reply = operations.rescheme(ReschemeRequest { names, scheme, dry_run }).await?;
        let rewritten = &reply.rewritten;
        let left = reply.versions.saturating_sub(rewritten.versions);
        let partial = !dry_run && (left > 0 || rewritten.pending > 0);
        let outcome = if partial { Outcome::Partial } else { Outcome::Done };
        let output = &context.output;
        if output.is_for_programs() {
            output.answer(&reply)?;
            return Ok(outcome);
        }
        let (versions, segments) =
            (plural(reply.versions, "version"), plural(reply.segments, "segment"));
        output.line(format!(
            "{versions} not in {}: {segments} with {}, {} in shards; {} in the new ones",
            reply.scheme,
            size(reply.bytes),
            size(reply.stored_before),
            size(reply.stored_after)
        ))?;
        if !dry_run {
            output.line(format!(
                "coded anew: {} in {}, {}",
                plural(rewritten.versions, "version"),
                plural(rewritten.made, "segment"),
                size(rewritten.made_bytes)
            ))?;
            released(output, &rewritten.released);
        }
        output.pending(rewritten.pending);
        Ok(outcome)
    }
}
