//! `datamesh distribution`.

use datamesh_api::{DistributionRequest, OperationsExt};

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, columns, node_id, plural};

/// Show where the shards of all files, or of one, are: by node and by failure domain
///
/// Every node is asked now, so this is what holders say at this moment.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh distribution
  datamesh distribution report.pdf")]
pub(crate) struct DistributionArgs {
    /// A name in the account, or the beginning of a file's or version's id
    name: Option<String>,
}

impl DistributionArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let reply = operations.distribution(DistributionRequest { name: self.name }).await?;
        let output = &context.output;
        if output.is_for_programs() {
            output.answer_rows(&reply, "/nodes", columns::HOLDERS)?;
            return Ok(Outcome::Done);
        }
        let mut table = Table::new(&["NODE", "DOMAIN", ">SHARDS"]);
        for node in &reply.nodes {
            table.row([node_id(&node.node), node.domain.clone(), node.shards.to_string()]);
        }
        output.table(&table)?;
        let mut table = Table::new(&["DOMAIN", ">NODES", ">SHARDS"]);
        for domain in &reply.domains {
            let (nodes, shards) = (domain.nodes.to_string(), domain.shards.to_string());
            table.row([domain.domain.clone(), nodes, shards]);
        }
        output.table(&table)?;
        let mut table = Table::new(&[">MARGIN", ">SEGMENTS"]);
        for (margin, count) in &reply.margins {
            table.row([margin.to_string(), count.to_string()]);
        }
        output.table(&table)?;
        let segments = plural(reply.segments, "segment");
        output.note(format!("{} of {segments}", plural(reply.shards, "shard")));
        Ok(Outcome::Done)
    }
}
