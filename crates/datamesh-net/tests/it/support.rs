//! Nodes for tests: services that answer, and a start that takes a seed for a key.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::seam::BODY_BYTES_MAX;
use datamesh_core::{BoxFuture, Message, NodeId, Service, Transport};
use datamesh_net::{Access, Limits, Network, NetworkConfig, Reach};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

/// Longer than anything in these tests takes.
pub const LONG: Duration = Duration::from_secs(30);

/// Answers with the request, its head prefixed by the caller's id so that tests see who is seen.
/// Heads that begin with a known word do something else.
#[derive(Default)]
pub struct Echo {
    pub running: AtomicUsize,
    pub running_max: AtomicUsize,
    pub served: AtomicUsize,
    /// Peers that are not known.
    pub strangers: Mutex<BTreeSet<NodeId>>,
}

impl Service for Echo {
    fn serve(&self, peer: NodeId, request: Message) -> BoxFuture<'_, Message> {
        Box::pin(async move {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.running_max.fetch_max(running, Ordering::SeqCst);
            let _leave = Leave(self);
            match request.head.as_ref() {
                b"never" => std::future::pending::<()>().await,
                b"slow" => sleep(Duration::from_millis(300)).await,
                b"short" => sleep(Duration::from_millis(3)).await,
                b"panic" => panic!("asked to"),
                b"mebibyte" => {
                    self.served.fetch_add(1, Ordering::SeqCst);
                    return message(b"", &vec![7; 1 << 20]);
                }
                b"large" => {
                    return message(b"", &vec![7; BODY_BYTES_MAX + 1]);
                }
                _ => {}
            }
            let mut head = peer.0.to_vec();
            head.extend_from_slice(&request.head);
            head.truncate(datamesh_core::seam::HEAD_BYTES_MAX);
            self.served.fetch_add(1, Ordering::SeqCst);
            Message { head: Bytes::from(head), body: request.body }
        })
    }

    fn admit(&self, _: NodeId, head: &Bytes, _: usize) -> Result<usize, Message> {
        match head.as_ref() {
            b"unwanted" => Err(message(b"no", b"")),
            b"mebibyte" => Ok(2 << 20),
            b"bodiless" => Ok(0),
            _ => Ok(BODY_BYTES_MAX),
        }
    }

    fn knows(&self, peer: NodeId) -> bool {
        !self.strangers.lock().unwrap().contains(&peer)
    }

    fn busy(&self) -> Option<Message> {
        Some(message(b"busy", b""))
    }
}

struct Leave<'a>(&'a Echo);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One node of a test.
pub struct Node {
    pub network: Network,
    pub service: Arc<Echo>,
}

impl std::ops::Deref for Node {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.network
    }
}

/// What to start, where it differs from a listening node with short times.
pub struct Start {
    pub seed: u8,
    pub listen: Vec<String>,
    pub peer_book: Option<PathBuf>,
    pub reach: Reach,
    pub access: Access,
    pub limits: Limits,
}

impl Start {
    /// A node that listens on a free port.
    pub fn node(seed: u8) -> Self {
        Self {
            seed,
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            peer_book: None,
            reach: Reach::default(),
            access: Access::default(),
            limits: Limits {
                dial_backoff_min: Duration::from_millis(100),
                shutdown_grace: Duration::from_secs(2),
                ..Limits::default()
            },
        }
    }

    /// A client without listeners.
    pub fn client(seed: u8) -> Self {
        Self { listen: Vec::new(), ..Self::node(seed) }
    }

    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    pub async fn try_go(self) -> Result<Node, datamesh_net::NetworkError> {
        let service = Arc::new(Echo::default());
        let network = Network::start(NetworkConfig {
            secret_key: Zeroizing::new([self.seed; 32]),
            listen: self.listen,
            service: Arc::clone(&service) as Arc<dyn Service>,
            peer_book: self.peer_book,
            reach: self.reach,
            access: self.access,
            limits: self.limits,
        })
        .await?;
        Ok(Node { network, service })
    }

    pub async fn go(self) -> Node {
        self.try_go().await.unwrap()
    }
}

/// A listening node and a client that knows its address.
pub async fn pair() -> (Node, Node) {
    pair_with(|_| {}, |_| {}).await
}

pub async fn pair_with(
    of_node: impl FnOnce(&mut Limits),
    of_client: impl FnOnce(&mut Limits),
) -> (Node, Node) {
    let node = Start::node(1).limits(of_node).go().await;
    let client = Start::client(2).limits(of_client).go().await;
    client.learn(node.local(), &node.listening());
    (node, client)
}

pub fn message(head: &[u8], body: &[u8]) -> Message {
    Message { head: Bytes::copy_from_slice(head), body: Bytes::copy_from_slice(body) }
}

/// Calls until there is an answer: a node forgets who left a moment before its place is free, and
/// then ends the next connection at once.
pub async fn answered(client: &Network, node: &Network) {
    let give_up = Instant::now() + LONG;
    while let Err(error) = client.call(node.local(), message(b"", b""), LONG).await {
        assert!(Instant::now() < give_up, "{error}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The TCP port of the node's first listener.
pub fn port(node: &Network) -> u16 {
    node.listening()[0].rsplit('/').next().unwrap().parse().unwrap()
}

/// Waits until `is_so`, and fails if that takes longer than anything should.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < give_up, "still not: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
