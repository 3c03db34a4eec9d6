//! The store against real and failing disks.
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod basics;
mod damage;
mod directory;
mod golden;
mod model;
mod sample;
