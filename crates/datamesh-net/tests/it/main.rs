//! The network over real sockets on 127.0.0.1.
#![allow(
    clippy::disallowed_methods,
    reason = "real threads, time and processes are what is tested here"
)]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(unreachable_pub, reason = "modules of one test executable")]

mod bounds;
mod dialling;
mod exchanges;
mod guard;
mod hostile;
mod lifecycle;
mod reaching;
mod stranger;
mod support;
mod thin;
