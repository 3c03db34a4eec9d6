//! The catalog as its users meet it: every test opens real files.
#![allow(
    clippy::disallowed_methods,
    reason = "real threads, time and processes are what is tested here"
)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conflict;
mod contents;
mod corruption;
mod crash;
mod damage;
mod files;
mod fixture;
mod group;
mod journal;
mod labels;
mod list;
mod log;
mod measure;
mod model;
mod node;
mod pins;
mod promised;
mod purge;
mod query;
mod rewrite;
mod schema;
mod search;
mod shares;
mod steps;
