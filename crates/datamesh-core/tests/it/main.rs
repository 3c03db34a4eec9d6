//! The integration tests of datamesh-core, one module a subject.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod descriptor;
mod head;
mod messages;
mod operation;
mod records;
mod share;
mod vectors;
mod wire;
