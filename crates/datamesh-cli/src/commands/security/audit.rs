//! `datamesh audit`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Subcommand, ValueEnum};
use datamesh_api::OperationError;
use datamesh_core::{Hash, Timestamp};
use datamesh_node::{AuditFilter, RecordedEntry, list_audit_log, verify_audit_log};

use crate::context::Context;
use crate::error::{Outcome, Stop, failed};
use crate::output::{Table, columns, plural, time};
use crate::writing::{PRIVATE, write_file};

/// Show, check and copy out the record of what was done in this home
///
/// Each entry has the hash of the one before it, so an entry that was edited, taken out or moved is
/// found. That the newest are still there shows with a hash that was noted elsewhere.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh audit list --event key --since 30d
  datamesh audit verify
  datamesh audit verify --noted 1312:6f1c…    number and hash from an earlier check
  datamesh audit export --as csv audit.csv")]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// List entries, the newest last
    List(Wanted),
    /// Check every entry; ends with 1 and says where if one is not what was written
    Verify {
        /// An entry that was noted earlier: its number and its hash
        #[arg(long, value_name = "NUMBER:HASH", value_parser = noted)]
        noted: Option<(u64, Hash)>,
    },
    /// Write entries to a new file, or to standard output
    Export {
        #[command(flatten)]
        wanted: Wanted,
        /// The form: lines of JSON, or a table
        #[arg(long = "as", value_name = "FORM", value_enum, default_value = "json")]
        form: Form,
        /// The file, which must not be there yet; - for standard output
        dest: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Wanted {
    /// Only this event, or those that begin with it: key for key.export
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Only from then on: 7d for the last seven days, or a date
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only entries with this text
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Only the newest so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// One JSON object a line.
    Json,
    /// Comma-separated values (RFC 4180) with a head.
    Csv,
}

/// A number and a hash with a colon between them.
fn noted(text: &str) -> Result<(u64, Hash), String> {
    let wrong = || "it is an entry's number and hash, with a colon between them".to_owned();
    let (number, hash) = text.split_once(':').ok_or_else(wrong)?;
    Ok((number.parse().map_err(|_| wrong())?, hash.parse().map_err(|_| wrong())?))
}

/// A time: so long ago, a date, or a date and a time of day, in UTC.
fn moment(text: &str) -> Result<Timestamp, String> {
    let at = if let Ok(ago) = humantime::parse_duration(text) {
        SystemTime::now().checked_sub(ago)
    } else {
        let whole = format!("{text} 00:00:00");
        humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339_weak(&whole)).ok()
    };
    let since = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since
        .map(|since| since.as_millis() as Timestamp)
        .ok_or_else(|| "it is a duration such as 7d, or a date such as 2026-01-31".to_owned())
}

impl Wanted {
    fn filter(self) -> AuditFilter {
        let Self { event, since, until, text, limit } = self;
        AuditFilter { event, since, until, text, limit }
    }
}

fn detail(recorded: &RecordedEntry) -> String {
    let pairs = recorded.entry.detail.iter().map(|(name, value)| format!("{name}: {value}"));
    pairs.collect::<Vec<_>>().join(", ")
}

fn lines(entries: &[RecordedEntry], form: Form) -> Result<String, OperationError> {
    match form {
        Form::Json => {
            let mut out = String::new();
            for recorded in entries {
                out.push_str(&serde_json::to_string(recorded).map_err(failed)?);
                out.push('\n');
            }
            Ok(out)
        }
        Form::Csv => csv_lines(entries).map_err(failed),
    }
}

fn csv_lines(entries: &[RecordedEntry]) -> csv::Result<String> {
    let mut form = csv::WriterBuilder::new();
    let mut lines = form.terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    lines.write_record(["number", "time", "event", "detail", "previous", "hash"])?;
    for recorded in entries {
        let entry = &recorded.entry;
        let (number, previous) = (entry.number.to_string(), entry.previous.to_string());
        let (at, told, hash) = (time(entry.time), detail(recorded), recorded.hash.to_string());
        lines.write_record([&number, &at, &entry.event, &told, &previous, &hash])?;
    }
    let bytes = lines.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An entry as an answer, with its times as text; the log and what is copied out of it have them as numbers.
fn told(entry: &RecordedEntry) -> Result<serde_json::Value, Stop> {
    let mut told = serde_json::to_value(entry).map_err(failed)?;
    told["time"] = serde_json::json!(datamesh_api::moment::text(entry.entry.time));
    if let Some(expires) = told.pointer_mut("/detail/expires")
        && let Some(at) = expires.as_str().and_then(|text| text.parse().ok())
    {
        *expires = serde_json::json!(datamesh_api::moment::text(at));
    }
    Ok(told)
}

impl AuditArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let (home, output) = (&context.home, &context.output);
        match self.command {
            AuditCommand::List(wanted) => {
                let entries = list_audit_log(home, &wanted.filter())?;
                if output.is_for_programs() {
                    let entries = entries.iter().map(told).collect::<Result<Vec<_>, _>>()?;
                    output.answer_rows(&entries, "", columns::AUDIT_LOG)?;
                    return Ok(Outcome::Done);
                }
                let mut table = Table::new(&[">NUMBER", "TIME", "EVENT", "DETAIL"]);
                for recorded in &entries {
                    let entry = &recorded.entry;
                    let (number, at) = (entry.number.to_string(), time(entry.time));
                    table.row([number, at, entry.event.clone(), detail(recorded)]);
                }
                output.table(&table)?;
                Ok(Outcome::Done)
            }
            AuditCommand::Verify { noted } => {
                let checked = verify_audit_log(home, noted)?;
                if output.is_for_programs() {
                    output.answer(&checked)?;
                } else {
                    output.line(format!("{} checked", plural(checked.entries, "record")))?;
                    if let (Some(last), Some(hash)) = (checked.last, checked.hash) {
                        output.line(format!("note this elsewhere: {last}:{hash}"))?;
                    }
                }
                let Some(problem) = checked.problem else { return Ok(Outcome::Done) };
                if !output.is_for_programs() {
                    let place = match (&problem.file, problem.line) {
                        (Some(file), Some(line)) => format!("{file}, line {line}: "),
                        _ => String::new(),
                    };
                    output.warn(format!("entry {}: {place}{}", problem.number, problem.what));
                }
                Ok(Outcome::Bad)
            }
            AuditCommand::Export { wanted, form, dest } => {
                let entries = list_audit_log(home, &wanted.filter())?;
                let text = lines(&entries, form)?;
                if dest.as_os_str() == "-" {
                    output.raw(&text)?;
                    return Ok(Outcome::Done);
                }
                write_file(&dest, PRIVATE, text.as_bytes())?;
                output.note(format!(
                    "{} written to {}",
                    plural(entries.len() as u64, "record"),
                    dest.display()
                ));
                Ok(Outcome::Done)
            }
        }
    }
}
