//! The store against real and failing disks.
#![allow(
    clippy::disallowed_methods,
    reason = "real threads, time and processes are what is tested here"
)]
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod basics;
mod collection;
mod corruption;
mod crash;
mod damage;
mod directory;
mod ends;
mod golden;
mod interleavings;
mod model;
mod sample;
