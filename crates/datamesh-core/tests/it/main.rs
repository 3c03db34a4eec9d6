//! Formats and rules of the words that every crate speaks.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod operation;
