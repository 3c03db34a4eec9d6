//! Exchanges over a line that is slow, or that a limit makes so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datamesh_core::{Transport, TransportError};
use datamesh_net::{Bandwidth, Network};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::support::{LONG, Node, Start, message, pair, port};

/// Bytes that pass at once through a [`line`].
const PIECE: usize = 16 << 10;

/// What is left to pass is counted above this.
const ALIVE: u64 = 1 << 40;

/// Time for each of them: 800 KiB a second.
const PAUSE: Duration = Duration::from_millis(20);

/// Passes bytes on one way.
async fn pass(mut read: OwnedReadHalf, mut write: OwnedWriteHalf, left: Arc<AtomicU64>) {
    let mut piece = vec![0; PIECE];
    while let Ok(bytes @ 1..) = read.read(&mut piece).await {
        if left.fetch_sub(bytes as u64, Ordering::SeqCst) < ALIVE {
            // Open, and silent from now on.
            std::future::pending::<()>().await;
        }
        sleep(PAUSE.mul_f64(bytes as f64 / PIECE as f64)).await;
        if write.write_all(&piece[..bytes]).await.is_err() {
            return;
        }
    }
}

/// A thin line to a node, which a client that is returned knows as its address. It goes dead after so
/// many bytes.
async fn line(node: &Network, bytes: u64, least: u64) -> Node {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().port();
    let left = Arc::new(AtomicU64::new(ALIVE + bytes));
    let behind = port(node);
    tokio::spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            let to = TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
            let ((a_read, a_write), (b_read, b_write)) = (from.into_split(), to.into_split());
            tokio::spawn(pass(a_read, b_write, Arc::clone(&left)));
            tokio::spawn(pass(b_read, a_write, Arc::clone(&left)));
        }
    });
    let client = Start::client(2).limits(|limits| limits.body_bytes_per_second_min = least);
    let client = client.go().await;
    client.learn(node.local(), &[format!("/ip4/127.0.0.1/tcp/{at}")]);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_over_a_thin_line_take_longer_than_the_deadline_and_arrive() {
    let node = Start::node(1).go().await;
    let client = line(&node, 1 << 30, 16 << 10).await;
    client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    // Two seconds there and two back.
    let body: Vec<u8> = (0..1_600_000_u32).map(|i| (i / 7) as u8).collect();
    let deadline = Duration::from_secs(1);
    let reply = client.call(node.local(), message(b"", &body), deadline).await.unwrap();
    assert!(reply.body[..] == body[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_goes_dead_in_a_body_is_given_up() {
    let node = Start::node(1).go().await;
    let client = line(&node, 300_000, 1 << 20).await;
    client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    let deadline = Duration::from_millis(300);
    let sent = client.call(node.local(), message(b"", &vec![5; 1_600_000]), deadline).await;
    assert!(matches!(sent, Err(TransportError::Timeout { .. })), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_this_node_holds_back_itself_does_not_count_against_the_peer() {
    let (node, client) = pair().await;
    client.limit(Bandwidth { up: Some(512 << 10), down: None });
    assert_eq!(client.bandwidth().up, Some(512 << 10));
    let deadline = Duration::from_secs(1);
    let bodies = (0..4).map(|_| async {
        client.call(node.local(), message(b"", &vec![1; 512 << 10]), deadline).await.unwrap();
    });
    futures::future::join_all(bodies).await;
    assert_eq!(client.statistics().calls_failed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_far_over_a_nodes_limit_is_answered_as_busy() {
    let (node, client) = pair().await;
    let body = vec![1; 1 << 20];
    for limit in
        [Bandwidth { up: None, down: Some(1 << 10) }, Bandwidth { up: Some(1 << 10), down: None }]
    {
        node.limit(limit);
        // The first goes on credit; after it the limit is used up for long.
        client.call(node.local(), message(b"", &body), LONG).await.unwrap();
        let reply = client.call(node.local(), message(b"", &body), LONG).await.unwrap();
        assert_eq!(&reply.head[..], b"busy");
        // Small exchanges go on.
        client.call(node.local(), message(b"", b""), LONG).await.unwrap();
        node.limit(Bandwidth::default());
        let reply = client.call(node.local(), message(b"", &body), LONG).await.unwrap();
        assert_eq!(reply.body.len(), body.len());
    }
    assert_eq!(node.statistics().serves_failed, 0);
}
