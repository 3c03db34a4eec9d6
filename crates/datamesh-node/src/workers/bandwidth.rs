//! Sets the limits on bandwidth as the schedule says.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamesh_engine::repair::Repairer;
use datamesh_net::Network;
use tokio_util::sync::CancellationToken;

use crate::bandwidth::Plan;

/// How often it is looked what counts: a schedule is exact to the minute.
const INTERVAL: Duration = Duration::from_secs(10);

/// What counts until it is changed.
pub(crate) struct Limits {
    pub(crate) plan: Plan,
    /// Of repair, while bytes cost nothing.
    pub(crate) repair_rate: u64,
}

/// What the worker needs.
pub(crate) struct BandwidthWorker {
    pub(crate) limits: Mutex<Limits>,
    pub(crate) network: Network,
    pub(crate) repairer: Arc<Repairer>,
}

impl BandwidthWorker {
    /// Takes other limits at once.
    pub(crate) fn change(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        self.apply();
    }

    fn apply(&self) {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let terms = limits.plan.now();
        self.network.limit(terms.bandwidth);
        self.repairer.set_rate(if terms.metered { 0 } else { limits.repair_rate });
    }

    /// Runs until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            self.apply();
            if stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return;
            }
        }
    }
}
