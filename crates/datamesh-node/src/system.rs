//! The real clock, entropy and executor.

use std::time::{SystemTime, UNIX_EPOCH};

use datamesh_core::{BoxFuture, Clock, Entropy, Executor, Timestamp};

/// The machine's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_millis() as Timestamp
    }
}

/// The operating system's random bytes.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // Keys made without entropy would be worse than no process.
        if let Err(error) = getrandom::fill(bytes) {
            tracing::error!(%error, "the operating system gives no random bytes");
            std::process::abort();
        }
    }
}

/// Tasks and blocking work on the current tokio runtime.
pub(crate) struct TokioExecutor {
    handle: tokio::runtime::Handle,
}

impl TokioExecutor {
    /// An executor on the runtime that this is called in.
    pub(crate) fn current() -> Self {
        Self { handle: tokio::runtime::Handle::current() }
    }
}

impl Executor for TokioExecutor {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.handle.spawn(task);
    }

    fn block(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        self.handle.spawn_blocking(work);
    }
}
