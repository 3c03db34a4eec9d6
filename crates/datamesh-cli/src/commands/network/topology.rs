//! `datamesh network`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use datamesh_api::{Asked, NetworkNode, NetworkReply, NetworkRequest, OperationsExt, PeerState};
use datamesh_core::NodeId;

use super::picture;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Output, Table, columns, node_id, plural, short, width};
use crate::writing::{READABLE, check_place, write_file};

/// Ask nodes whom they are connected to
///
/// This home's node tells its connections; with a depth of 2 those are asked for theirs as well, and so on.
/// What is shown is what nodes tell: a connection that both of its ends told of is shown as each saw it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh network
  datamesh network --depth 3 --visualize
  datamesh network --svg mesh.svg --dot mesh.dot")]
pub(crate) struct NetworkArgs {
    /// How far away nodes are asked: 1 asks none
    #[arg(long, default_value_t = 2, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(NetworkRequest::DEPTH_MAX)))]
    depth: u32,

    /// Show who is connected to whom as a matrix of round trips
    #[arg(long)]
    visualize: bool,

    /// Write a picture to this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Write the graph to this file, for Graphviz
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
}

impl NetworkArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        for path in self.svg.iter().chain(&self.dot) {
            check_place(path)?;
        }
        let operations = context.connect().await?;
        let reply = operations.network(NetworkRequest { depth: self.depth }).await?;
        let output = &context.output;
        for (path, drawn) in [(&self.svg, picture::svg as fn(&_) -> _), (&self.dot, picture::dot)] {
            if let Some(path) = path {
                write_file(path, READABLE, drawn(&reply).as_bytes())?;
                output.note(format!("written: {}", path.display()));
            }
        }
        if output.is_for_programs() {
            output.answer_rows(&reply, "/nodes", columns::NODES)?;
            return Ok(Outcome::Done);
        }
        if self.visualize {
            matrix(output, &reply)?;
        } else {
            output.table(&nodes(&reply))?;
        }
        let silent = reply.nodes.iter().filter(|node| node.asked == Asked::Silent).count() as u64;
        let links = reply.links.len() as u64;
        let all = plural(reply.nodes.len() as u64, "node");
        output.note(format!("{all}, {} told of", plural(links, "connection")));
        if silent > 0 {
            output.warn(format!("{} did not tell", plural(silent, "node")));
        }
        if reply.more {
            output.warn("there are more nodes or connections than are shown");
        }
        Ok(Outcome::Done)
    }
}

/// How a node stands.
pub(super) fn standing(node: &NetworkNode) -> &'static str {
    match node.state {
        Some(PeerState::Alive) => "alive",
        Some(PeerState::Silent) => "silent",
        Some(PeerState::Draining) => "draining",
        Some(PeerState::Gone) => "gone",
        None => "no member",
    }
}

/// A round trip in few characters.
pub(super) fn brief(ms: f64) -> String {
    if ms < 9.95 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

fn nodes(reply: &NetworkReply) -> Table {
    let local = reply.nodes.iter().find(|node| node.local).map(|node| node.node);
    let own: BTreeMap<NodeId, Option<f64>> = reply
        .links
        .iter()
        .filter(|link| Some(link.from) == local)
        .map(|link| (link.to, link.round_trip_ms))
        .collect();
    let mut table =
        Table::new(&["NODE", "STATE", "DOMAIN", ">AWAY", ">CONNECTED TO", ">ROUND TRIP"]);
    for node in &reply.nodes {
        let state = standing(node);
        let state = if node.local { format!("{state}, here") } else { state.to_owned() };
        let number = |number: Option<u32>| number.map_or("-".to_owned(), |it| it.to_string());
        let connected = match node.asked {
            Asked::Silent => "silent".to_owned(),
            Asked::Told | Asked::NotAsked => number(node.connected),
        };
        let time = own.get(&node.node).copied().flatten();
        table.row([
            node_id(&node.node),
            state,
            node.domain.clone().unwrap_or_else(|| "-".to_owned()),
            number(node.distance),
            connected,
            time.map_or_else(|| "-".to_owned(), |ms| format!("{} ms", brief(ms))),
        ]);
    }
    table
}

/// Columns that the number and the name of a node take in the matrix.
const NAME_COLUMNS: usize = 15;

/// Columns of a cell.
const CELL_COLUMNS: usize = 5;

/// A row for each node that told, a column for each node.
fn matrix(output: &Output, reply: &NetworkReply) -> Result<(), Stop> {
    let shown = width().map_or(usize::MAX, |columns| {
        usize::from(columns).saturating_sub(NAME_COLUMNS) / CELL_COLUMNS
    });
    let nodes = &reply.nodes[..reply.nodes.len().min(shown)];
    let times: BTreeMap<(NodeId, NodeId), (Option<f64>, bool)> = reply
        .links
        .iter()
        .map(|link| ((link.from, link.to), (link.round_trip_ms, link.relayed)))
        .collect();
    let mut head = format!("{:NAME_COLUMNS$}", "");
    for at in 1..=nodes.len() {
        head.push_str(&format!("{at:>CELL_COLUMNS$}"));
    }
    output.line(head)?;
    for (at, from) in nodes.iter().enumerate() {
        let name = short(&from.node);
        let mut row = format!("{:>4}  {name:<width$}", at + 1, width = NAME_COLUMNS - 6);
        for to in nodes {
            let cell = match times.get(&(from.node, to.node)) {
                _ if from.node == to.node => "\u{2012}".to_owned(),
                Some((Some(ms), false)) => brief(*ms),
                Some((Some(ms), true)) => format!("{}r", brief(*ms)),
                Some((None, _)) => "+".to_owned(),
                None if from.asked == Asked::Told => "\u{b7}".to_owned(),
                None => "?".to_owned(),
            };
            row.push_str(&format!("{cell:>CELL_COLUMNS$}"));
        }
        output.line(row)?;
    }
    output.note("milliseconds of a round trip, as the node of the row sees it;");
    output.note("+ not measured, r through a relay, \u{b7} not connected, ? not asked or silent");
    if nodes.len() < reply.nodes.len() {
        let left = plural((reply.nodes.len() - nodes.len()) as u64, "node");
        output.note(format!("{left} more have no room here: --svg FILE shows all"));
    }
    Ok(())
}
