//! Waiting for changes of a local folder.
//!
//! Only that something changed is told, and never what: the pass that follows looks at the whole folder,
//! which takes less than a second for tens of thousands of files. So there is no queue that could
//! overflow, and an overflow of the system's own queue is one more change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datamesh_api::{ErrorKind, OperationError};
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Nothing may have changed for so long before a pass begins, so that what is written in steps is
/// whole.
const QUIET: Duration = Duration::from_millis(500);

/// Where it never gets quiet, a pass begins all the same.
const QUIET_PATIENCE: Duration = Duration::from_secs(5);

/// Tells that something below a folder changed.
pub struct Changes {
    changed: Arc<Notify>,
    /// Watches until it is dropped.
    _watcher: RecommendedWatcher,
}

/// Whether an event tells of a change. Reading is none; a pass reads.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

impl Changes {
    /// Begins to watch everything below `folder`.
    ///
    /// # Errors
    /// [`OperationError`] where the system watches nothing, or not so much.
    pub fn watch(folder: &Path) -> Result<Self, OperationError> {
        let changed = Arc::new(Notify::new());
        let told = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error, too, means that something may have been missed.
            if event.as_ref().map_or(true, |event| event.need_rescan() || is_change(&event.kind)) {
                told.notify_one();
            }
        });
        let failed = |error: notify::Error| {
            let message = format!("\"{}\" cannot be watched: {error}", folder.display());
            OperationError::new(ErrorKind::Failed, message)
        };
        let mut watcher = watcher.map_err(failed)?;
        watcher.watch(folder, RecursiveMode::Recursive).map_err(failed)?;
        Ok(Self { changed, _watcher: watcher })
    }

    /// Waits until something changed and it is quiet again.
    pub async fn next(&self) {
        self.changed.notified().await;
        let end = Instant::now() + QUIET_PATIENCE;
        while Instant::now() < end {
            match tokio::time::timeout(QUIET, self.changed.notified()).await {
                Ok(()) => {}
                Err(_) => return,
            }
        }
    }
}
