//! Reaching peers: addresses, pauses, restarts, the peer book, wrong keys.

use std::time::Duration;

use datamesh_core::{Transport, TransportError};
use datamesh_net::NetworkError;

use crate::support::{LONG, Start, answered, eventually, message, pair, port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_peer_is_unreachable_at_once() {
    let client = Start::client(2).go().await;
    let stranger = datamesh_core::NodeId([9; 32]);
    let error = client.call(stranger, message(b"", b""), LONG).await.unwrap_err();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
    assert_eq!(client.retry_after(stranger), None);
    assert_eq!(client.statistics().dials, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_another_key_is_refused() {
    let node = Start::node(1).go().await;
    let client = Start::client(2).go().await;
    let expected = Start::client(3).go().await.local();
    client.learn(expected, &node.listening());
    let error = client.call(expected, message(b"secret", b""), LONG).await.unwrap_err();
    let TransportError::Unreachable { peer, reason } = error else { panic!("{error}") };
    assert_eq!(peer, expected);
    assert!(reason.contains(&node.local().to_string()), "{reason}");
    assert_eq!(client.connected(), vec![]);
    assert_eq!(node.statistics().served, 0);
    // The address is right for the key that is really there.
    client.learn(node.local(), &node.listening());
    client.call(node.local(), message(b"", b""), LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_dial_calls_fail_fast_until_the_pause_is_over() {
    let node = Start::node(1).go().await;
    let (id, addresses) = (node.local(), node.listening());
    node.shutdown().await;
    let client = Start::client(2)
        .limits(|limits| limits.dial_backoff_min = Duration::from_secs(20))
        .go()
        .await;
    client.learn(id, &addresses);
    for _ in 0..5 {
        let error = client.call(id, message(b"", b""), LONG).await.unwrap_err();
        assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
    }
    assert_eq!(client.statistics().dials, 1);
    assert_eq!(client.statistics().dials_failed, 1);
    let pause = client.retry_after(id).unwrap();
    assert!(pause > Duration::from_secs(5) && pause <= Duration::from_secs(20), "{pause:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_share_one_dial() {
    let (node, client) = pair().await;
    let calls = (0..30).map(|_| client.call(node.local(), message(b"", b""), LONG));
    for reply in futures::future::join_all(calls).await {
        reply.unwrap();
    }
    assert_eq!(client.statistics().dials, 1);
    assert_eq!(client.statistics().connections_opened, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_restarts_on_its_port_is_found_again() {
    let (node, client) = pair().await;
    client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    for _ in 0..3 {
        let id = node.local();
        let listen = vec![format!("/ip4/127.0.0.1/tcp/{}", port(&node))];
        node.network.shutdown().await;
        let again = Start { listen, ..Start::node(1) }.go().await;
        assert_eq!(again.local(), id);
        client.connect(id, LONG).await.unwrap();
        let reply = client.call(id, message(b"again", b""), LONG).await.unwrap();
        assert_eq!(&reply.head[32..], b"again");
        again.network.shutdown().await;
        eventually("the client noticed", || client.connected().is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_dial_us_are_learnt_with_their_listening_address() {
    let node = Start::node(1).go().await;
    let other = Start::node(2).go().await;
    other.learn(node.local(), &node.listening());
    other.call(node.local(), message(b"", b""), LONG).await.unwrap();
    eventually("the address is learnt", || node.addresses(other.local()) == other.listening())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_and_bad_addresses_are_errors_of_the_start() {
    let node = Start::node(1).go().await;
    let taken = node.listening()[0].clone();
    let error = Start { listen: vec![taken.clone()], ..Start::node(2) }.try_go().await.err();
    assert!(
        matches!(&error, Some(NetworkError::PortInUse { address }) if *address == taken),
        "{error:?}"
    );
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("/ip4/127.0.0.1/tcp/{}", plain.local_addr().unwrap().port());
    let error = Start { listen: vec![taken], ..Start::node(2) }.try_go().await.err();
    assert!(matches!(error, Some(NetworkError::PortInUse { .. })), "{error:?}");
    for bad in ["", "127.0.0.1:80", "/ip4/127.0.0.1", "/ip4/127.0.0.1/udp/1", "/dns/a/tcp/1"] {
        let error = Start { listen: vec![bad.to_owned()], ..Start::node(2) }.try_go().await.err();
        assert!(matches!(error, Some(NetworkError::Address { .. })), "{bad}: {error:?}");
    }
    // An address of no interface of this machine (TEST-NET-1, RFC 5737).
    let foreign = vec!["/ip4/192.0.2.1/tcp/4001".to_owned()];
    let error = Start { listen: foreign, ..Start::node(2) }.try_go().await.err();
    assert!(matches!(error, Some(NetworkError::Listen { .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_peer_book_survives_a_restart_and_damage_is_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let with_book = || Start { peer_book: Some(path.clone()), ..Start::client(2) };
    let node = Start::node(1).go().await;

    let client = with_book().go().await;
    client.learn(node.local(), &node.listening());
    client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    client.shutdown().await;

    let client = with_book().go().await;
    answered(&client, &node).await;
    client.shutdown().await;

    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let client = with_book().go().await;
    let error = client.call(node.local(), message(b"", b""), LONG).await.unwrap_err();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
    // It is written anew.
    client.learn(node.local(), &node.listening());
    client.shutdown().await;
    let client = with_book().go().await;
    answered(&client, &node).await;
    client.shutdown().await;
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left: {left:?}");
}
