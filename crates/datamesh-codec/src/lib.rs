//! Ciphertext to shards and back, without a key: cells, Reed-Solomon, roots, proofs.
//!
//! A segment being written lives in one [`buffer`](pool::Buffer) in the order of its shards
//! ([`Layout`]), so that sealing, coding, hashing and sending all work on the same bytes in place.
//! The format is `docs/specs/segment.md`.

pub mod code;
pub mod layout;
pub mod pool;
pub mod proof;
pub mod segment;

pub use layout::Layout;
pub use pool::{Buffer, Pool};
pub use segment::{CodecError, check_shard, encode, rebuild};
