//! The integration tests of the codec.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod code;
mod golden;
mod proof;
mod segment;
#[expect(dead_code, reason = "shared with the tests of core, which check more of a record")]
#[path = "../../../datamesh-core/tests/it/vectors.rs"]
mod vectors;
