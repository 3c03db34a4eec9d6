//! How far an operation is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// How far an operation is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes done.
    pub bytes: u64,
    /// Files done.
    pub files: u64,
}

/// Is told of progress.
pub type EventFn = Arc<dyn Fn(Progress) + Send + Sync>;

/// Adds the progress of several transfers up.
#[derive(Clone)]
pub struct Totals {
    bytes: Arc<AtomicU64>,
    files: Arc<AtomicU64>,
    events: EventFn,
}

impl Totals {
    /// Tells `events` of the sum.
    pub fn new(events: EventFn) -> Self {
        Self { bytes: Arc::default(), files: Arc::default(), events }
    }

    /// Who is told of the progress of one transfer.
    pub fn part(&self) -> EventFn {
        let (totals, last) = (self.clone(), Mutex::new(Progress::default()));
        Arc::new(move |now: Progress| {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            let (bytes, files) =
                (now.bytes.saturating_sub(last.bytes), now.files.saturating_sub(last.files));
            *last = now;
            let progress = Progress {
                bytes: totals.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes,
                files: totals.files.fetch_add(files, Ordering::Relaxed) + files,
            };
            (totals.events)(progress);
        })
    }
}
