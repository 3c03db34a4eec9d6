//! Exchanges of a node with itself: a node that stores for its own account holds shards too.

use std::sync::Arc;
use std::time::Duration;

use datamesh_core::message::Link;
use datamesh_core::{BoxFuture, Message, NodeId, Service, Transport, TransportError};

/// A transport that answers calls to this node without the network.
pub(crate) struct Loopback {
    transport: Arc<dyn Transport>,
    service: Arc<dyn Service>,
}

impl Loopback {
    /// Puts `service` behind the id of `transport`'s own side.
    pub(crate) fn new(transport: Arc<dyn Transport>, service: Arc<dyn Service>) -> Self {
        Self { transport, service }
    }
}

impl Transport for Loopback {
    fn local(&self) -> NodeId {
        self.transport.local()
    }

    fn exchange(
        &self,
        peer: NodeId,
        request: Message,
        reply_max: usize,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Message, TransportError>> {
        if peer != self.local() {
            return self.transport.exchange(peer, request, reply_max, deadline);
        }
        Box::pin(async move {
            tokio::time::timeout(deadline, self.service.serve(peer, request))
                .await
                .map_err(|_| TransportError::Timeout { peer, after: deadline })
        })
    }

    fn learn(&self, peer: NodeId, addresses: &[String]) {
        if peer != self.local() {
            self.transport.learn(peer, addresses);
        }
    }

    fn connected(&self) -> Vec<NodeId> {
        self.transport.connected()
    }

    fn links(&self) -> Vec<Link> {
        self.transport.links()
    }
}
