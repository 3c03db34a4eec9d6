//! Exchanges that go well, and how callers end them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use datamesh_core::seam::{BODY_BYTES_MAX, HEAD_BYTES_MAX};
use datamesh_core::{Message, Transport, TransportError};
use tokio::task::JoinSet;

use crate::support::{LONG, Start, eventually, message, pair, pair_with};

fn patterned(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 / 7 + i / 65_536) as u8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_every_size_go_and_come_back_in_both_directions() {
    let (node, client) = pair().await;
    let sizes = [0, 1, 4096, 32 * 1024, 32 * 1024 + 1, 256 * 1024, 1 << 20, BODY_BYTES_MAX];
    for length in sizes {
        let request = message(b"head", &patterned(length));
        let reply = client.call(node.local(), request.clone(), LONG).await.unwrap();
        assert_eq!(reply.body, request.body, "{length}");
        assert_eq!(reply.head[..32], client.local().0);
        assert_eq!(&reply.head[32..], b"head");
    }
    // The client has no listener; the node answers over the connection the client opened.
    for length in sizes {
        let request = message(b"back", &patterned(length));
        let reply = node.call(client.local(), request.clone(), LONG).await.unwrap();
        assert_eq!(reply.body, request.body, "{length}");
        assert_eq!(reply.head[..32], node.local().0);
    }
    let empty = client.call(node.local(), Message::default(), LONG).await.unwrap();
    assert_eq!(empty.head[..], client.local().0);
    let full = message(&patterned(HEAD_BYTES_MAX), b"");
    let reply = client.call(node.local(), full.clone(), LONG).await.unwrap();
    assert_eq!(reply.head[32..], full.head[..HEAD_BYTES_MAX - 32]);

    let statistics = client.statistics();
    assert_eq!(statistics.calls, 10);
    assert_eq!(statistics.calls_failed, 0);
    assert_eq!(statistics.connections, 1, "{statistics:?}");
    assert!(statistics.bytes_out > BODY_BYTES_MAX as u64 && statistics.bytes_in > 0);
    assert_eq!(node.connected(), vec![client.local()]);
    assert_eq!(client.connected(), vec![node.local()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_all_end_and_few_run_at_once() {
    let (node, client) = pair_with(|_| {}, |limits| limits.peer_exchanges_max = 16).await;
    let mut calls = JoinSet::new();
    for n in 0..1000_u32 {
        let (client, peer) = (client.network.clone(), node.local());
        calls.spawn(async move {
            let body = n.to_le_bytes();
            let reply = client.call(peer, message(b"short", &body), LONG).await.unwrap();
            assert_eq!(reply.body[..], body);
        });
    }
    while let Some(ended) = calls.join_next().await {
        ended.unwrap();
    }
    assert_eq!(node.service.served.load(Ordering::SeqCst), 1000);
    let most = node.service.running_max.load(Ordering::SeqCst);
    assert!(most <= 16, "{most} ran at once");
    assert!(most > 1, "they ran one after the other");
    assert_eq!(client.statistics().calls, 1000);
    assert_eq!(client.statistics().dials, 1);
    assert_eq!(node.statistics().streams_refused, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_waiting_ones_are_refused_as_busy() {
    let (node, client) = pair_with(
        |_| {},
        |limits| {
            limits.peer_exchanges_max = 2;
            limits.peer_exchanges_waiting_max = 3;
        },
    )
    .await;
    client.connect(node.local(), LONG).await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let (client, peer) = (client.network.clone(), node.local());
        calls.spawn(async move { client.call(peer, message(b"slow", b""), LONG).await });
    }
    let (mut answered, mut busy) = (0, 0);
    while let Some(ended) = calls.join_next().await {
        match ended.unwrap() {
            Ok(_) => answered += 1,
            Err(TransportError::Busy { peer }) if peer == node.local() => busy += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((answered, busy), (5, 15));
}

/// Whoever waits for a place says nothing of the peer: it is neither taken for silent nor left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_gets_no_place_in_time_is_busy_and_no_failure_of_the_peer() {
    let (node, client) = pair_with(|_| {}, |limits| limits.peer_exchanges_max = 1).await;
    let (network, peer) = (client.network.clone(), node.local());
    client.connect(peer, LONG).await.unwrap();
    let holds = tokio::spawn(async move { network.call(peer, message(b"never", b""), LONG).await });
    while node.service.running.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // More than would have opened the breaker.
    for _ in 0..10 {
        let call = client.call(peer, message(b"", b""), Duration::from_millis(20));
        assert_eq!(call.await.unwrap_err(), TransportError::Busy { peer });
    }
    holds.abort();
    client.call(peer, message(b"", b""), LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_not_answered_times_out_and_its_stream_is_reset() {
    let (node, client) = pair().await;
    let error = client
        .call(node.local(), message(b"never", b""), Duration::from_millis(200))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        TransportError::Timeout { peer: node.local(), after: Duration::from_millis(200) }
    );
    // The next one has a stream of its own and is not mixed up with the first.
    let reply = client.call(node.local(), message(b"next", b"x"), LONG).await.unwrap();
    assert_eq!(&reply.head[32..], b"next");
    assert_eq!(client.statistics().calls_failed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_call_leaves_nothing_behind() {
    let (node, client) = pair().await;
    for round in 0..50_u32 {
        let body = vec![round as u8; 1 << 20];
        let call = client.call(node.local(), message(b"slow", &body), LONG);
        let pause = Duration::from_micros(u64::from(round) * 300);
        assert!(tokio::time::timeout(pause, call).await.is_err(), "answered before its time");
        let body = round.to_le_bytes();
        let reply = client.call(node.local(), message(b"own", &body), LONG).await.unwrap();
        assert_eq!(reply.body[..], body);
        assert_eq!(&reply.head[32..], b"own");
    }
    eventually("no exchange is under way", || client.peers()[0].exchanges == 0).await;
    eventually("the service is idle", || node.service.running.load(Ordering::SeqCst) == 0).await;
    // All its streams are usable again: more than the limit of streams were dropped in total.
    assert_eq!(client.statistics().connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_panics_or_answers_too_much_ends_only_its_stream() {
    let (node, client) = pair().await;
    for head in [&b"panic"[..], b"large"] {
        let error = client.call(node.local(), message(head, b""), LONG).await.unwrap_err();
        assert!(matches!(error, TransportError::Closed { .. }), "{error}");
        client.call(node.local(), message(b"after", b""), LONG).await.unwrap();
    }
    assert_eq!(client.statistics().connections_opened, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_request_is_not_sent() {
    let (node, client) = pair().await;
    let error = client
        .call(node.local(), message(b"", &vec![0; BODY_BYTES_MAX + 1]), LONG)
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::TooLarge { bound: BODY_BYTES_MAX, .. }), "{error}");
    let error = client
        .call(node.local(), message(&vec![0; HEAD_BYTES_MAX + 1], b""), LONG)
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::TooLarge { bound: HEAD_BYTES_MAX, .. }), "{error}");
    assert_eq!(client.statistics().bytes_out, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_the_peer_closed_meanwhile_costs_one_repetition() {
    let (node, client) =
        pair_with(|limits| limits.stream_idle_timeout = Duration::from_millis(50), |_| {}).await;
    client.call(node.local(), message(b"one", b""), LONG).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let reply = client.call(node.local(), message(b"two", b""), LONG).await.unwrap();
    assert_eq!(&reply.head[32..], b"two");
    let statistics = client.statistics();
    assert_eq!((statistics.calls, statistics.calls_failed), (2, 0));
    assert_eq!(statistics.calls_repeated, 1);
    assert_eq!(statistics.dials, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_call_each_other_at_once_both_succeed() {
    for seed in 0..8 {
        let one = Start::node(10 + seed).go().await;
        let two = Start::node(30 + seed).go().await;
        one.learn(two.local(), &two.listening());
        two.learn(one.local(), &one.listening());
        let (to, fro) = tokio::join!(
            one.call(two.local(), message(b"to", b""), LONG),
            two.call(one.local(), message(b"fro", b""), LONG),
        );
        assert_eq!(&to.unwrap().head[32..], b"to");
        assert_eq!(&fro.unwrap().head[32..], b"fro");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_larger_than_was_asked_for_is_not_read() {
    let (node, client) = pair().await;
    let ask = |most| client.exchange(node.local(), message(b"mebibyte", b""), most, LONG);
    let error = ask((1 << 20) - 1).await.unwrap_err();
    let (peer, length, bound) = (node.local(), 1 << 20, (1 << 20) - 1);
    assert_eq!(error, TransportError::TooLarge { peer, length, bound });
    assert_eq!(ask(1 << 20).await.unwrap().body.len(), 1 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_body_was_refused_unread_the_next_one_goes_through() {
    let (node, client) = pair().await;
    let body = vec![5; 3 << 20];
    for _ in 0..20 {
        let refused = client.call(node.local(), message(b"unwanted", &body), LONG).await.unwrap();
        assert_eq!(&refused.head[..], b"no");
        let reply = client.call(node.local(), message(b"wanted", &body), LONG).await.unwrap();
        assert_eq!(reply.body.len(), body.len());
    }
}
