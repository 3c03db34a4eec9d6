//! `datamesh health`.

use std::io::IsTerminal;
use std::time::Duration;

use datamesh_api::{HealthReply, HealthRequest, OperationsExt, Severity};

use crate::commands::maintenance::{leaving, looked};
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, plural, rate, size};
use crate::signals::Signals;
use crate::values::some_duration;

use super::findings;

/// The shortest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(200);

/// Puts the cursor in the corner and clears what is below.
const HOME: &str = "\x1b[H\x1b[J";

/// Judge the state of this home's mesh, store and files
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh health
  datamesh health --continuous --interval 2s
  datamesh health --continuous --json          one line for each look

The exit code is 1 where something is critical, and 0 otherwise; with --continuous it is that of the last look.")]
pub(crate) struct HealthArgs {
    /// Look again and again until Ctrl-C
    #[arg(long)]
    continuous: bool,

    /// How often, with --continuous
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = some_duration, requires = "continuous")]
    interval: Duration,
}

impl HealthArgs {
    /// It runs until it is stopped.
    pub(crate) fn watches(&self) -> bool {
        self.continuous
    }

    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if !self.continuous {
            let reply = context.connect().await?.health(HealthRequest {}).await?;
            return tell(context, &reply);
        }
        let mut signals = Signals::catch()?;
        let draws = !context.output.is_for_programs()
            && std::io::stdout().is_terminal()
            && !crate::output::is_dumb();
        let password = context.password.remembering().source();
        let interval = self.interval.max(INTERVAL_MIN);
        let mut last = Outcome::Done;
        loop {
            // By a connection of its own: without a daemon the home is not held between two looks.
            let look = async {
                let connected = datamesh_node::connect(&context.home, password.clone(), false);
                connected.await?.health(HealthRequest {}).await
            };
            let reply = tokio::select! {
                biased;
                _ = signals.wait() => return Ok(last),
                reply = look => reply?,
            };
            if draws {
                context.output.raw(HOME)?;
            }
            last = tell(context, &reply)?;
            if draws {
                let every = humantime::format_duration(interval);
                context.output.note(format!("\nevery {every}; Ctrl-C ends it"));
            }
            tokio::select! {
                biased;
                _ = signals.wait() => return Ok(last),
                () = tokio::time::sleep(interval) => {}
            }
        }
    }
}

fn tell(context: &Context, reply: &HealthReply) -> Result<Outcome, Stop> {
    let output = &context.output;
    if output.is_for_programs() {
        output.answer(reply)?;
    } else {
        output.table(&findings(&reply.findings))?;
        output.table(&numbers(reply))?;
    }
    Ok(if reply.severity == Severity::Critical { Outcome::Bad } else { Outcome::Done })
}

/// What is counted beside the findings.
fn numbers(reply: &HealthReply) -> Table {
    let mut table = Table::pairs();
    let peers = reply.peers;
    table.pair("nodes", format!("{} alive of {}", peers.alive, peers.known));
    if !reply.margins.is_empty() {
        let margins = reply.margins.iter();
        let margins =
            margins.map(|(margin, count)| format!("{margin}: {}", plural(*count, "segment")));
        table.pair("margins", margins.collect::<Vec<_>>().join(", "));
    }
    if let Some(repair) = &reply.repair {
        let (left, speed) = (size(repair.bytes_left), rate(repair.bytes_per_second));
        let (queued, active) = (repair.queued, repair.active);
        table.pair("repair", format!("{queued} queued, {active} active, {left} left, {speed}"));
        looked(&mut table, repair);
        leaving(&mut table, repair);
    }
    table
}
