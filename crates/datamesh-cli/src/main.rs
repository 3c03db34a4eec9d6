//! The program `datamesh`: it parses arguments, calls the operations, and prints.

#![allow(clippy::disallowed_methods, reason = "the real clock and threads are used here")]

mod args;
mod commands;
mod completion;
mod console;
mod context;
mod error;
mod output;
mod password;
mod signals;
mod values;
mod waiting;
mod wizard;
mod words;
mod writing;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing_appender::rolling::RollingFileAppender;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command, tree};
use crate::commands::nodes::InteractiveArgs;
use crate::context::{Context, GlobalArgs};
use crate::error::{Outcome, Stop, failed, usage};
use crate::signals::Signals;

/// Most threads that run tasks: the work that computes and blocks has threads of its own.
const TASK_THREADS_MAX: usize = 4;

/// How long work that is given up may take to end.
const END_PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    completion::answer();
    let args = match Args::of_process() {
        Ok(args) => args,
        Err(error) => {
            let asked: Vec<_> = std::env::args_os().collect();
            let json = asked.iter().any(|word| word == "--json" || word == "--format=json")
                || asked.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json");
            return ExitCode::from(refuse(&error, json));
        }
    };
    let Args { global, command } = args;
    match command {
        Some(command) => run(global, command),
        // Somebody who starts it on a terminal is asked, and then has a console.
        None if wizard::has_somebody() => {
            run(global, Command::Interactive(InteractiveArgs::first()))
        }
        None => {
            // Where neither output can be written, nobody is there to be told.
            drop(write!(std::io::stderr(), "{}", tree().render_help()));
            ExitCode::from(2)
        }
    }
}

/// Says what is wrong with the arguments, or gives the help that they ask for. Returns the exit code.
fn refuse(error: &clap::Error, json: bool) -> u8 {
    // A help that is shown for want of a command is no error of its own.
    let message = error.to_string();
    match message.strip_prefix("error: ").map(str::trim_end) {
        Some(message) => {
            if json {
                output::report_for_programs(&usage(message));
            }
            output::report_lines(message.lines());
        }
        // Where neither output can be written, nobody is there to be told.
        None => drop(error.print()),
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

fn run(global: GlobalArgs, command: Command) -> ExitCode {
    let json = global.wants_json();
    let usual = if command.is_service() { "info" } else { "warn" };
    match command.log() {
        Ok(file) => log(global.log_level(usual), file),
        Err(error) => {
            output::report(&error, json);
            return ExitCode::from(error.kind.exit_code());
        }
    }
    let context = match Context::new(global) {
        Ok(context) => context,
        Err(error) => {
            output::report(&error, json);
            return ExitCode::from(error.kind.exit_code());
        }
    };
    let runtime = match runtime(&command, &context) {
        Ok(runtime) => runtime,
        Err(error) => {
            output::report(&failed(format!("the runtime cannot be started: {error}")), json);
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run_command(command, &context, json));
    runtime.shutdown_timeout(END_PATIENCE);
    ExitCode::from(code)
}

/// A thread for a command that only talks to a daemon, several where the work is done here.
fn runtime(command: &Command, context: &Context) -> std::io::Result<tokio::runtime::Runtime> {
    if !command.handles_signals() {
        let one = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        if one.block_on(datamesh_node::is_served(&context.home)) {
            return Ok(one);
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.min(TASK_THREADS_MAX))
        .enable_all()
        .build()
}

async fn run_command(command: Command, context: &Context, json: bool) -> u8 {
    // Before anything is asked of a person: a signal that ends the process in the middle of a prompt
    // would leave the terminal without its echo.
    let ends_itself = command.handles_signals();
    let caught = if ends_itself {
        signal(SignalKind::interrupt()).map(|_| None)
    } else {
        Signals::catch().map(Some)
    };
    let interrupted = async {
        match caught {
            Ok(Some(mut signals)) => signals.wait().await,
            // Without handlers the system ends the program as it always did.
            _ => std::future::pending().await,
        }
    };
    let done = tokio::select! {
        done = command.run(context) => done,
        code = interrupted => {
            output::to_stderr("interrupted");
            return code;
        }
    };
    exit_code(done, json)
}

/// Says why a command failed, if it did. Returns the exit code.
fn exit_code(done: Result<Outcome, Stop>, json: bool) -> u8 {
    match done {
        Ok(outcome) => outcome.exit_code(),
        Err(Stop::Closed) => 0,
        Err(Stop::Failed(error)) => {
            output::report(&error, json);
            error.kind.exit_code()
        }
    }
}

/// Logs to a file or to standard error: what `RUST_LOG` asks for, else `level` and above.
fn log(level: &str, file: Option<RollingFileAppender>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    match file {
        Some(file) => log.with_writer(file).with_ansi(false).init(),
        None => {
            let colours = std::io::stderr().is_terminal() && !output::is_plain();
            log.with_writer(std::io::stderr).with_ansi(colours).init();
        }
    }
}
