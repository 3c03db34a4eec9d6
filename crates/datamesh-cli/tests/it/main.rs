//! The program as its users meet it: real processes, real sockets on loopback, real files.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise and lives in real time"
)]

mod arguments;
mod demo;
mod losses;
mod mesh;
mod transfers;
mod wrong_use;
