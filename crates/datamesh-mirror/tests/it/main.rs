//! Mirrors of real folders with an account in memory.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise and lives in real time"
)]

mod passes;
mod replica;
mod replicas;
