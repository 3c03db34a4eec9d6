//! Background work of collection: what owners released leaves this node's disk.

use std::sync::Arc;
use std::time::Duration;

use datamesh_engine::Collector;
use tokio_util::sync::CancellationToken;

/// The first pass begins so long after the start: members have answered by then.
const FIRST_AFTER: Duration = Duration::from_secs(10);

/// Collects until `stop`.
pub(crate) async fn collect(
    collector: Arc<Collector>,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut wait = interval.min(FIRST_AFTER);
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
