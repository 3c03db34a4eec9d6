//! What was read of files that a mirror stores.

use std::sync::{Arc, Mutex, PoisonError};

use datamesh_core::{Hash, MeshPath};

use crate::fingerprint::Fingerprint;

/// A file that was read to its end and did not change meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Its name at the stream.
    pub path: MeshPath,
    /// BLAKE3 of its content.
    pub hash: Hash,
    /// Its state.
    pub fingerprint: Fingerprint,
    /// A later change is sure to show in that state.
    pub settled: bool,
}

/// Readings, shared with the reading thread.
#[derive(Debug, Clone, Default)]
pub struct Readings(Arc<Mutex<Vec<Reading>>>);

impl Readings {
    pub(super) fn note(&self, reading: Reading) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(reading);
    }

    /// What was read so far, and not taken yet.
    pub fn take(&self) -> Vec<Reading> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
