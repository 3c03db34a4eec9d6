//! `datamesh peers`.

use datamesh_api::{OperationsExt, PeerInfo, PeerState, PeersRequest};

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, ago, columns, node_id, rate, size};

/// List the nodes of the mesh
///
/// Latency and rate are measured in exchanges of this home's node; a dash stands for no exchange yet.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh peers
  datamesh peers --json        a list with an entry for each known node")]
pub(crate) struct PeersArgs {}

impl PeersArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let reply = operations.peers(PeersRequest {}).await?;
        let output = &context.output;
        if output.is_for_programs() {
            output.answer_rows(&reply.peers, "", columns::PEERS)?;
            return Ok(Outcome::Done);
        }
        let operators = reply
            .peers
            .iter()
            .any(|peer| peer.operator != datamesh_node::usual_operator(&peer.node));
        let mut columns = vec!["NODE", "STATE", "DOMAIN"];
        columns.extend(operators.then_some("OPERATOR"));
        columns.extend([">OFFERS", ">FREE", ">LATENCY", ">RATE", "HEARD"]);
        let mut table = Table::new(&columns);
        for peer in &reply.peers {
            table.row(row(peer, operators));
        }
        output.table(&table)?;
        if reply.peers.is_empty() {
            output.note("no node is known");
        }
        Ok(Outcome::Done)
    }
}

fn row(peer: &PeerInfo, operator: bool) -> Vec<String> {
    let state = match peer.state {
        PeerState::Alive => "alive",
        PeerState::Silent => "silent",
        PeerState::Draining => "draining",
        PeerState::Gone => "gone",
    };
    let free = u128::from(peer.capacity) * u128::from(peer.free_sixteenths.min(16)) / 16;
    let latency = match peer.latency_ms {
        _ if peer.local => "here".to_owned(),
        Some(ms) => format!("{ms:.1} ms"),
        None => "-".to_owned(),
    };
    let mut row = vec![node_id(&peer.node), state.to_owned(), peer.domain.clone()];
    row.extend(operator.then(|| peer.operator.clone()));
    row.extend([
        size(peer.capacity),
        size(u64::try_from(free).unwrap_or(u64::MAX)),
        latency,
        peer.goodput.map_or_else(|| "-".to_owned(), rate),
        ago(peer.heard),
    ]);
    row
}
