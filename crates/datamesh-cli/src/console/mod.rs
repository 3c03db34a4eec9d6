//! The console: one line after another is read, parsed by the parser of the command line, and done.
//!
//! Promised: what a command does, prints and returns is what it does in a shell. Ctrl-C ends the command that
//! runs and leaves the console; the password is asked for once. Between commands nothing of the home is held, so
//! that a service and other commands can use it.

mod complete;
mod editor;
mod input;
mod status;

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Args, Command, tree};
use crate::context::Context;
use crate::error::{Outcome, Stop, failed, usage};
use crate::output;
use crate::password;
use crate::signals::INTERRUPTED;

use input::{Input, Line};
use status::Status;

/// What a line asks for.
enum Asked {
    Nothing,
    Leave,
    Command(Vec<String>),
}

/// Runs until the input ends or somebody leaves.
///
/// # Errors
/// [`Stop`] where the terminal cannot be used.
pub(crate) async fn run(context: &Context) -> Result<Outcome, Stop> {
    let edited = output::draws_on(&std::io::stdout());
    crate::completion::complete_for(&context.home);
    let status = edited.then(|| Status::watch(&context.home));
    let mut input = if edited {
        Input::edited(&context.home, status.as_ref())?
    } else {
        Input::plain(std::io::stdin().is_terminal())
    };
    if edited {
        context.output.note("help tells the commands, help COMMAND one of them; exit leaves");
    }
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    // While a line is edited Ctrl-C is a key; elsewhere it must not end the console.
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut first_failed = 0;
    let context = context.in_console();
    loop {
        let line = tokio::select! {
            line = input.next() => line?,
            _ = terminated.recv() => break,
            _ = hung_up.recv() => break,
        };
        let text = match line {
            Line::Text(text) => text,
            Line::Interrupted => continue,
            Line::End => break,
        };
        let words = match asked(&text) {
            Ok(Asked::Nothing) => continue,
            Ok(Asked::Leave) => break,
            Ok(Asked::Command(words)) => words,
            Err(error) => {
                output::report(&error, context.global.wants_json());
                if first_failed == 0 {
                    first_failed = error.kind.exit_code();
                }
                continue;
            }
        };
        // One that was not meant for the command.
        while has_come(&mut interrupted) {}
        let known = context.password.is_known();
        let ready = match ready(&context, words) {
            Ok(ready) => ready,
            Err(code) => {
                if first_failed == 0 {
                    first_failed = code;
                }
                continue;
            }
        };
        let code = if ready.command.handles_signals() {
            // It ends in order by itself, and then so does the console.
            let code = ready.run().await;
            if has_come(&mut terminated) || has_come(&mut hung_up) {
                break;
            }
            code
        } else {
            tokio::select! {
                code = ready.run_until(&mut interrupted) => code,
                _ = terminated.recv() => break,
                _ = hung_up.recv() => break,
            }
        };
        if code != 0 && !known {
            // It may have been the wrong one.
            context.password.forget();
        }
        if first_failed == 0 {
            first_failed = code;
        }
    }
    input.leave();
    // Somebody who sat there has seen what failed.
    Ok(if edited { Outcome::Done } else { Outcome::Console(first_failed) })
}

/// Whether a signal has come already.
fn has_come(signal: &mut tokio::signal::unix::Signal) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    signal.poll_recv(&mut context).is_ready()
}

/// Makes words of a line, as a shell would.
fn asked(text: &str) -> Result<Asked, datamesh_api::OperationError> {
    let mut words = shlex::split(text)
        .ok_or_else(|| usage("a quotation mark is not closed, or a backslash ends the line"))?;
    // Examples name the program, and are typed as they stand.
    if words.len() > 1 && words[0] == "datamesh" {
        words.remove(0);
    }
    Ok(match words.first().map(String::as_str) {
        None => Asked::Nothing,
        Some("exit" | "quit") if words.len() == 1 => Asked::Leave,
        Some(_) => Asked::Command(words.into_iter().map(at_home).collect()),
    })
}

/// A word that begins with `~/` is a way from the user's own folder.
fn at_home(word: String) -> String {
    let own = std::env::home_dir().and_then(|folder| folder.into_os_string().into_string().ok());
    match (word.strip_prefix("~/"), own) {
        (Some(rest), Some(own)) => format!("{own}/{rest}"),
        _ => word,
    }
}

/// A command with all that it needs.
struct Ready {
    command: Command,
    context: Context,
    json: bool,
}

/// Makes a command of words. Fails with the exit code where they are none, or ask for help.
fn ready(console: &Context, words: Vec<String>) -> Result<Ready, u8> {
    let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    let parsed = tree().no_binary_name(true).try_get_matches_from(words);
    let parsed = parsed.and_then(|matches| Ok((Args::from_arg_matches(&matches)?, matches)));
    let (Args { global, command }, matches) =
        parsed.map_err(|error| crate::refuse(&error, console.global.wants_json()))?;
    let global = global.within(&console.global, |name| is_typed(&matches, name));
    let json = global.wants_json();
    let ready = match command {
        None | Some(Command::Interactive(_)) => Err(usage("this is the console")),
        Some(command) => console.with(global).map(|context| Ready { command, context, json }),
    };
    ready.map_err(|error| {
        output::report(&error, json);
        error.kind.exit_code()
    })
}

impl Ready {
    /// Does it. Returns its exit code.
    async fn run(self) -> u8 {
        crate::exit_code(self.command.run(&self.context).await, self.json)
    }

    /// Does it until somebody interrupts it. Returns its exit code.
    async fn run_until(self, interrupted: &mut tokio::signal::unix::Signal) -> u8 {
        let mut running = std::pin::pin!(self.run());
        loop {
            tokio::select! {
                code = &mut running => return code,
                _ = interrupted.recv() => {
                    if !password::is_asking() {
                        output::to_stderr("interrupted");
                        return INTERRUPTED;
                    }
                    output::to_stderr("\nEnter ends the question");
                }
            }
        }
    }
}

/// Whether a global option stands on the line.
fn is_typed(matches: &ArgMatches, name: &str) -> bool {
    let here = matches.value_source(name) == Some(ValueSource::CommandLine);
    here || matches.subcommand().is_some_and(|(_, below)| is_typed(below, name))
}

/// A line that could not be read.
fn unreadable(error: impl std::fmt::Display) -> Stop {
    Stop::Failed(failed(format!("the line cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_a_shell_does() {
        let words = |text: &str| match asked(text) {
            Ok(Asked::Command(words)) => words,
            _ => Vec::new(),
        };
        assert_eq!(words("get 'a b' \"c d\" e\\ f"), ["get", "a b", "c d", "e f"]);
        assert_eq!(words("list # all of them"), ["list"]);
        assert_eq!(words("datamesh list --limit 1"), ["list", "--limit", "1"]);
        assert_eq!(words("datamesh"), ["datamesh"]);
        assert!(matches!(asked("  "), Ok(Asked::Nothing)));
        assert!(matches!(asked("# nothing"), Ok(Asked::Nothing)));
        assert!(matches!(asked("exit"), Ok(Asked::Leave)));
        assert_eq!(words("exit now"), ["exit", "now"]);
        assert!(asked("get 'a").is_err());
    }
}
