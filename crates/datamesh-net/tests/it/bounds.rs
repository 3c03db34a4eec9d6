//! Limits on connections, on what a peer may cause, and on idle time.

use std::time::Duration;

use datamesh_core::{Transport, TransportError};
use tokio::time::Instant;

use crate::support::{LONG, Start, answered, eventually, message, pair_with, port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_above_the_limit_are_refused_and_a_freed_place_is_given_again() {
    let node = Start::node(1).limits(|limits| limits.inbound_connections_max = 2).go().await;
    let mut clients = Vec::new();
    for seed in 2..4 {
        let client = Start::client(seed).go().await;
        client.learn(node.local(), &node.listening());
        client.call(node.local(), message(b"", b""), LONG).await.unwrap();
        clients.push(client);
    }
    let late = Start::client(9).go().await;
    late.learn(node.local(), &node.listening());
    let error = late.call(node.local(), message(b"", b""), LONG).await.unwrap_err();
    assert!(
        matches!(error, TransportError::Unreachable { .. } | TransportError::Closed { .. }),
        "{error}"
    );
    assert_eq!(node.connected().len(), 2);
    for client in &clients {
        client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    }
    clients.pop().unwrap().shutdown().await;
    eventually("a place is free", || node.connected().len() == 1).await;
    eventually("the pause is over", || late.retry_after(node.local()) == Some(Duration::ZERO))
        .await;
    answered(&late, &node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_never_end_do_not_keep_peers_out_for_long() {
    let node = Start::node(1)
        .limits(|limits| {
            limits.inbound_handshakes_max = 3;
            limits.handshake_timeout = Duration::from_millis(400);
        })
        .go()
        .await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(tokio::net::TcpStream::connect(("127.0.0.1", port(&node))).await.unwrap());
    }
    let client = Start::client(2).go().await;
    client.learn(node.local(), &node.listening());
    client.connect(node.local(), LONG).await.unwrap();
    client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    assert!(node.statistics().connections_refused >= 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unused_connection_is_closed_and_a_used_one_is_not() {
    let (node, client) = pair_with(
        |limits| limits.ping_interval = Duration::from_millis(200),
        |limits| {
            limits.connection_idle_timeout = Duration::from_millis(300);
            limits.ping_interval = Duration::from_millis(200);
        },
    )
    .await;
    client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    eventually("the round trip is measured", || {
        client.peers().first().is_some_and(|status| status.round_trip.is_some())
    })
    .await;
    // A call that is longer than the idle time and the grace after it.
    let call = client.call(node.local(), message(b"never", b""), Duration::from_secs(12));
    assert!(matches!(call.await, Err(TransportError::Timeout { .. })));
    assert_eq!(client.statistics().connections_closed, 0);
    eventually("the connection is closed", || client.connected().is_empty()).await;
    client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    assert_eq!(client.statistics().dials, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_above_its_rate_waits() {
    let (node, client) = pair_with(|limits| limits.peer_requests_per_second = 20, |_| {}).await;
    let started = Instant::now();
    for _ in 0..40 {
        client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    }
    // 20 at once, then 20 a second: a lower bound that no slow machine can break.
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_causes_too_many_bytes_waits() {
    let (node, client) = pair_with(|limits| limits.peer_bytes_per_second = 4 << 20, |_| {}).await;
    let started = Instant::now();
    for _ in 0..5 {
        client.call(node.local(), message(b"", &vec![0; 1 << 20]), LONG).await.unwrap();
    }
    // 10 MiB in both directions, of which the last reply is not waited for.
    assert!(started.elapsed() >= Duration::from_millis(1000), "{:?}", started.elapsed());
}
