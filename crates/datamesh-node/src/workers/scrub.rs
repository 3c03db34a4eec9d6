//! Reads this node's own shards for rot, spread over the period.

use std::sync::Arc;
use std::time::Duration;

use datamesh_engine::scrub::Scrubber;
use tokio_util::sync::CancellationToken;

/// How long a scrub waits that found a pack closed to it.
const AFTER_ERROR: Duration = Duration::from_secs(60);

/// Scrubs until `stop`.
pub(crate) async fn scrub(scrubber: Arc<Scrubber>, stop: CancellationToken) {
    let work = async {
        scrubber.recall().await;
        loop {
            let pause = match scrubber.step().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "the scrub cannot read");
                    AFTER_ERROR
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    stop.run_until_cancelled(work).await;
}
