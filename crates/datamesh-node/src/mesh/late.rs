//! A service that is known only after the network has started.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use datamesh_core::message::{Refusal, Reply};
use datamesh_core::{BoxFuture, Message, NodeId, Service};

/// Refuses as busy until the real service is set: a node needs its network to get the certificate
/// that its service needs.
#[derive(Default)]
pub(crate) struct LateService {
    service: OnceLock<Arc<dyn Service>>,
}

impl LateService {
    /// From now on `service` answers.
    pub(crate) fn set(&self, service: Arc<dyn Service>) {
        if self.service.set(service).is_err() {
            tracing::error!("the service was set twice; the first one stays");
        }
    }
}

fn busy() -> Message {
    let reply = Reply::Refused { refusal: Refusal::Busy, detail: String::new() };
    Message { head: reply.to_head(), body: Bytes::new() }
}

impl Service for LateService {
    fn serve(&self, peer: NodeId, request: Message) -> BoxFuture<'_, Message> {
        match self.service.get() {
            Some(service) => service.serve(peer, request),
            None => Box::pin(async { busy() }),
        }
    }

    fn admit(&self, peer: NodeId, head: &Bytes, body: usize) -> Result<usize, Message> {
        match self.service.get() {
            Some(service) => service.admit(peer, head, body),
            None => Err(busy()),
        }
    }

    fn knows(&self, peer: NodeId) -> bool {
        self.service.get().is_some_and(|service| service.knows(peer))
    }

    fn busy(&self) -> Option<Message> {
        self.service.get()?.busy()
    }
}
