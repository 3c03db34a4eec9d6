//! `datamesh security`.

use datamesh_api::{OperationsExt, SecurityRequest, Severity};

use crate::commands::network::findings;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, visible};

/// Look over what protects this home, and say what does not
///
/// File modes, the keystore's costs, connections, who may connect, bounds on what peers may cause, and where
/// cryptography is used that a quantum computer could break.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The exit code is 1 where something is critical, and 0 otherwise.

Examples:
  datamesh security
  datamesh config set network.deny 203.0.113.0/24      keeps a network out from the next start on")]
pub(crate) struct SecurityArgs {}

impl SecurityArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let reply = operations.security(SecurityRequest {}).await?;
        let output = &context.output;
        if output.is_for_programs() {
            output.answer(&reply)?;
        } else {
            output.table(&findings(&reply.findings))?;
            let mut table = Table::new(&["LIST", "PEER OR NETWORK"]);
            for (list, rules) in [("allow", &reply.allow), ("deny", &reply.deny)] {
                for rule in rules {
                    table.row([list, &visible(rule).to_string()]);
                }
            }
            output.table(&table)?;
            let mut table = Table::new(&["CRYPTOGRAPHY FOR", "WITH", "POST-QUANTUM"]);
            for it in &reply.cryptography {
                let answer = if it.post_quantum { "yes" } else { "no" };
                table.row([it.purpose.as_str(), &it.algorithm, answer]);
            }
            output.table(&table)?;
            let mut table = Table::new(&["BOUND ON", ">VALUE", "UNIT"]);
            for limit in &reply.limits {
                table.row([limit.name.as_str(), &limit.value.to_string(), &limit.unit]);
            }
            output.table(&table)?;
        }
        let critical = reply.findings.iter().any(|it| it.severity == Severity::Critical);
        Ok(if critical { Outcome::Bad } else { Outcome::Done })
    }
}
