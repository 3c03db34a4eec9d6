//! `datamesh bootstrap`.

use clap::Subcommand;
use datamesh_api::{BootstrapPeer, BootstrapRequest, OperationsExt};

use crate::completion::addresses;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, ago, columns, node_id, visible};

/// List, change and try the peers that a node turns to when it knows no better
///
/// A node that has been away, or whose peers have all moved, finds its mesh again at these addresses. They are
/// turned to in the order of their priorities, those that failed after pauses that grow.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh bootstrap list
  datamesh bootstrap add /dns4/node.example.org/tcp/4001 --priority 1 --region north
  datamesh bootstrap remove /dns4/node.example.org/tcp/4001
  datamesh bootstrap check      turns to all of them now; the exit code is 5 where nobody answers")]
pub(crate) struct BootstrapArgs {
    #[command(subcommand)]
    command: BootstrapCommand,
}

#[derive(Debug, Subcommand)]
enum BootstrapCommand {
    /// Show the list and what was seen of its peers
    List,
    /// Add a peer, or change its priority and region
    Add {
        /// Its multiaddr, for instance /dns4/node.example.org/tcp/4001
        address: String,
        /// Peers with a lower number are turned to first
        #[arg(long, default_value_t = 10)]
        priority: u8,
        /// Where it is, in your words
        #[arg(long)]
        region: Option<String>,
    },
    /// Take a peer off the list
    Remove {
        /// Its multiaddr
        #[arg(add = addresses())]
        address: String,
    },
    /// Turn to all peers of the list now
    Check,
}

impl BootstrapArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let (request, is_check) = match self.command {
            BootstrapCommand::List => (BootstrapRequest::List, false),
            BootstrapCommand::Add { address, priority, region } => {
                (BootstrapRequest::Add { address, priority, region }, false)
            }
            BootstrapCommand::Remove { address } => (BootstrapRequest::Remove { address }, false),
            BootstrapCommand::Check => (BootstrapRequest::Check, true),
        };
        let reply = operations.bootstrap(request).await?;
        let output = &context.output;
        if output.is_for_programs() {
            output.answer_rows(&reply.peers, "", columns::BOOTSTRAP)?;
        } else {
            let mut table = Table::new(&[
                "ADDRESS",
                ">PRIORITY",
                "REGION",
                "PEER",
                "ANSWERED",
                ">TOOK",
                "STATE",
            ]);
            for peer in &reply.peers {
                table.row(row(peer));
            }
            output.table(&table)?;
            if reply.peers.is_empty() {
                output.note("the list is empty");
            }
        }
        let failed = reply.peers.iter().filter(|peer| peer.failures > 0).count();
        Ok(match (is_check, failed) {
            (false, _) | (_, 0) => Outcome::Done,
            (true, failed) if failed < reply.peers.len() => Outcome::Partial,
            _ => Outcome::Unreachable,
        })
    }
}

fn row(peer: &BootstrapPeer) -> [String; 7] {
    let state = match (&peer.last_error, peer.answered) {
        (Some(error), _) if peer.failures > 0 => {
            format!("failed {} times: {}", peer.failures, visible(error))
        }
        (_, Some(_)) => "answers".to_owned(),
        _ => "not tried".to_owned(),
    };
    [
        visible(&peer.address).to_string(),
        peer.priority.to_string(),
        peer.region.as_ref().map_or_else(|| "-".to_owned(), |region| visible(region).to_string()),
        peer.node.as_ref().map_or_else(|| "-".to_owned(), node_id),
        peer.answered.map_or_else(|| "-".to_owned(), ago),
        peer.took_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms")),
        state,
    ]
}
