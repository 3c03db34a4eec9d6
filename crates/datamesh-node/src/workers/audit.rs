//! Audits what others keep, spread over the period.

use std::sync::Arc;

use datamesh_engine::audit::Auditor;
use tokio_util::sync::CancellationToken;

/// Audits until `stop`.
pub(crate) async fn audit(auditor: Arc<Auditor>, stop: CancellationToken) {
    let work = async {
        auditor.recall().await;
        loop {
            let turn = auditor.turn().await;
            if turn.failures > 0 {
                let (segments, failures) = (turn.segments, turn.failures);
                tracing::warn!(segments, failures, "nodes could not prove what they claim to hold");
            }
            if !turn.more {
                tokio::time::sleep(auditor.pause()).await;
            }
        }
    };
    // What is being asked is given up; it is asked again in another turn.
    stop.run_until_cancelled(work).await;
}
