//! Background work for the home's own account in a mesh whose leases end: what is due is renewed.

use std::sync::Arc;
use std::time::Duration;

use datamesh_core::seam;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Description, Workers};
use crate::operations::{HomeOperations, Shared};
use crate::system::SystemEntropy;

/// The first look is so long after the start at the latest: members have answered by then.
const FIRST_AFTER: Duration = Duration::from_secs(10);

/// What was not reached, or not asked, is tried again so soon at the latest.
const RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Starts the worker of a service whose keys are open.
pub(crate) fn start_renewing(
    workers: &Workers,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    shared: &Arc<Shared>,
    interval: Duration,
) {
    let (shown, renewed) = (Arc::clone(shared), Arc::clone(shared));
    let every = humantime::format_duration(interval);
    let leases = Description {
        progress: Some(Box::new(move || shown.leases.progress())),
        ..Description::of("leases", format!("a look each {every}, a batch a second"))
    };
    workers.start(tasks, stop, leases, move |stop| {
        let operations = HomeOperations::with_open_keys(&renewed);
        async move {
            if let Some(operations) = operations {
                renew_leases(operations, interval, stop).await;
            }
        }
    });
}

/// Looks each `interval` at what is due, and renews it, until `stop`.
async fn renew_leases(operations: HomeOperations, interval: Duration, stop: CancellationToken) {
    let mut wait = interval.min(FIRST_AFTER);
    loop {
        let round = async {
            tokio::time::sleep(wait).await;
            match operations.renew_due_leases().await {
                Ok(all) => all,
                Err(error) => {
                    tracing::warn!(error = %error.message, "leases were not renewed");
                    false
                }
            }
        };
        let Some(all) = stop.run_until_cancelled(round).await else { return };
        // Not all devices at the same time.
        let jitter = u32::from(u8::from_le_bytes(seam::random(&SystemEntropy)));
        let next = if all { interval } else { interval.min(RETRY_AFTER) };
        wait = next + next / 10 * jitter / 256;
    }
}
