//! The program as its users meet it: real processes, real sockets on loopback, real files.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise and lives in real time"
)]

mod archives;
mod arguments;
mod audit_log;
mod bad_input;
mod batch;
mod collection;
mod console;
mod demo;
mod discovery;
mod examples;
mod hostile;
mod inside;
mod leases;
mod live;
mod losses;
mod namespaces;
mod pins;
mod reaching;
mod rebalance;
mod recover;
mod repair;
mod resumed_gets;
mod resumption;
mod rot;
mod rotation;
mod schemas;
mod shares;
mod small_disk;
mod space;
mod strangers;
mod supervised;
mod sync;
mod table;
mod terminal;
mod three_ways;
mod transfers;
mod wrong_use;

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_datamesh");

fn program() -> Command {
    datamesh_testkit::processes::command(Path::new(PROGRAM))
}

/// Says that a test could not show what it is for.
fn not_run(why: &str) {
    let mut err = std::io::stderr();
    writeln!(err, "not run: {why}").unwrap();
}
