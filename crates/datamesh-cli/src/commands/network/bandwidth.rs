//! `datamesh bandwidth`.

use std::time::Duration;

use datamesh_api::{BandwidthReply, BandwidthRequest, FlowInfo, OperationsExt, WayInfo};

use crate::completion::peers;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Output, Table, node_id, plural, rate, size};
use crate::values::some_duration;

/// Measure what this node moves, or what the way to another node carries
///
/// With --test-peer bytes are really sent and received, by the same encrypted requests as shards, and under
/// the same limits: a fifth of the time goes to round trips, the rest half and half to each direction.
/// Without it nothing is sent: what the node moves meanwhile is counted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh bandwidth                       what moves now
  datamesh bandwidth --test-peer PvDQv6Cx
  datamesh bandwidth --test-peer PvDQv6Cx --duration 30s")]
pub(crate) struct BandwidthArgs {
    /// The node, by the beginning of its id as `peers` shows it
    #[arg(long, value_name = "ID", add = peers())]
    test_peer: Option<String>,

    /// For how long
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = some_duration)]
    duration: Duration,
}

impl BandwidthArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let duration_ms = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        let request = BandwidthRequest { peer: self.test_peer, duration_ms };
        let reply = operations.bandwidth(request).await?;
        let output = &context.output;
        let lost = reply.way.as_ref().is_some_and(|way| way.round_trips.is_none());
        let outcome = if lost { Outcome::Partial } else { Outcome::Done };
        if output.is_for_programs() {
            output.answer(&reply)?;
            return Ok(outcome);
        }
        match &reply.way {
            Some(way) => tell_way(output, way)?,
            None => tell_traffic(output, &reply)?,
        }
        for (limit, way) in [(reply.limits.up, "sent"), (reply.limits.down, "received")] {
            if let Some(limit) = limit {
                output.note(format!("at most {} are {way} by this node", rate(limit as f64)));
            }
        }
        Ok(outcome)
    }
}

fn moved(flow: &FlowInfo) -> String {
    let lost = match flow.lost {
        0 => String::new(),
        lost => format!(", {} lost", plural(lost, "request")),
    };
    format!("{} ({} in {:.1} s{lost})", rate(flow.bytes_per_second), size(flow.bytes), flow.seconds)
}

fn tell_way(output: &Output, way: &WayInfo) -> Result<(), Stop> {
    let mut table = Table::pairs();
    table.pair("node", node_id(&way.node));
    table.pair("domain", &way.domain);
    if let Some(relayed) = way.relayed {
        table.pair("connection", if relayed { "through a relay" } else { "direct" });
    }
    table.pair("sent", moved(&way.up));
    table.pair("received", moved(&way.down));
    match &way.round_trips {
        Some(trips) => {
            table.pair(
                "round trip",
                format!(
                    "{:.2} ms at p50, {:.2} at p90, {:.2} at p99; {:.2} to {:.2}",
                    trips.p50, trips.p90, trips.p99, trips.least, trips.most
                ),
            );
            table.pair("jitter", format!("{:.2} ms", trips.jitter));
            let all = trips.count + trips.lost;
            let part = 100.0 * trips.lost as f64 / all.max(1) as f64;
            table.pair(
                "lost",
                format!("{} of {} ({part:.1} %)", trips.lost, plural(all, "request")),
            );
        }
        None => table.pair("round trip", "no request was answered"),
    }
    output.table(&table)
}

fn tell_traffic(output: &Output, reply: &BandwidthReply) -> Result<(), Stop> {
    let mut table = Table::pairs();
    table.pair("sent", moved(&reply.up));
    table.pair("received", moved(&reply.down));
    output.table(&table)?;
    output.note("the way to a node is measured with --test-peer ID");
    Ok(())
}
