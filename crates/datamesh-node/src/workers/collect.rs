//! Background work of collection: what owners released leaves this node's disk.

use std::sync::Arc;
use std::time::Duration;

use datamesh_engine::Collector;
use tokio_util::sync::CancellationToken;

/// The first pass begins so long after the start at the latest: members have answered by then.
const FIRST_AFTER: Duration = Duration::from_secs(10);

/// Collects until `stop`.
pub(crate) async fn collect(
    collector: Arc<Collector>,
    interval: Duration,
    offline_after: Duration,
    stop: CancellationToken,
) {
    let mut wait = interval.min(FIRST_AFTER).min(offline_after);
    loop {
        let round = async {
            tokio::time::sleep(wait).await;
            let before = collector.state();
            if let Err(error) = collector.pass().await {
                tracing::warn!(%error, "nothing was collected");
            }
            let after = collector.state();
            if after.removed > before.removed || after.returned_bytes > before.returned_bytes {
                tracing::info!(
                    shards = after.removed - before.removed,
                    bytes = after.returned_bytes - before.returned_bytes,
                    "released shards were removed"
                );
            }
        };
        if stop.run_until_cancelled(round).await.is_none() {
            return;
        }
        wait = interval;
    }
}

/// Waits until a first pass has compared what this node has with what other holders know of
/// releases: a node that was away must not carry on what its owner ended.
pub(crate) async fn reconciled(collector: &Collector) {
    const LOOK: Duration = Duration::from_millis(100);
    while collector.state().passes == 0 {
        tokio::time::sleep(LOOK).await;
    }
}
