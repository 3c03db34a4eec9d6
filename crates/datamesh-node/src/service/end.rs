//! Why and when a service ends.

use std::time::Duration;

use datamesh_api::{ErrorKind, OperationError};
use datamesh_engine::repair::Repairer;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

/// How often a node that leaves looks how far it is.
const DRAIN_TICK: Duration = Duration::from_millis(500);

/// Why a service ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It was told to, or its time is over.
    Asked,
    /// It was to leave, and all of its shards are held elsewhere.
    Drained,
    /// This part of it, without which it is of no use, broke down.
    Broken(&'static str),
}

/// Returns if the task panicked, and never otherwise.
pub(super) async fn panicked(task: JoinHandle<()>) {
    if !task.await.is_err_and(|error| error.is_panic()) {
        std::future::pending().await
    }
}

/// Waits until every shard is held elsewhere, and tells now and then how far it is.
async fn drained(repairer: &Repairer) {
    let mut told = None;
    loop {
        tokio::time::sleep(DRAIN_TICK).await;
        let status = repairer.status();
        let Some(drain) = status.drain else { continue };
        if told != Some(drain) {
            tracing::info!(
                shards = drain.shards,
                left = drain.left,
                waiting_for_domains = status.waiting,
                "draining"
            );
            told = Some(drain);
        }
        if drain.finished {
            return;
        }
    }
}

/// The signals that end a service.
pub(super) struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    /// Catches them from now on.
    pub(super) fn catch() -> Result<Self, OperationError> {
        let caught = |kind| {
            signal(kind).map_err(|error| {
                let message = format!("signals cannot be caught: {error}");
                OperationError::new(ErrorKind::Failed, message)
            })
        };
        Ok(Self {
            terminate: caught(SignalKind::terminate())?,
            interrupt: caught(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them.
    pub(super) async fn signal(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits until the service is to end, or `broken` says which part of it broke down.
    pub(super) async fn wait(
        &mut self,
        timeout: Option<Duration>,
        drain: Option<&Repairer>,
        broken: impl Future<Output = &'static str>,
    ) -> End {
        let end = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let drained = async {
            match drain {
                Some(repairer) => drained(repairer).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.signal() => End::Asked,
            () = end => End::Asked,
            () = drained => End::Drained,
            part = broken => End::Broken(part),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[tokio::test]
    async fn a_service_ends_where_a_part_of_it_broke_down_and_not_where_one_is_done() {
        let mut ends = Ends::catch().unwrap();
        let soon = Some(Duration::from_millis(50));
        let done = async {
            panicked(tokio::spawn(async {})).await;
            "a part"
        };
        assert_eq!(ends.wait(soon, None, done).await, End::Asked);
        let broken = async {
            panicked(tokio::spawn(async { panic!("on purpose") })).await;
            "a part"
        };
        assert_eq!(ends.wait(None, None, broken).await, End::Broken("a part"));
    }
}
