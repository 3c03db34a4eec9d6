//! Ways to a peer beside TCP: QUIC, relays, the hash table; and who and how much is let through.
//! Everything here stays on loopback.

use std::net::TcpListener;
use std::time::Duration;

use datamesh_core::{Transport, TransportError};
use datamesh_net::{Access, BreakerState, Nat, NetworkError, Reach, Source};
use tokio::time::Instant;

use crate::support::{LONG, Node, Start, eventually, message, pair};

const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

fn listening(seed: u8, listen: &[&str]) -> Start {
    Start { listen: listen.iter().map(|&text| text.to_owned()).collect(), ..Start::node(seed) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_listens_with_quic_alone_is_called_with_large_bodies_too() {
    let node = listening(1, &[QUIC]).go().await;
    let client = Start::client(2).go().await;
    client.learn(node.local(), &node.listening());
    let body = vec![7; 3 << 20];
    let reply = client.call(node.local(), message(b"hello", &body), LONG).await.unwrap();
    assert_eq!(&reply.head[32..], b"hello");
    assert_eq!(reply.body, body);
    let status = client.peers().remove(0);
    assert_eq!(status.security.unwrap().protocol, "quic");
    assert!(!status.relayed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_enforces_the_dialled_peers_key_too() {
    let node = listening(1, &[QUIC]).go().await;
    let client = Start::client(2).go().await;
    let expected = Start::client(3).go().await.local();
    client.learn(expected, &node.listening());
    let error = client.call(expected, message(b"secret", b""), LONG).await.unwrap_err();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
    assert_eq!(node.statistics().served, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_is_taken_where_both_answer_and_quic_where_tcp_does_not() {
    let node = listening(1, &["/ip4/127.0.0.1/tcp/0", QUIC]).go().await;
    let client = Start::client(2).go().await;
    client.learn(node.local(), &node.listening());
    client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    assert_eq!(client.peers()[0].security.as_ref().unwrap().protocol, "tls");

    // A port at which nobody answers.
    let gone = {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("/ip4/127.0.0.1/tcp/{}", socket.local_addr().unwrap().port())
    };
    let quic = node.listening().into_iter().find(|text| text.contains("quic")).unwrap();
    let other = Start::client(3).go().await;
    other.learn(node.local(), &[gone, quic]);
    other.call(node.local(), message(b"", b""), LONG).await.unwrap();
    assert_eq!(other.peers()[0].security.as_ref().unwrap().protocol, "quic");
}

/// A relay that says of itself that it can be reached, by a name: loopback addresses count for
/// nothing outside.
async fn relay(seed: u8) -> Node {
    let port = {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    };
    let reach = Reach {
        serve_relay: true,
        external: vec![format!("/dns4/localhost/tcp/{port}")],
        ..Reach::default()
    };
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    Start { reach, ..listening(seed, &[&listen]) }.go().await
}

/// A node without a listener, which keeps a place at `relay`.
async fn hidden(seed: u8, relay: &Node) -> Node {
    let reach = Reach { relays: true, ..Reach::default() };
    let node = Start { reach, ..Start::client(seed) }.go().await;
    node.learn(relay.local(), &relay.listening());
    node.call(relay.local(), message(b"", b""), LONG).await.unwrap();
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_be_dialled_is_reached_through_a_relay_that_reads_nothing() {
    let relay = relay(1).await;
    eventually("it counts as reachable", || relay.reachability().nat == Nat::Reachable).await;
    let node = hidden(2, &relay).await;
    eventually("it has a place", || !node.reachability().relayed.is_empty()).await;
    assert_eq!(node.announced(), node.reachability().relayed);
    assert_eq!(relay.reachability().reservations, 1);

    let client = Start::client(3).go().await;
    client.learn(node.local(), &node.announced());
    let body = vec![3; 1 << 20];
    let served = relay.statistics().served;
    let reply = client.call(node.local(), message(b"through", &body), LONG).await.unwrap();
    assert_eq!(&reply.head[..32], &client.local().0, "the far end sees who calls");
    assert_eq!(reply.body, body);
    let statuses = client.peers();
    let status = statuses.iter().find(|status| status.peer == node.local()).unwrap();
    assert!(status.relayed);
    assert_eq!(status.security.as_ref().unwrap().protocol, "tls", "end to end");
    assert_eq!(relay.reachability().circuits, 1);
    assert_eq!(relay.statistics().served, served, "the relay only passes bytes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_gives_no_place_to_those_it_does_not_know() {
    let relay = relay(1).await;
    let stranger = Start::client(2).go().await.local();
    relay.service.strangers.lock().unwrap().insert(stranger);
    let node = hidden(2, &relay).await;
    let friend = hidden(4, &relay).await;
    eventually("the friend has a place", || !friend.reachability().relayed.is_empty()).await;
    assert_eq!(node.reachability().relayed, Vec::<String>::new());
    assert_eq!(relay.reachability().reservations, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hash_table_tells_addresses_and_who_points_to_a_key() {
    let member = |seed| {
        let reach = Reach { dht: true, ..Reach::default() };
        async move { Start { reach, ..Start::node(seed) }.go().await }
    };
    // All know the first alone.
    let first = member(1).await;
    let mut others = Vec::new();
    for seed in 2..8 {
        let node = member(seed).await;
        node.learn(first.local(), &first.listening());
        node.call(first.local(), message(b"", b""), LONG).await.unwrap();
        others.push(node);
    }
    let (asker, wanted) = (&others[0], &others[5]);
    let give_up = Instant::now() + LONG;
    while !asker.find(wanted.local(), LONG).await.unwrap() {
        assert!(Instant::now() < give_up, "not found");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    asker.call(wanted.local(), message(b"", b""), LONG).await.unwrap();
    assert!(
        asker.sightings().iter().any(|it| it.peer == wanted.local() && it.source == Source::Dht)
    );

    let key = [9; 32];
    assert_eq!(asker.pointers(key, LONG).await.unwrap(), []);
    wanted.point(key).await;
    let give_up = Instant::now() + LONG;
    while asker.pointers(key, LONG).await.unwrap() != [wanted.local()] {
        assert!(Instant::now() < give_up, "no pointer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let off = Start::node(20).go().await;
    let error = off.find(wanted.local(), LONG).await.unwrap_err();
    assert!(matches!(&error, NetworkError::Lookup { reason } if reason.contains("off")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_denied_gets_no_connection_in_either_direction() {
    let friend = Start::client(2).go().await;
    let foe = Start::client(3).go().await;
    let access =
        Access { deny: vec![foe.local().to_string().parse().unwrap()], ..Access::default() };
    let node = Start { access, ..Start::node(1) }.go().await;
    for client in [&friend, &foe] {
        client.learn(node.local(), &node.listening());
    }
    friend.call(node.local(), message(b"", b""), LONG).await.unwrap();
    foe.call(node.local(), message(b"", b""), LONG).await.unwrap_err();
    eventually("it is out", || foe.connected().is_empty()).await;
    assert_eq!(node.connected(), vec![friend.local()]);

    let listening = Start::node(4).go().await;
    let access = Access { allow: vec!["10.0.0.0/8".parse().unwrap()], ..Access::default() };
    let closed = Start { access, ..Start::node(5) }.go().await;
    closed.learn(listening.local(), &listening.listening());
    closed.call(listening.local(), message(b"", b""), LONG).await.unwrap_err();
    friend.learn(closed.local(), &closed.listening());
    friend.call(closed.local(), message(b"", b""), LONG).await.unwrap_err();
    assert_eq!(closed.connected(), vec![]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_answers_is_left_alone_after_some_calls_and_then_tried_again() {
    let (node, client) = pair().await;
    client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    let short = Duration::from_millis(50);
    for _ in 0..5 {
        let error = client.call(node.local(), message(b"never", b""), short).await.unwrap_err();
        assert!(matches!(error, TransportError::Timeout { .. }), "{error}");
    }
    assert!(matches!(client.peers()[0].breaker, BreakerState::Open(_)));
    let error = client.call(node.local(), message(b"", b""), LONG).await.unwrap_err();
    assert!(matches!(error, TransportError::Resting { .. }), "{error}");
    let give_up = Instant::now() + LONG;
    while client.call(node.local(), message(b"", b""), LONG).await.is_err() {
        assert!(Instant::now() < give_up, "it stays open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(client.peers()[0].breaker, BreakerState::Closed);
}
