//! Looks for members again and again.

use std::sync::Arc;
use std::time::Duration;

use datamesh_engine::Engine;
use datamesh_net::Network;
use tokio_util::sync::CancellationToken;

use crate::bootstrap::Bootstrap;
use crate::discovery::Discovery;

/// The pause while no other member is connected.
const ALONE_PAUSE: Duration = Duration::from_secs(30);

/// What the worker needs.
pub(crate) struct DiscoveryWorker {
    pub(crate) bootstrap: Arc<Bootstrap>,
    pub(crate) network: Network,
    pub(crate) engine: Arc<Engine>,
    pub(crate) dht: bool,
    pub(crate) interval: Duration,
}

impl DiscoveryWorker {
    /// Runs until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let discovery = Discovery {
            bootstrap: &self.bootstrap,
            network: &self.network,
            engine: Some(&self.engine),
            dht: self.dht,
        };
        loop {
            match stop.run_until_cancelled(discovery.round()).await {
                None => return,
                Some(Ok(0)) => {}
                Some(Ok(fresh)) => tracing::info!(fresh, "members were found"),
                Some(Err(error)) => tracing::warn!(%error, "no member was looked for"),
            }
            if self.dht {
                // Again and again: at the start nobody may be known who would keep it.
                self.network.point(self.engine.mesh().0).await;
            }
            let alone = self.network.peers().is_empty();
            let pause = if alone { self.interval.min(ALONE_PAUSE) } else { self.interval };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }
}
