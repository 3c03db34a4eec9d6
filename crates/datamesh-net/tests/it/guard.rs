//! What peers that nobody invited cannot take from others.

use std::sync::atomic::Ordering;
use std::time::Duration;

use datamesh_core::Transport;
use datamesh_core::seam::BODY_BYTES_MAX;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;

use crate::stranger::{Encryption, Stranger, ended, exchange, prefix, still_serves};
use crate::support::{LONG, Node, Start, eventually, message, pair, pair_with};

const UNWANTED: &[u8] = b"unwanted";

/// A stranger that the node does not know.
async fn unknown(node: &Node) -> Stranger {
    let stranger = Stranger::new(Encryption::Noise, Some(node)).await;
    node.service.strangers.lock().unwrap().insert(stranger.id);
    stranger
}

async fn send(stream: &mut Stream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
}

/// Sends requests whose replies have a body of 1 MiB, and reads none of them.
async fn ask_without_reading(stranger: &Stranger, node: &Node, count: usize) -> Vec<Stream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = stranger.open(node).await;
        send(&mut stream, &[prefix(8, 0), b"mebibyte".to_vec()].concat()).await;
        streams.push(stream);
    }
    streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_the_service_does_not_want_takes_no_room() {
    // Room for one body only.
    let (node, client) =
        pair_with(|limits| limits.request_bytes_max = BODY_BYTES_MAX, |_| {}).await;
    let (mut strangers, mut held) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let stranger = Stranger::new(Encryption::Noise, Some(&node)).await;
        for _ in 0..4 {
            let mut stream = stranger.open(&node).await;
            let start = [prefix(8, BODY_BYTES_MAX), UNWANTED.to_vec(), vec![1; 100]].concat();
            send(&mut stream, &start).await;
            // The refusal does not wait for the body.
            let mut refusal = [0; 10];
            stream.read_exact(&mut refusal).await.unwrap();
            assert_eq!(refusal[..], [&prefix(2, 0)[..], b"no"].concat());
            held.push(stream);
        }
        // A body is announced, and nobody knows for what.
        let mut stream = stranger.open(&node).await;
        send(&mut stream, &prefix(8, BODY_BYTES_MAX)).await;
        held.push(stream);
        strangers.push(stranger);
    }
    let body = vec![5; BODY_BYTES_MAX];
    for _ in 0..3 {
        let reply = client.call(node.local(), message(b"", &body), LONG).await.unwrap();
        assert_eq!(reply.body.len(), body.len());
    }
    assert_eq!(node.service.served.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_an_unwanted_body_reads_the_refusal() {
    let (node, client) = pair().await;
    for length in [0, 1, 100_000, BODY_BYTES_MAX] {
        let request = message(UNWANTED, &vec![1; length]);
        let reply = client.call(node.local(), request, LONG).await.unwrap();
        assert_eq!(reply, message(b"no", b""), "{length}");
        let reply = client.call(node.local(), message(b"after", b"x"), LONG).await.unwrap();
        assert_eq!(&reply.head[32..], b"after");
    }
    assert_eq!(node.service.served.load(Ordering::SeqCst), 4);
    assert_eq!(client.statistics().calls_failed, 0);
    assert_eq!(client.statistics().connections_opened, 1);
    // The unwanted body is passed over to its last byte, and what follows is the next request.
    let stranger = Stranger::new(Encryption::Noise, Some(&node)).await;
    let mut stream = stranger.open(&node).await;
    let request = [prefix(8, 5), UNWANTED.to_vec(), vec![1; 5]].concat();
    send(&mut stream, &[request, prefix(0, 0)].concat()).await;
    let mut all = vec![0; 10 + 8 + 32];
    stream.read_exact(&mut all).await.unwrap();
    assert_eq!(all[..18], [prefix(2, 0), b"no".to_vec(), prefix(32, 0)].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_trickles_is_given_up_though_it_never_stalls() {
    let node = Start::node(1)
        .limits(|limits| {
            limits.stall_timeout = Duration::from_secs(2);
            limits.body_bytes_per_second_min = 64 << 20;
        })
        .go()
        .await;
    let stranger = Stranger::new(Encryption::Noise, Some(&node)).await;
    let mut stream = stranger.open(&node).await;
    send(&mut stream, &prefix(0, 4 << 20)).await;
    for _ in 0..16 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let written = stream.write_all(&vec![1; 256 << 10]).await;
        if written.is_err() || stream.flush().await.is_err() {
            break;
        }
    }
    assert!(ended(&mut stream).await);
    assert_eq!(node.service.served.load(Ordering::SeqCst), 0);
    still_serves(&node, &stranger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_leave_half_of_the_streams_to_known_peers() {
    let node = Start::node(1).limits(|limits| limits.inbound_streams_max = 12).go().await;
    let (mut strangers, mut held) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let stranger = unknown(&node).await;
        for _ in 0..3 {
            let mut stream = stranger.open(&node).await;
            // Once used, it may stay idle for long.
            if exchange(&mut stream, b"", b"").await.is_ok() {
                held.push(stream);
            }
        }
        strangers.push(stranger);
    }
    assert_eq!(held.len(), 6);
    let member = Start::client(2).go().await;
    member.learn(node.local(), &node.listening());
    let calls = (0..6).map(|_| member.call(node.local(), message(b"slow", b""), LONG));
    for reply in futures::future::join_all(calls).await {
        reply.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_leave_half_of_the_memory_to_known_peers() {
    let (node, member) = pair_with(
        |limits| {
            limits.request_bytes_max = 2 * BODY_BYTES_MAX;
            limits.served_bytes_max = 2 * BODY_BYTES_MAX;
        },
        |_| {},
    )
    .await;
    let (mut strangers, mut held) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let stranger = unknown(&node).await;
        let mut stream = stranger.open(&node).await;
        send(&mut stream, &[prefix(4, BODY_BYTES_MAX), b"fine".to_vec()].concat()).await;
        held.push(stream);
        held.extend(ask_without_reading(&stranger, &node, 4).await);
        strangers.push(stranger);
    }
    let body = vec![5; BODY_BYTES_MAX];
    for _ in 0..3 {
        let reply = member.call(node.local(), message(b"", &body), LONG).await.unwrap();
        assert_eq!(reply.body.len(), body.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_never_carried_a_request_is_closed_soon_and_a_used_one_is_not() {
    let node = Start::node(1)
        .limits(|limits| limits.stream_unused_timeout = Duration::from_millis(200))
        .go()
        .await;
    let stranger = Stranger::new(Encryption::Noise, Some(&node)).await;
    let mut used = stranger.open(&node).await;
    exchange(&mut used, b"one", b"").await.unwrap();
    for _ in 0..3 {
        let mut unused = stranger.open(&node).await;
        assert!(ended(&mut unused).await);
    }
    exchange(&mut used, b"two", b"").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_streams_of_a_connection_that_we_close_are_free_at_once() {
    // Pings, since an idle connection is looked at when something moves on it.
    let (node, client) = pair_with(
        |limits| {
            limits.inbound_streams_max = 3;
            limits.connection_idle_timeout = Duration::from_millis(200);
            limits.ping_interval = Duration::from_millis(200);
        },
        |_| {},
    )
    .await;
    let calls = (0..3).map(|_| client.call(node.local(), message(b"slow", b""), LONG));
    for reply in futures::future::join_all(calls).await {
        reply.unwrap();
    }
    eventually("the connection is closed", || node.statistics().connections_closed == 1).await;
    let other = Stranger::new(Encryption::Noise, Some(&node)).await;
    for attempt in 0.. {
        let mut stream = other.open(&node).await;
        if exchange(&mut stream, b"", b"").await.is_ok() {
            break;
        }
        assert!(attempt < 100, "the places are still taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_nobody_reads_are_few() {
    let node = Start::node(1)
        .limits(|limits| {
            limits.served_bytes_max = 16 << 20;
            limits.peer_served_bytes_max = 5 << 20;
        })
        .go()
        .await;
    let stranger = Stranger::new(Encryption::Noise, Some(&node)).await;
    let streams = ask_without_reading(&stranger, &node, 20).await;
    let served = || node.service.served.load(Ordering::SeqCst);
    // 5 MiB have room for three that are made and one that may have 2 MiB.
    eventually("four are made", || served() == 4).await;
    // Others are served meanwhile.
    let other = Stranger::new(Encryption::Noise, Some(&node)).await;
    for _ in 0..50 {
        still_serves(&node, &other).await;
    }
    assert_eq!(served(), 54);
    // Who reads gets all.
    let readers = streams.into_iter().map(|mut stream| async move {
        let mut reply = vec![0; 8 + (1 << 20)];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[8..], vec![7; 1 << 20]);
    });
    tokio::time::timeout(LONG, futures::future::join_all(readers)).await.unwrap();
    assert_eq!(served(), 70);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_longer_than_announced_is_not_sent() {
    let (node, client) = pair().await;
    let call = client.call(node.local(), message(b"bodiless", b"x"), LONG);
    assert!(call.await.is_err());
    client.call(node.local(), message(b"bodiless", b""), LONG).await.unwrap();
}
