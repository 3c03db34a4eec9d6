//! What goes to standard output and standard error.
//!
//! Standard output carries the answer alone, as a table, as JSON or as CSV; progress, notes and warnings go
//! to standard error. A reader of standard output that leaves early ends the program quietly.

pub(crate) mod columns;
mod csv;
mod program;
mod progress;
mod table;
mod text;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datamesh_api::{EntryFailure, OperationError, PeerFault};
use serde::Serialize;

use crate::error::{Stop, failed};

use csv::Csv;
pub(crate) use program::{for_home, set_home};
pub(crate) use progress::Transfer;
pub(crate) use table::{Table, node_id, width};
pub(crate) use text::{ago, plural, rate, short, size, time, visible};

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people: columns fitted to the terminal.
    Table,
    /// For programs: exact and stable.
    Json,
    /// For spreadsheets: the rows of what JSON says, just as exact.
    Csv,
    /// What `export` is told by the same flag: the format of the archive. Its answer is a table then.
    #[value(skip)]
    Archive(datamesh_archive::Format),
}

/// Where answers, notes and errors go.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    format: Format,
    quiet: bool,
    verbose: bool,
    /// What was written of answers as CSV.
    csv: Arc<Mutex<Csv>>,
}

impl Output {
    /// Output in `format`.
    pub(crate) fn new(format: Format, quiet: bool, verbose: bool) -> Self {
        let format = match format {
            Format::Archive(_) => Format::Table,
            format => format,
        };
        Self { format, quiet, verbose, csv: Arc::default() }
    }

    fn csv(&self) -> MutexGuard<'_, Csv> {
        self.csv.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers are for programs.
    pub(crate) fn is_for_programs(&self) -> bool {
        self.format != Format::Table
    }

    /// How answers are written.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// More is wanted than usual.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether progress may be drawn.
    pub(crate) fn draws_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Writes an answer for programs that is about the list at `list` in it, a JSON pointer: `/files`, or nothing
    /// for the answer itself. As CSV it has these columns.
    pub(crate) fn answer_rows<T: Serialize + ?Sized>(
        &self,
        answer: &T,
        list: &str,
        columns: &[&str],
    ) -> Result<(), Stop> {
        if self.format != Format::Csv {
            return self.answer(answer);
        }
        let answer = serde_json::to_value(answer).map_err(failed)?;
        let rows = answer.pointer(list);
        let rows = rows.and_then(serde_json::Value::as_array).map_or(&[][..], Vec::as_slice);
        let text = self.csv().rows(rows, columns)?;
        self.raw(&text)
    }

    /// Writes an answer for programs.
    pub(crate) fn answer<T: Serialize + ?Sized>(&self, answer: &T) -> Result<(), Stop> {
        if self.format == Format::Csv {
            let answer = serde_json::to_value(answer).map_err(failed)?;
            let text = self.csv().values(&answer)?;
            return self.raw(&text);
        }
        let text = if io::stdout().is_terminal() {
            serde_json::to_string_pretty(answer)
        } else {
            serde_json::to_string(answer)
        };
        self.line(text.map_err(failed)?)
    }

    /// Writes one line, or several with line ends between them.
    pub(crate) fn line(&self, text: impl Display) -> Result<(), Stop> {
        let mut out = io::stdout().lock();
        Ok(writeln!(out, "{text}").and_then(|()| out.flush())?)
    }

    /// Writes text as it is.
    pub(crate) fn raw(&self, text: &str) -> Result<(), Stop> {
        let mut out = io::stdout().lock();
        Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
    }

    /// Writes a table, if it has rows.
    pub(crate) fn table(&self, table: &Table) -> Result<(), Stop> {
        if table.is_empty() { Ok(()) } else { self.line(table) }
    }

    /// Says something beside the answer, unless quiet was asked for.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            to_stderr(&program::named(&text.to_string()));
        }
    }

    /// Says something that must not be overlooked.
    pub(crate) fn warn(&self, text: impl Display) {
        to_stderr(&format!("{} {text}", text::coloured("warning:", "33")));
    }

    /// Lists entries that were not done; `done` says what was not.
    pub(crate) fn failures(&self, done: &str, failures: &[EntryFailure]) {
        for failure in failures {
            self.warn(format!(
                "not {done}: {}: {}",
                text::told(&failure.path),
                text::told(&failure.reason)
            ));
        }
    }

    /// Says that changes are not committed on the mesh yet.
    pub(crate) fn pending(&self, pending: u64) {
        if pending > 0 {
            let changes = text::plural(pending, "change");
            self.warn(format!(
                "{changes} of the catalog pending: too few nodes answered. They are kept on this \
                 device and published by its next command or its service"
            ));
        }
    }

    /// Lists peers that failed while others served.
    pub(crate) fn faults(&self, faults: &[PeerFault]) {
        for fault in faults {
            self.note(format!("peer {} failed: {}", short(&fault.node), visible(&fault.what)));
        }
    }
}

/// Whether somebody sits at standard input and sees `out`, on a terminal on which lines can be drawn anew.
pub(crate) fn draws_on(out: &impl IsTerminal) -> bool {
    io::stdin().is_terminal() && out.is_terminal() && !is_dumb()
}

/// Whether the terminal knows nothing but text.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}

/// Whether colours are refused (no-color.org) or cannot be shown.
pub(crate) fn is_plain() -> bool {
    is_dumb() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Writes a line to standard error. Where that is gone, nothing is left to be told.
pub(crate) fn to_stderr(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Reports an error: for people on standard error, for programs on standard output too.
pub(crate) fn report(error: &OperationError, json: bool) {
    if json {
        report_for_programs(error);
    }
    report_lines([error.message.as_str()]);
    if let Some(hint) = &error.hint {
        to_stderr(&format!(
            "{} {}",
            text::coloured("hint:", "36"),
            text::told(&program::named(hint))
        ));
    }
}

/// Says on standard output why a command failed.
pub(crate) fn report_for_programs(error: &OperationError) {
    if let Ok(text) = serde_json::to_string(&serde_json::json!({ "error": error })) {
        drop(writeln!(io::stdout().lock(), "{text}"));
    }
}

/// Says on standard error what is wrong, in lines.
pub(crate) fn report_lines<'a>(lines: impl IntoIterator<Item = &'a str>) {
    let lines: Vec<String> = lines.into_iter().map(text::told).collect();
    to_stderr(&format!("{} {}", text::coloured("error:", "31;1"), lines.join("\n")));
}
