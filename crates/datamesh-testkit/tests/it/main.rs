//! The integration tests of datamesh-testkit, one module a subject.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod exchange;
mod faults;
mod fixtures;
mod liar;
mod life;
mod peers;
mod replay;
mod run;
mod signatures;
