//! What this machine can do at best, and what the shard store does on it: the figures that all others are
//! compared with, for the command `benchmark` and for the measurements of development.
//!
//! Everything here blocks, uses one thread where nothing else is said, and leaves no file behind.

#![allow(clippy::disallowed_methods, reason = "the real clock, threads and disk are measured here")]

mod disk;
mod machine;
mod shards;

use std::time::{Duration, Instant};

use datamesh_store::{DiskError, StoreError};

pub use disk::{cached_write, small_files, synced_writes};
pub use machine::{copy, hash, loopback, noise, seal};
pub use shards::ShardStore;

/// One mebibyte.
pub const MIB: usize = 1 << 20;

/// So much in such a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// How often it was done.
    pub count: u64,
    /// Bytes, all times together.
    pub bytes: u64,
    /// How long that took.
    pub time: Duration,
}

impl Rate {
    /// Times a second.
    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Bytes a second.
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The disk refused.
    #[error("{what}: {source}")]
    Disk {
        /// What was being done.
        what: &'static str,
        /// Why not.
        source: DiskError,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cipher refused, or a thread broke off.
    #[error("{0} broke off")]
    Broken(&'static str),
}

pub(crate) fn io(what: &'static str) -> impl Fn(std::io::Error) -> MeasureError {
    move |source| MeasureError::Io { what, source }
}

pub(crate) fn on_disk(what: &'static str) -> impl Fn(DiskError) -> MeasureError {
    move |source| MeasureError::Disk { what, source }
}

/// Repeats `work`, which handles `bytes` each time, for a while, after once before, so that memory and
/// tables are there.
///
/// # Errors
/// Those of `work`.
pub fn repeat(
    bytes: usize,
    time: Duration,
    mut work: impl FnMut() -> Result<(), MeasureError>,
) -> Result<Rate, MeasureError> {
    work()?;
    let (began, mut count) = (Instant::now(), 0_u64);
    while began.elapsed() < time {
        work()?;
        count += 1;
    }
    Ok(Rate { count, bytes: count * bytes as u64, time: began.elapsed() })
}
