//! Nodes and services that the tests of the simulated network use.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::{BoxFuture, Message, NodeId, Service};
use datamesh_testkit::sim::{Link, World};
use tokio::time::sleep;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn node(number: u8) -> NodeId {
    NodeId([number; 32])
}

pub(crate) fn message(head: &'static str, body: usize) -> Message {
    Message { head: Bytes::from_static(head.as_bytes()), body: vec![7; body].into() }
}

/// A way of exactly 5 ms at each end and more bandwidth than any test uses.
pub(crate) fn steady(world: &World) {
    let way = Duration::from_millis(5);
    world.set_links(Link { latency: way..=way, bandwidth: u64::MAX });
}

/// Answers with the request after some time and counts.
pub(crate) struct Echo {
    pub(crate) after: Duration,
    pub(crate) begun: AtomicUsize,
    pub(crate) done: AtomicUsize,
    pub(crate) at_once: AtomicUsize,
    pub(crate) most_at_once: AtomicUsize,
}

impl Echo {
    pub(crate) fn after(after: Duration) -> Arc<Self> {
        Arc::new(Self {
            after,
            begun: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        })
    }

    pub(crate) fn at_once() -> Arc<Self> {
        Self::after(Duration::ZERO)
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }
}

impl Service for Echo {
    fn serve(&self, _: NodeId, request: Message) -> BoxFuture<'_, Message> {
        Box::pin(async move {
            self.begun.fetch_add(1, Ordering::Relaxed);
            let running = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
            self.most_at_once.fetch_max(running, Ordering::Relaxed);
            if !self.after.is_zero() {
                sleep(self.after).await;
            }
            self.at_once.fetch_sub(1, Ordering::Relaxed);
            self.done.fetch_add(1, Ordering::Relaxed);
            request
        })
    }
}

/// Gives one answer to everything, or none.
pub(crate) struct Canned(pub(crate) Option<Message>);

impl Service for Canned {
    fn serve(&self, _: NodeId, _: Message) -> BoxFuture<'_, Message> {
        Box::pin(async move {
            match &self.0 {
                Some(answer) => answer.clone(),
                None => pending().await,
            }
        })
    }
}
