//! The integration tests of the codec.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod code;
mod proof;
mod segment;
