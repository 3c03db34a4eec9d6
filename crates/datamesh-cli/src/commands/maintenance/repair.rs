//! `datamesh repair`.

use std::fmt::Write;

use datamesh_api::{LeaseRun, LeaseState, OperationsExt, RepairReply, RepairRequest, RepairState};

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, ago, plural, rate, short, size, time};

/// Tell how repair stands, or check files and mend them now
///
/// Nodes repair by themselves what they hold shards of, without keys. This command shows how far
/// they are, and with a name or --auto checks the segments of files by asking every node, rebuilds
/// what is missing and places it, without waiting for silent nodes to come back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh repair                          how the repair of this home's node stands
  datamesh repair report.pdf               check one file and mend it
  datamesh repair --auto                   check and mend all files
  datamesh repair --auto --threshold 0     mend only what cannot lose another shard
  datamesh repair --verify-all film.mkv    read every shard of the file
  datamesh repair --renew                  renew all leases, where they end

The exit code is 4 where something waits for failure domains or could not be mended.")]
pub(crate) struct RepairArgs {
    /// A name in the account, or the beginning of a file's or version's id
    name: Option<String>,

    /// All files of the account; the node of this home looks at all that it holds as well
    #[arg(long, conflicts_with = "name")]
    auto: bool,

    /// Read every shard and compare it with its root
    #[arg(long)]
    verify_all: bool,

    /// Renew the leases of all that the account keeps, in a mesh whose leases end. A service that has the
    /// account's password does that by itself in time
    #[arg(long, conflicts_with = "name")]
    renew: bool,

    /// Mend only segments with this margin or less
    #[arg(long, value_name = "MARGIN", allow_negative_numbers = true)]
    threshold: Option<i32>,
}

impl RepairArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let checks = self.name.is_some() || self.auto;
        if !checks && (self.verify_all || self.threshold.is_some()) {
            return Err(
                crate::error::usage("what is to be checked? name a file, or give --auto").into()
            );
        }
        let operations = context.connect().await?;
        let request = RepairRequest {
            name: self.name,
            auto: self.auto,
            verify_all: self.verify_all,
            threshold: self.threshold,
            renew: self.renew,
        };
        let verified = request.verify_all;
        let reply = operations.repair(request).await?;
        let few = reply.renewal.as_ref().map_or(0, |run| run.few);
        let partial = !reply.waiting.is_empty() || !reply.failed.is_empty() || few > 0;
        let output = &context.output;
        if output.is_for_programs() {
            output.answer(&reply)?;
        } else {
            let mut table = Table::pairs();
            if checks {
                found(&mut table, &reply, verified);
            }
            if let Some(run) = &reply.renewal {
                renewal(&mut table, run);
            }
            if let Some(state) = &reply.worker {
                worker(&mut table, state);
            }
            output.table(&table)?;
            for problem in reply.waiting.iter().chain(&reply.failed) {
                output.warn(format!("segment {}: {}", short(&problem.segment), problem.reason));
            }
            let letters = reply.worker.iter().flat_map(|state| &state.dead_letters);
            for letter in letters {
                output.warn(format!("segment {}: {}", short(&letter.segment), letter.reason));
            }
            output.faults(&reply.faults);
        }
        Ok(if partial { Outcome::Partial } else { Outcome::Done })
    }
}

fn found(table: &mut Table, reply: &RepairReply, verified: bool) {
    table.pair("segments checked", reply.segments);
    for (margin, count) in &reply.margins {
        table.pair(&format!("with margin {margin}"), count);
    }
    let missing = plural(reply.missing, "shard");
    match reply.failed.len() as u64 {
        0 => table.pair("missing", missing),
        // Of these it is not known what a mended one would have.
        failed => {
            table.pair("cannot be mended now", plural(failed, "segment"));
            table.pair("missing in the others", missing);
        }
    }
    if verified {
        let bytes = size(reply.verified_bytes);
        table.pair("verified", format!("{} with {bytes}", plural(reply.verified, "shard")));
    }
    table.pair("rebuilt", plural(reply.rebuilt, "shard"));
    table.pair("copied", plural(reply.copied, "shard"));
    table.pair("fetched", size(reply.read_bytes));
    table.pair("sent", size(reply.sent_bytes));
}

/// What came of renewing leases.
fn renewal(table: &mut Table, run: &LeaseRun) {
    if run.until == 0 {
        table.pair("leases", "do not end in this mesh");
        return;
    }
    let renewed = plural(run.renewed, "segment");
    let mut text = format!("{renewed} of {} until {}", run.segments, time(run.until));
    if run.few > 0 {
        let _ = write!(text, "; {} found too few holders", run.few);
    }
    table.pair("renewed", text);
}

/// When the leases of the account end, and what was done about it.
pub(crate) fn leases(table: &mut Table, state: &LeaseState) {
    let by =
        if state.renewing { "renewed by this service" } else { "not renewed by themselves here" };
    table.pair("leases", format!("{} days, {by}", state.days));
    match &state.look {
        None => table.pair("first lease ends", "holders were not asked yet"),
        Some(look) => {
            let end = look.earliest.map_or_else(|| "none is held".to_owned(), time);
            let segments = plural(look.segments, "segment");
            table.pair(
                "first lease ends",
                format!("{end}, of {segments}, asked {}", ago(look.looked)),
            );
            let silent = plural(look.silent, "node");
            let due = format!("{} due, {} ended, {} not found", look.due, look.ended, look.unheld);
            table.pair("leases due", format!("{due}; {silent} did not tell"));
        }
    }
    if let Some(run) = &state.run {
        let what = match &run.failure {
            None => format!("{} of {}", run.renewed, plural(run.segments, "segment")),
            Some(why) => format!("broke off: {why}"),
        };
        table.pair("last renewal", format!("{what}, {}", ago(run.ended)));
    }
}

/// How the repair of a node stands.
pub(crate) fn worker(table: &mut Table, state: &RepairState) {
    looked(table, state);
    let open = format!(
        "{} queued, {} active, {} later, {} waiting for domains, {} dead letters",
        state.queued, state.active, state.later, state.waiting, state.dead_letter
    );
    table.pair("repair", open);
    let mut left = size(state.bytes_left);
    if let Some(seconds) = state.seconds_left.filter(|_| state.bytes_left > 0) {
        left = format!("{left}, {seconds:.0} s at {}", rate(state.bytes_per_second));
    }
    table.pair("left to move", left);
    let placed = plural(state.shards_placed, "shard");
    table.pair("placed since the start", format!("{placed}, {} moved", size(state.bytes_moved)));
    if state.moves_left + state.shards_moved > 0 {
        let moved = plural(state.shards_moved, "shard");
        let left = format!("{moved} since the start, {} to go", state.moves_left);
        table.pair("moved to nodes less full", left);
    }
    if state.storm {
        table.pair("storm", "many nodes fell silent: only segments without margin are mended");
    }
    leaving(table, state);
}

/// When a node last went through all that it knows.
pub(crate) fn looked(table: &mut Table, state: &RepairState) {
    let looked = state.looked.map_or_else(|| "not yet".to_owned(), ago);
    table.pair("looked at all", looked);
}

/// How far a node is that gives its shards to others before it goes.
pub(crate) fn leaving(table: &mut Table, state: &RepairState) {
    if let Some(drain) = &state.drain {
        table.pair("leaving", format!("{} of {} left", drain.left, plural(drain.shards, "shard")));
    }
}
