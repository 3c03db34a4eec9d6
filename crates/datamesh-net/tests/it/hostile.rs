//! Peers with bad manners: stock libp2p swarms that send what ours never would.

use std::sync::atomic::Ordering;
use std::time::Duration;

use datamesh_core::seam::{BODY_BYTES_MAX, HEAD_BYTES_MAX};
use datamesh_core::{Transport, TransportError};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stranger::{Encryption, PROTOCOL, Stranger, ended, exchange, prefix, still_serves};
use crate::support::{LONG, Start, eventually, message, port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_peers_are_met_by_noise_and_by_tls_with_our_order_of_ciphers() {
    let node = Start::node(1).go().await;
    for (encryption, protocol, cipher) in [
        (Encryption::Noise, "noise", "CHACHA20_POLY1305_SHA256"),
        (Encryption::Tls, "tls", "TLS13_AES_256_GCM_SHA384"),
    ] {
        let stranger = Stranger::new(encryption, Some(&node)).await;
        still_serves(&node, &stranger).await;
        let peers = node.peers();
        let status = peers.iter().find(|status| status.peer == stranger.id).unwrap();
        let security = status.security.as_ref().unwrap();
        assert_eq!((security.protocol, security.cipher_suite.as_deref()), (protocol, Some(cipher)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_nodes_agree_on_aes_256_and_a_post_quantum_exchange() {
    let (node, client) = crate::support::pair().await;
    client.call(node.local(), message(b"", b""), LONG).await.unwrap();
    for status in node.peers().into_iter().chain(client.peers()) {
        let security = status.security.unwrap();
        assert_eq!(security.protocol, "tls");
        assert_eq!(security.cipher_suite.as_deref(), Some("TLS13_AES_256_GCM_SHA384"));
        assert_eq!(security.key_exchange.as_deref(), Some("X25519MLKEM768"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_lengths_above_the_bounds_end_the_stream_unread() {
    let node = Start::node(1).go().await;
    let stranger = Stranger::new(Encryption::Noise, Some(&node)).await;
    for (head, body) in
        [(HEAD_BYTES_MAX + 1, 0), (0, BODY_BYTES_MAX + 1), (u32::MAX as usize, u32::MAX as usize)]
    {
        let mut stream = stranger.open(&node).await;
        stream.write_all(&prefix(head, body)).await.unwrap();
        stream.flush().await.unwrap();
        assert!(ended(&mut stream).await);
    }
    still_serves(&node, &stranger).await;
    // The stream ends before its end is counted.
    eventually("three failures are counted", || node.statistics().serves_failed == 3).await;
    assert_eq!(node.service.served.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_ends_the_stream_or_the_connection_and_nothing_else() {
    let node = Start::node(1).go().await;
    let stranger = Stranger::new(Encryption::Noise, Some(&node)).await;
    for seed in 0..20_u8 {
        let mut stream = stranger.open(&node).await;
        let garbage: Vec<u8> = (0..1000_u32).map(|i| (i * 37) as u8 ^ seed | 0x80).collect();
        let _refused = stream.write_all(&garbage).await;
        let _refused = stream.flush().await;
        assert!(ended(&mut stream).await);
    }
    still_serves(&node, &stranger).await;
    assert_eq!(node.service.served.load(Ordering::SeqCst), 1);

    // Below libp2p: bytes that are no negotiation at all.
    for garbage in [&[0xff; 100][..], b"GET / HTTP/1.1\r\n\r\n", b"\x13/multistream/1.0.0\n\xff"] {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port(&node))).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _reset = tokio::time::timeout(LONG, socket.read_to_end(&mut rest)).await.unwrap();
    }
    still_serves(&node, &stranger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_request_is_given_up_and_its_memory_is_free_again() {
    let node = Start::node(1)
        .limits(|limits| {
            limits.stall_timeout = Duration::from_millis(300);
            // Room for one body only: what a stalled request holds, nobody else has.
            limits.request_bytes_max = BODY_BYTES_MAX;
        })
        .go()
        .await;
    let stranger = Stranger::new(Encryption::Noise, Some(&node)).await;
    let mut stalled = Vec::new();
    for start in [
        prefix(10, BODY_BYTES_MAX),
        [prefix(0, BODY_BYTES_MAX), vec![1; 1000]].concat(),
        prefix(10, 0)[..5].to_vec(),
    ] {
        let mut stream = stranger.open(&node).await;
        stream.write_all(&start).await.unwrap();
        stream.flush().await.unwrap();
        stalled.push(stream);
    }
    let mut honest = stranger.open(&node).await;
    let body = vec![5; BODY_BYTES_MAX];
    let reply = exchange(&mut honest, b"", &body).await.unwrap();
    assert_eq!(reply.len(), 32 + body.len());
    for mut stream in stalled {
        assert!(ended(&mut stream).await);
    }
    // The stream ends before its end is counted.
    eventually("three failures are counted", || node.statistics().serves_failed == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_cut_in_the_middle_is_never_served() {
    let node = Start::node(1).go().await;
    for cut in [3, 8, 20, 5000, 900_000] {
        let stranger = Stranger::new(Encryption::Noise, Some(&node)).await;
        let mut stream = stranger.open(&node).await;
        let whole = [prefix(100, 1 << 20), vec![3; 100 + (1 << 20)]].concat();
        stream.write_all(&whole[..cut]).await.unwrap();
        stream.flush().await.unwrap();
        if cut % 2 == 0 {
            stream.close().await.unwrap();
            assert!(ended(&mut stream).await);
        }
    }
    eventually("all are gone", || node.connected().is_empty()).await;
    assert_eq!(node.service.served.load(Ordering::SeqCst), 0);
    assert_eq!(node.service.running_max.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_above_the_limit_of_a_peer_are_reset() {
    let node = Start::node(1).limits(|limits| limits.peer_inbound_streams_max = 5).go().await;
    let stranger = Stranger::new(Encryption::Noise, Some(&node)).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut stream = stranger.open(&node).await;
        exchange(&mut stream, b"", b"").await.unwrap();
        held.push(stream);
    }
    for _ in 0..10 {
        let mut stream = stranger.open(&node).await;
        assert!(ended(&mut stream).await);
    }
    eventually("ten refusals are counted", || node.statistics().streams_refused == 10).await;
    // Another peer has streams of its own, and a freed one can be had again.
    let other = Stranger::new(Encryption::Noise, Some(&node)).await;
    still_serves(&node, &other).await;
    held.pop();
    held.pop();
    let refused = || node.statistics().streams_refused;
    for attempt in 0.. {
        let before = refused();
        let mut stream = stranger.open(&node).await;
        if exchange(&mut stream, b"", b"").await.is_ok() {
            break;
        }
        assert!(refused() > before && attempt < 1000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_answers_badly_is_an_error_of_that_call() {
    let client = Start::client(2).go().await;
    let stranger = Stranger::new(Encryption::Noise, None).await;
    let mut inbound = stranger.control.clone().accept(PROTOCOL).unwrap();
    client.learn(stranger.id, &[stranger.address.to_string()]);
    let mut held = Vec::new();
    type IsExpected = fn(&TransportError) -> bool;
    let replies: [(&[u8], IsExpected); 5] = [
        (&prefix(0, BODY_BYTES_MAX + 1), |error| {
            matches!(error, TransportError::TooLarge { bound: BODY_BYTES_MAX, .. })
        }),
        (&prefix(HEAD_BYTES_MAX + 1, 0), |error| {
            matches!(error, TransportError::TooLarge { bound: HEAD_BYTES_MAX, .. })
        }),
        (&[prefix(4, 1 << 20), vec![1; 5000]].concat(), |error| {
            matches!(error, TransportError::Closed { .. })
        }),
        (b"", |error| matches!(error, TransportError::Closed { .. })),
        // Held open after a part of the reply.
        (&[prefix(0, 100), vec![1; 99]].concat(), |error| {
            matches!(error, TransportError::Timeout { .. })
        }),
    ];
    for (round, (reply, is_expected)) in replies.into_iter().enumerate() {
        let deadline = if round == 4 { Duration::from_millis(500) } else { LONG };
        let call = client.call(stranger.id, message(b"ask", b""), deadline);
        let answer = async {
            let (_, mut stream) = inbound.next().await.unwrap();
            let mut request = [0; 11];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(reply).await.unwrap();
            stream.flush().await.unwrap();
            if round == 4 {
                held.push(stream);
            } else if round % 2 == 0 {
                stream.close().await.unwrap();
            }
        };
        let (result, ()) = tokio::join!(call, answer);
        let error = result.unwrap_err();
        assert!(is_expected(&error), "round {round}: {error}");
    }
    assert_eq!(client.statistics().calls_failed, 5);
    assert_eq!(client.statistics().connections_opened, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_the_protocol_is_an_error() {
    let client = Start::client(2).go().await;
    let stranger = Stranger::new(Encryption::Noise, None).await;
    client.learn(stranger.id, &[stranger.address.to_string()]);
    let error = client.call(stranger.id, message(b"", b""), LONG).await.unwrap_err();
    let TransportError::Closed { reason, .. } = error else { panic!("{error}") };
    assert!(reason.contains("does not speak"), "{reason}");
}
