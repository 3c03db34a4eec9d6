//! `datamesh peers`.

use datamesh_api::{OperationsExt, PeerInfo, PeerState, PeersRequest};

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, ago, node_id, rate, size};

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
            output.answer(&reply.peers)?;
            return Ok(Outcome::Done);
        }
        let mut table = Table::new(&[
            "NODE", "STATE", "DOMAIN", "OPERATOR", ">OFFERS", ">FREE", ">LATENCY", ">RATE", "HEARD",
        ]);
        for peer in &reply.peers {
            table.row(row(peer));
        }
        output.table(&table)?;
        if reply.peers.is_empty() {
            output.note("no node is known");
        }
        Ok(Outcome::Done)
    }
}

fn row(peer: &PeerInfo) -> [String; 9] {
    let state = match peer.state {
        PeerState::Alive => "alive",
        PeerState::Silent => "silent",
        PeerState::Draining => "draining",
        PeerState::Gone => "gone",
    };
    let free = u128::from(peer.capacity) * u128::from(peer.free_sixteenths.min(16)) / 16;
    [
        node_id(&peer.node),
        if peer.local { format!("{state}, here") } else { state.to_owned() },
        peer.domain.clone(),
        peer.operator.clone(),
        size(peer.capacity),
        size(u64::try_from(free).unwrap_or(u64::MAX)),
        peer.latency_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms")),
        peer.goodput.map_or_else(|| "-".to_owned(), rate),
        ago(peer.heard),
    ]
}
