//! Sets the limits on bandwidth as the schedule says.

use std::sync::Arc;
use std::time::Duration;

use datamesh_engine::repair::Repairer;
use datamesh_net::Network;
use tokio_util::sync::CancellationToken;

use crate::bandwidth::Plan;

/// How often it is looked what counts: a schedule is exact to the minute.
const INTERVAL: Duration = Duration::from_secs(10);

/// What the worker needs.
pub(crate) struct BandwidthWorker {
    pub(crate) plan: Plan,
    pub(crate) network: Network,
    pub(crate) repairer: Arc<Repairer>,
    /// Of repair, while bytes cost nothing.
    pub(crate) repair_rate: u64,
}

impl BandwidthWorker {
    /// Runs until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let terms = self.plan.now();
            self.network.limit(terms.bandwidth);
            self.repairer.set_rate(if terms.metered { 0 } else { self.repair_rate });
            if stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return;
            }
        }
    }
}
