//! `datamesh pin` and `datamesh unpin`.

use std::time::Duration;

use datamesh_api::{OperationsExt, PinReply, PinRequest, PinsReply, PinsRequest};

use crate::completion::mesh_names;
use crate::context::Context;
use crate::error::{Outcome, Stop, usage};
use crate::output::{Output, Table, columns, plural, time, visible};
use crate::values::duration;

/// Keep files from being swept, and have them mended before others
///
/// The versions of a pinned file are not given up by `cleanup` or `versions --purge`, whatever the rules of
/// retention say, until it is unpinned or removed. The nodes that hold its shards are told the priority: of
/// two files that are equally near to being lost they mend the one of the higher priority first. New
/// versions of the file are pinned too. Without a name what is pinned is listed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh pin thesis.pdf
  datamesh pin 'photos/**' --priority 8 --duration 90d
  datamesh pin                     what is pinned")]
pub(crate) struct PinArgs {
    /// Names in the account, or patterns; see batch-tag
    #[arg(value_name = "NAME", add = mesh_names())]
    names: Vec<String>,

    /// For how long: 30d, 12h, or permanent
    #[arg(long, default_value = "permanent", value_name = "TIME", value_parser = term)]
    duration: Term,

    /// 1 to 10, the most important
    #[arg(long, default_value_t = 5, value_name = "1-10",
          value_parser = clap::value_parser!(u8).range(1..=10))]
    priority: u8,
}

/// No longer pin files
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh unpin thesis.pdf
  datamesh unpin 'photos/**'")]
pub(crate) struct UnpinArgs {
    /// Names in the account, or patterns; see batch-tag
    #[arg(required = true, value_name = "NAME", add = mesh_names())]
    names: Vec<String>,
}

/// How long something is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Term {
    Permanent,
    For(Duration),
}

fn term(text: &str) -> Result<Term, String> {
    match text {
        "permanent" => Ok(Term::Permanent),
        text => duration(text).map(Term::For).map_err(|error| format!("{error}, or permanent")),
    }
}

impl PinArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if self.names.is_empty() {
            let operations = context.connect().await?;
            let reply = operations.pins(PinsRequest {}).await?;
            return tell_pins(&context.output, &reply);
        }
        let term_ms = match self.duration {
            Term::Permanent => 0,
            Term::For(term) if term.as_millis() == 0 => {
                return Err(usage("the pin would have ended already").into());
            }
            Term::For(term) => u64::try_from(term.as_millis()).unwrap_or(u64::MAX),
        };
        let operations = context.connect().await?;
        let request = PinRequest { patterns: self.names, priority: Some(self.priority), term_ms };
        let reply = operations.pin(request).await?;
        tell(&context.output, &reply, "pinned")
    }
}

impl UnpinArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let operations = context.connect().await?;
        let request = PinRequest { patterns: self.names, ..PinRequest::default() };
        let reply = operations.pin(request).await?;
        tell(&context.output, &reply, "unpinned")
    }
}

fn tell(output: &Output, reply: &PinReply, done: &str) -> Result<Outcome, Stop> {
    let partly = reply.pending > 0 || !reply.failed.is_empty();
    let outcome = if partly { Outcome::Partial } else { Outcome::Done };
    output.failures(done, &reply.failed);
    if output.is_for_programs() {
        output.answer_rows(reply, "/files", columns::PINNED)?;
        return Ok(outcome);
    }
    for file in &reply.files {
        let how = if file.unchanged { format!("{done} already") } else { done.to_owned() };
        output.line(format!("{how} {}", visible(file.path.as_str())))?;
    }
    if reply.segments > 0 {
        let (told, segments) = (reply.told, plural(reply.segments, "segment"));
        output.note(format!("the holders of {told} of {segments} know it"));
    }
    if reply.told < reply.segments || reply.unread > 0 {
        output.note("a running service tells the others when they answer");
    }
    output.pending(reply.pending);
    Ok(outcome)
}

fn tell_pins(output: &Output, reply: &PinsReply) -> Result<Outcome, Stop> {
    if output.is_for_programs() {
        output.answer_rows(&reply.pins, "", columns::PINS)?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&["NAME", ">PRIORITY", "UNTIL", "SINCE"]);
    for pin in &reply.pins {
        let name = pin.path.as_ref().map_or_else(|| pin.file.to_string(), ToString::to_string);
        let name = if pin.deleted { format!("{name} (removed)") } else { name };
        let until =
            if pin.terms.until == 0 { "for good".to_owned() } else { time(pin.terms.until) };
        table.row([name, pin.terms.priority.to_string(), until, time(pin.since)]);
    }
    if table.is_empty() {
        output.note("nothing is pinned");
    } else {
        output.table(&table)?;
    }
    Ok(Outcome::Done)
}
