//! `datamesh transport`.

use datamesh_api::{
    BreakerInfo, ConnectionInfo, NatState, OperationsExt, TransportReply, TransportRequest,
};

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, node_id, size, visible};

/// Show how this home's node is connected: addresses, NAT, relays, and each peer's cipher
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh transport
  datamesh transport --json      every connection with its cipher suite and key exchange")]
pub(crate) struct TransportArgs {}

impl TransportArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let reply = operations.transport(TransportRequest {}).await?;
        let output = &context.output;
        if output.is_for_programs() {
            output.answer(&reply)?;
            return Ok(Outcome::Done);
        }
        let mut table = Table::new(&["WHAT", "HOW"]);
        for (what, how) in facts(&reply) {
            table.row([what, &how]);
        }
        output.table(&table)?;
        let mut table = Table::new(&[
            "PEER",
            "WAY",
            "CIPHER",
            "KEY EXCHANGE",
            "POST-QUANTUM",
            ">ROUND TRIP",
            "CALLS",
        ]);
        for connection in &reply.connections {
            table.row(row(connection));
        }
        output.table(&table)?;
        if reply.connections.is_empty() {
            output.note("no peer is connected");
        }
        Ok(Outcome::Done)
    }
}

fn facts(reply: &TransportReply) -> Vec<(&'static str, String)> {
    let list = |addresses: &[String]| match addresses {
        [] => "nowhere".to_owned(),
        addresses => visible(&addresses.join(" ")).to_string(),
    };
    let settings = &reply.settings;
    let switched: Vec<&str> = [
        ("hash table", settings.dht),
        ("mdns", settings.mdns),
        ("upnp", settings.upnp),
        ("probes", settings.probe),
        ("relays", settings.relays),
        ("is relay", settings.serve_relay),
    ]
    .iter()
    .filter(|(_, on)| *on)
    .map(|(name, _)| *name)
    .collect();
    let switched = if switched.is_empty() { "nothing".to_owned() } else { switched.join(", ") };
    let nat = match reply.nat {
        NatState::Reachable => "peers can dial this node",
        NatState::Unreachable => "peers cannot dial this node",
        NatState::Unknown => "not known: no peer has tried to dial this node from outside",
    };
    let nat = if reply.mapped { format!("{nat}; the router gave a port") } else { nat.to_owned() };
    let rate = |rate: Option<u64>| rate.map_or_else(|| "no limit".to_owned(), size);
    let metered = if reply.bandwidth.metered { ", metered" } else { "" };
    vec![
        ("service", if reply.service { "running" } else { "not running" }.to_owned()),
        ("preset", format!("{}: {switched}", settings.preset)),
        ("listens", list(&reply.listening)),
        ("announces", list(&reply.announced)),
        ("nat", nat),
        ("external", list(&reply.external)),
        ("through relays", list(&reply.relayed)),
        ("as a relay", format!("{} places, {} connections", reply.reservations, reply.circuits)),
        ("holes punched", reply.punched.to_string()),
        (
            "a second",
            format!(
                "up {}, down {}{metered}",
                rate(reply.bandwidth.up),
                rate(reply.bandwidth.down)
            ),
        ),
        (
            "moved",
            format!(
                "{} sent, {} received",
                size(reply.traffic.bytes_out),
                size(reply.traffic.bytes_in)
            ),
        ),
    ]
}

fn row(connection: &ConnectionInfo) -> [String; 7] {
    let dash = || "-".to_owned();
    let protocol = connection.protocol.clone().unwrap_or_else(dash);
    let way = match (connection.relayed, connection.inbound) {
        (true, _) => format!("{protocol}, relayed"),
        (false, true) => format!("{protocol}, inbound"),
        (false, false) => protocol,
    };
    [
        node_id(&connection.node),
        way,
        connection.cipher_suite.clone().unwrap_or_else(dash),
        connection.key_exchange.clone().unwrap_or_else(dash),
        connection.post_quantum.map_or("not told", |it| if it { "yes" } else { "no" }).to_owned(),
        connection.round_trip_ms.map_or_else(dash, |ms| format!("{ms:.1} ms")),
        match connection.breaker {
            BreakerInfo::Closed => "go through",
            BreakerInfo::Open => "paused",
            BreakerInfo::HalfOpen => "one may try",
        }
        .to_owned(),
    ]
}
