//! `datamesh doctor`.

use datamesh_api::Severity;

use crate::commands::network::findings;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::columns;

/// Look for what keeps this home from working
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh doctor
  datamesh --home ~/mesh doctor --json

The exit code is 1 where something is critical, and 0 otherwise.")]
pub(crate) struct DoctorArgs {}

impl DoctorArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let found = datamesh_node::doctor(&context.home).await;
        if context.output.is_for_programs() {
            context.output.answer_rows(&found, "", columns::FINDINGS)?;
        } else {
            context.output.table(&findings(&found))?;
        }
        let critical = found.iter().any(|finding| finding.severity == Severity::Critical);
        Ok(if critical { Outcome::Bad } else { Outcome::Done })
    }
}
