//! `datamesh service`.

use std::time::Duration;

use datamesh_core::Domain;
use datamesh_node::ServiceOptions;

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::values::{duration, size};

/// Run this home's node until it is told to stop
///
/// In a home that has an account and has joined no mesh, this founds one. In a home that has joined,
/// the first start redeems the ticket; domain and operator are certified then and changing them
/// later needs the issuer. Whoever founds a mesh chooses once whether its leases end: then the files of an
/// account of which no device renews them for so long are lost 37 days after that. The node is ready when status.json is in its home. Logs go to standard
/// error; SIGTERM and SIGINT stop it in order.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh --home node1 service --listen /ip4/0.0.0.0/tcp/4600 --storage 500GiB \\
      --domain zone-a/host-1 --operator op-1
  datamesh --home node2 service --listen /ip4/127.0.0.1/tcp/0 --storage 8GiB")]
pub(crate) struct ServiceArgs {
    /// Where to listen, as a multiaddress; may be given several times. A chosen port 0 is
    /// remembered and used again
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<String>,

    /// Most bytes that the store may take
    #[arg(long, value_name = "SIZE", value_parser = size)]
    storage: Option<u64>,

    /// The failure domain, from large to small: machines with the same one fail together
    #[arg(long, value_name = "ZONE/HOST")]
    domain: Option<Domain>,

    /// Who answers for this node
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,

    /// When this founds a mesh: days after which a lease ends that no device of its account renews, at
    /// most 3650; 0, the default, never
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(..=3650))]
    lease_days: Option<u32>,

    /// Stop after this time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,

    /// Leave the mesh: take nothing new, copy every shard to other nodes, and end when each of them
    /// has proved what it holds. Nothing is removed here
    #[arg(long)]
    drain: bool,
}

impl ServiceArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let options = ServiceOptions {
            listen: self.listen,
            storage: self.storage,
            domain: self.domain,
            operator: self.operator,
            password: context.password.source_if_any(),
            lease_days: self.lease_days,
            timeout: self.timeout,
            drain: self.drain,
        };
        datamesh_node::run_service(&context.home, options).await?;
        Ok(Outcome::Done)
    }
}
