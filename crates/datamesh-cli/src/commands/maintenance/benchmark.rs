//! `datamesh benchmark`.

use std::time::Duration;

use datamesh_api::{BenchmarkRequest, Figure, OperationsExt};

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, columns, short};
use crate::values::{duration, size};

/// Measure this machine, its shard store and the mesh, each figure beside what bounds it
///
/// What the machine does at best is measured first, then the store of shards in a folder of its own, and with
/// --network the ways to other nodes and files into the mesh and out of it. What is written is given up in the
/// end; shards that went into the mesh lie in the nodes' trash for 7 days. Broken off, it may leave a folder
/// `.benchmark-…` in the account. Figures are medians.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh benchmark
  datamesh benchmark --full --size 256MiB --iterations 5
  datamesh benchmark --network --json")]
pub(crate) struct BenchmarkArgs {
    /// Everything
    #[arg(long, conflicts_with_all = ["network", "storage"])]
    full: bool,

    /// The ways to other nodes, and files into the mesh and out of it
    #[arg(long)]
    network: bool,

    /// The shard store; measured where nothing is named
    #[arg(long)]
    storage: bool,

    /// Bytes that are written, and of the file that is stored
    #[arg(long, default_value = "64MiB", value_name = "SIZE", value_parser = size)]
    size: u64,

    /// For how long a figure that repeats one thing is taken
    #[arg(long, default_value = "500ms", value_name = "TIME", value_parser = duration)]
    duration: Duration,

    /// How often each figure is taken
    #[arg(long, default_value_t = 3, value_name = "N")]
    iterations: u32,
}

impl BenchmarkArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let request = BenchmarkRequest {
            storage: self.full || self.storage || !self.network,
            network: self.full || self.network,
            size: self.size,
            duration_ms: u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            iterations: self.iterations,
        };
        let reply = operations.benchmark(request).await?;
        let output = &context.output;
        let outcome = if reply.skipped.is_empty() { Outcome::Done } else { Outcome::Partial };
        if output.is_for_programs() {
            output.answer_rows(&reply, "/figures", columns::FIGURES)?;
            return Ok(outcome);
        }
        let mut group = None;
        let mut table = Table::new(&["FIGURE", ">MEDIAN", "", ">RANGE", ">OF LIMIT", "LIMIT"]);
        for figure in &reply.figures {
            if group.is_some_and(|group| group != figure.group) {
                table.row(["", "", "", "", "", ""]);
            }
            group = Some(figure.group);
            table.row(row(figure));
        }
        output.table(&table)?;
        for skipped in &reply.skipped {
            output.warn(format!("not measured: {skipped}"));
        }
        output.note("medians; compare ratios, as machines differ");
        Ok(outcome)
    }
}

/// Three significant digits.
fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn row(figure: &Figure) -> [String; 6] {
    let limit = figure.limit.as_ref();
    [
        match &figure.node {
            Some(node) => format!("{}, {}", figure.name, short(node)),
            None => figure.name.clone(),
        },
        digits(figure.value),
        figure.unit.clone(),
        format!("{}\u{2013}{}", digits(figure.least), digits(figure.most)),
        limit.map_or_else(String::new, |limit| format!("{:.0} %", limit.ratio * 100.0)),
        limit.map_or_else(String::new, |limit| limit.name.clone()),
    ]
}
