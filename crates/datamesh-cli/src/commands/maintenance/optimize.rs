//! `datamesh optimize`.

use datamesh_api::{
    AnalysisReply, CompressReply, CompressRequest, DefragReply, OperationsExt, OptimizeRequest,
    RebalanceReply, ReschemeReply, ReschemeRequest, RewriteReply,
};
use datamesh_core::Scheme;

use super::released;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Output, Table, plural, size};

/// Store things better: more densely, more evenly, in the scheme that suits the mesh now
///
/// Whatever moves is stored anew, read back and compared first; the catalog says so on a quorum of the mesh;
/// only then what lay there before is released. What is broken off goes on the next time with what is left.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh optimize --analyze              what would be worth doing, from measurements
  datamesh optimize --defrag --dry-run
  datamesh optimize --compress --unread 90
  datamesh optimize --rescheme photos/2025.tar --scheme 8+4")]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct OptimizeArgs {
    /// Measure, and tell what would be worth doing; changes nothing
    #[arg(long, group = "what")]
    analyze: bool,

    /// Empty segments that are less than half full, merge small ones, and give back what is dead in packs
    #[arg(long, group = "what")]
    defrag: bool,

    /// Have this home's node move shards to nodes with more room now
    #[arg(long, group = "what")]
    rebalance: bool,

    /// Compress what is read seldom, with more effort than a put can take
    #[arg(long, group = "what")]
    compress: bool,

    /// Code files anew in the scheme that suits the mesh now
    #[arg(long, group = "what")]
    rescheme: bool,

    /// With --rescheme: only these files, all their versions
    #[arg(requires = "rescheme")]
    names: Vec<String>,

    /// With --rescheme: another scheme than the one that suits the mesh: 4+2, 8+4, 16+8
    #[arg(long, requires = "rescheme")]
    scheme: Option<Scheme>,

    /// With --compress: days in which a file was neither stored nor fetched on this device
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    unread: u32,

    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl OptimizeArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let dry_run = self.dry_run;
        let request = OptimizeRequest {
            analyze: self.analyze,
            rescheme: self
                .rescheme
                .then_some(ReschemeRequest { names: self.names, scheme: self.scheme }),
            compress: self.compress.then_some(CompressRequest { unread_days: self.unread }),
            defrag: self.defrag,
            rebalance: self.rebalance,
            dry_run,
        };
        let reply = operations.optimize(request).await?;
        let rewrites = [
            reply.rescheme.as_ref().map(|reply| &reply.rewritten),
            reply.compress.as_ref().map(|reply| &reply.rewritten),
            reply
                .defrag
                .as_ref()
                .and_then(|reply| reply.segments.as_ref())
                .map(|reply| &reply.rewritten),
        ];
        let pending: u64 = rewrites.iter().flatten().map(|rewritten| rewritten.pending).sum();
        let left = reply
            .rescheme
            .as_ref()
            .is_some_and(|reply| !dry_run && reply.versions > reply.rewritten.versions);
        let refused = reply
            .defrag
            .as_ref()
            .and_then(|reply| reply.packs.as_ref())
            .is_some_and(|packs| packs.refused.is_some());
        let waiting = reply
            .rebalance
            .as_ref()
            .is_some_and(|reply| !dry_run && (reply.waiting > 0 || !reply.looked));
        let partly = pending > 0 || left || refused || waiting;
        let outcome = if partly { Outcome::Partial } else { Outcome::Done };
        let output = &context.output;
        if output.is_for_programs() {
            output.answer(&reply)?;
            return Ok(outcome);
        }
        if let Some(analysis) = &reply.analysis {
            tell_analysis(output, analysis)?;
        }
        if let Some(reply) = &reply.rescheme {
            tell_rescheme(output, reply, dry_run)?;
        }
        if let Some(reply) = &reply.compress {
            tell_compress(output, reply, dry_run)?;
        }
        if let Some(reply) = &reply.defrag {
            tell_defrag(output, reply, dry_run)?;
        }
        if let Some(reply) = &reply.rebalance {
            tell_rebalance(output, reply, dry_run)?;
        }
        output.pending(pending);
        Ok(outcome)
    }
}

