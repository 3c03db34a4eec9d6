//! `datamesh health`.

use datamesh_api::{HealthRequest, OperationsExt, Severity};

use crate::context::Context;
use crate::error::{Outcome, Stop};

use super::findings;

/// Judge the state of this home's mesh, store and files
#[derive(Debug, clap::Args)]
#[command(after_help = "The exit code is 1 where something is critical, and 0 otherwise.")]
pub(crate) struct HealthArgs {}

impl HealthArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let reply = operations.health(HealthRequest {}).await?;
        if context.output.is_json() {
            context.output.json(&reply)?;
        } else {
            context.output.table(&findings(&reply.findings))?;
        }
        Ok(if reply.severity == Severity::Critical { Outcome::Bad } else { Outcome::Done })
    }
}
