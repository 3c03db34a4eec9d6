//! `datamesh discover`.

use std::time::Duration;

use datamesh_api::{DiscoverRequest, FoundBy, OperationsExt};

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, columns, node_id, plural, visible};
use crate::values::duration;

/// Look for peers now, in all ways that are switched on
///
/// Turns to bootstrap peers, asks the distributed hash table who points to this mesh, and waits for answers
/// from the local network. A service does this by itself every ten minutes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh discover
  datamesh discover --timeout 30s --json")]
pub(crate) struct DiscoverArgs {
    /// How long answers are waited for
    #[arg(long, default_value = "5s", value_parser = duration)]
    timeout: Duration,
}

impl DiscoverArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let reply = operations.discover(DiscoverRequest { timeout_ms }).await?;
        let output = &context.output;
        if output.is_for_programs() {
            output.answer_rows(&reply, "/peers", columns::FOUND)?;
            return Ok(Outcome::Done);
        }
        let mut table = Table::new(&["PEER", "MEMBER", "CONNECTED", "FOUND BY", "ADDRESSES"]);
        let yes = |it: bool| if it { "yes" } else { "no" }.to_owned();
        for peer in &reply.peers {
            let ways: Vec<&str> = peer
                .found_by
                .iter()
                .map(|way| match way {
                    FoundBy::Member => "membership",
                    FoundBy::Bootstrap => "bootstrap",
                    FoundBy::Mdns => "local network",
                    FoundBy::Dht => "hash table",
                })
                .collect();
            table.row([
                node_id(&peer.node),
                yes(peer.member),
                yes(peer.connected),
                ways.join(", "),
                visible(&peer.addresses.join(" ")).to_string(),
            ]);
        }
        output.table(&table)?;
        let fresh = plural(reply.fresh as u64, "member");
        output.note(format!(
            "{} found; {fresh} not known before",
            plural(reply.peers.len() as u64, "peer")
        ));
        Ok(Outcome::Done)
    }
}