fn tell_analysis(output: &Output, analysis: &AnalysisReply) -> Result<(), Stop> {
    let mut table = Table::new(&["SUBJECT", ">GIVES BACK", "COMMAND", "MEASURED"]);
    for advice in &analysis.advice {
        let gain = advice.bytes.map_or_else(|| "-".to_owned(), size);
        table.row([advice.subject.as_str(), &gain, &advice.command, &advice.measured]);
    }
    output.table(&table)?;
    if analysis.advice.is_empty() {
        output.line("nothing is worth doing")?;
    }
    for fine in &analysis.fine {
        output.note(fine);
    }
    for skipped in &analysis.skipped {
        output.note(format!("not looked at: {skipped}"));
    }
    Ok(())
}

/// Tells what came of moving content to other segments.
fn tell_rewritten(output: &Output, how: &str, reply: &RewriteReply) -> Result<(), Stop> {
    output.line(format!(
        "{how}: {} in {}, {}",
        plural(reply.versions, "version"),
        plural(reply.made, "segment"),
        size(reply.made_bytes)
    ))?;
    released(output, &reply.released);
    Ok(())
}

fn tell_rescheme(output: &Output, reply: &ReschemeReply, dry_run: bool) -> Result<(), Stop> {
    let (versions, segments) =
        (plural(reply.versions, "version"), plural(reply.segments, "segment"));
    output.line(format!(
        "{versions} not in {}: {segments} with {}, {} in shards; {} in the new ones",
        reply.scheme,
        size(reply.bytes),
        size(reply.stored_before),
        size(reply.stored_after)
    ))?;
    if dry_run { Ok(()) } else { tell_rewritten(output, "coded anew", &reply.rewritten) }
}

fn tell_compress(output: &Output, reply: &CompressReply, dry_run: bool) -> Result<(), Stop> {
    let versions = plural(reply.versions, "version");
    output.line(format!("{versions} read seldom, {} of content", size(reply.bytes)))?;
    if dry_run {
        return output.line(format!(
            "tried: {} with {}, which would have {} less",
            plural(reply.sampled, "part"),
            size(reply.sampled_bytes),
            size(reply.sampled_saved)
        ));
    }
    tell_rewritten(output, "compressed", &reply.rewritten)
}

fn tell_defrag(output: &Output, reply: &DefragReply, dry_run: bool) -> Result<(), Stop> {
    if let Some(segments) = &reply.segments {
        output.line(format!(
            "{} less than half full, {} small: {} with {} that something refers to",
            plural(segments.sparse, "segment"),
            segments.small,
            size(segments.bytes),
            size(segments.live_bytes)
        ))?;
        if !dry_run {
            tell_rewritten(output, "merged", &segments.rewritten)?;
        }
    }
    if let Some(packs) = &reply.packs {
        let (used, dead) = (size(packs.used), size(packs.dead));
        output.line(format!("packs of this node: {used}, {dead} of it dead"))?;
        if !dry_run {
            output.line(format!("given back: {}", size(packs.returned)))?;
        }
        if let Some(reason) = &packs.refused {
            output.warn(format!("the packs were left alone: {reason}"));
        }
    }
    Ok(())
}

fn tell_rebalance(output: &Output, reply: &RebalanceReply, dry_run: bool) -> Result<(), Stop> {
    if !dry_run {
        let moved = plural(reply.moved, "shard");
        output.line(format!("moved to nodes with more room: {moved}, {}", size(reply.bytes)))?;
    }
    output.line(format!("to be moved: {}", plural(reply.waiting, "shard")))?;
    if !dry_run && !reply.looked {
        output.warn(
            "the node has not finished looking at its segments: it goes on in the background",
        );
    } else if !dry_run && reply.waiting > 0 {
        output.note("the node goes on in the background, within its budget for repair");
    }
    Ok(())
}
