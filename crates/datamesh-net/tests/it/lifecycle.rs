//! Start and end.

use std::time::Duration;

use datamesh_core::{Transport, TransportError};
use tokio::runtime::Handle;

use crate::support::{LONG, Start, eventually, message};

fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_shutdown_no_task_and_no_listener_is_left() {
    let before = alive();
    for round in 0..3 {
        let node = Start::node(1).go().await;
        let client = Start::client(2).go().await;
        client.learn(node.local(), &node.listening());
        for _ in 0..5 {
            client.call(node.local(), message(b"", &vec![1; 100_000]), LONG).await.unwrap();
        }
        let listening = node.listening();
        if round % 2 == 0 {
            client.shutdown().await;
            node.shutdown().await;
        } else {
            tokio::join!(node.shutdown(), client.shutdown());
        }
        eventually("every task has ended", || alive() == before).await;
        let error = client.call(node.local(), message(b"", b""), LONG).await.unwrap_err();
        assert_eq!(error, TransportError::Shutdown);
        // The port is free.
        let again = Start { listen: listening.clone(), ..Start::node(3) }.go().await;
        assert_eq!(again.listening(), listening);
        again.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_being_served_ends_before_the_shutdown() {
    let node = Start::node(1).go().await;
    let client = Start::client(2).go().await;
    client.learn(node.local(), &node.listening());
    let call = {
        let (client, peer) = (client.network.clone(), node.local());
        tokio::spawn(async move { client.call(peer, message(b"slow", b"x"), LONG).await })
    };
    eventually("it is being served", || {
        node.service.running.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;
    node.shutdown().await;
    assert_eq!(&call.await.unwrap().unwrap().head[32..], b"slow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_never_ends_does_not_hold_the_shutdown_up() {
    let node = Start::node(1)
        .limits(|limits| limits.shutdown_grace = Duration::from_millis(200))
        .go()
        .await;
    let client = Start::client(2).go().await;
    client.learn(node.local(), &node.listening());
    let call = {
        let (client, peer) = (client.network.clone(), node.local());
        tokio::spawn(async move { client.call(peer, message(b"never", b""), LONG).await })
    };
    eventually("it is being served", || {
        node.service.running.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;
    tokio::time::timeout(LONG, node.shutdown()).await.unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, TransportError::Closed { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_ends_the_tasks_too() {
    let before = alive();
    let node = Start::node(1).go().await;
    let client = Start::client(2).go().await;
    client.learn(node.local(), &node.listening());
    client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    drop(node);
    drop(client);
    eventually("every task has ended", || alive() == before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_may_call_back_and_hold_a_handle() {
    // Two nodes that ask each other in turn over one connection.
    let one = Start::node(1).go().await;
    let two = Start::client(2).go().await;
    two.learn(one.local(), &one.listening());
    two.call(one.local(), message(b"", b""), LONG).await.unwrap();
    for _ in 0..20 {
        let (there, back) = tokio::join!(
            two.call(one.local(), message(b"there", b""), LONG),
            one.call(two.local(), message(b"back", b""), LONG),
        );
        assert_eq!(&there.unwrap().head[32..], b"there");
        assert_eq!(&back.unwrap().head[32..], b"back");
    }
    assert_eq!(one.statistics().connections_opened, 1);
}
