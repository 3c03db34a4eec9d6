//! `datamesh join`.

use std::fs::File;
use std::io::Read;

use datamesh_api::{JoinRequest, OperationError, OperationsExt};

use crate::context::Context;
use crate::error::{Outcome, Stop, failed, usage};

/// Longest file that is looked into for a ticket, in bytes.
const TICKET_BYTES_MAX: u64 = 64 * 1024;

/// Enter a mesh with a ticket
///
/// A home with an account may store from then on. A home without one becomes a node that stores for
/// others at its first `datamesh service`. The issuer of the ticket must be running.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh join datamesh-invite-…
  datamesh join @ticket             from a file
  datamesh invite | ssh other datamesh join -")]
pub(crate) struct JoinArgs {
    /// The ticket; @FILE or - reads it from a file or standard input, unseen by other users
    ticket: String,
}

impl JoinArgs {
    /// With this ticket.
    pub(crate) fn with(ticket: String) -> Self {
        Self { ticket }
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if context.console && self.ticket == "-" {
            return Err(usage("standard input is the console's own here").into());
        }
        let ticket = self.ticket()?;
        let operations = context.connect().await?;
        let reply = operations.join(JoinRequest { ticket }).await?;
        let output = &context.output;
        if output.is_for_programs() {
            output.answer(&reply)?;
            return Ok(Outcome::Done);
        }
        output.line(format!("joined mesh {}", reply.mesh))?;
        if let Some(account) = &reply.account {
            output.line(format!("account {account} may store now"))?;
        }
        if reply.node_pending {
            output.note("next: `datamesh service` makes this home a node of the mesh");
        }
        Ok(Outcome::Done)
    }

    fn ticket(&self) -> Result<String, OperationError> {
        let text = match self.ticket.strip_prefix('@') {
            Some(file) => {
                let unreadable =
                    |error| failed(format!("the ticket cannot be read from \"{file}\": {error}"));
                read(File::open(file).map_err(unreadable)?).map_err(unreadable)?
            }
            None if self.ticket == "-" => read(std::io::stdin())
                .map_err(|error| failed(format!("the ticket cannot be read: {error}")))?,
            None => self.ticket.clone(),
        };
        match text.trim() {
            "" => Err(usage("the ticket is empty")),
            ticket => Ok(ticket.to_owned()),
        }
    }
}

fn read(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(TICKET_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
