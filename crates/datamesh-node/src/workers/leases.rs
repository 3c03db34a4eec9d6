//! Background work for the home's own account in a mesh whose leases end: what is due is renewed.

use std::time::Duration;

use datamesh_core::seam;
use tokio_util::sync::CancellationToken;

use crate::operations::HomeOperations;
use crate::system::SystemEntropy;

/// The first look is so long after the start at the latest: members have answered by then.
const FIRST_AFTER: Duration = Duration::from_secs(10);

/// What was not reached, or not asked, is tried again so soon at the latest.
const RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Looks each `interval` at what is due, and renews it, until `stop`.
pub(crate) async fn renew_leases(
    operations: HomeOperations,
    interval: Duration,
    stop: CancellationToken,
) {
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
