//! What may be set: the node's key, where it listens, who answers, and the bounds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datamesh_core::Service;
use zeroize::Zeroizing;

use crate::access::Access;
use crate::reach::Reach;

/// Everything [`Network::start`](crate::Network::start) needs.
#[derive(Clone)]
pub struct NetworkConfig {
    /// The node's Ed25519 secret (RFC 8032 seed). A throw-away client draws a fresh one.
    pub secret_key: Zeroizing<[u8; 32]>,
    /// Multiaddrs to listen on, such as `/ip4/127.0.0.1/tcp/4001` or
    /// `/ip4/0.0.0.0/udp/4001/quic-v1`; port 0 takes a free one. None for a client that only dials.
    pub listen: Vec<String>,
    /// Answers requests of peers.
    pub service: Arc<dyn Service>,
    /// File in which the addresses of peers survive a restart; `None` keeps them in memory.
    pub peer_book: Option<PathBuf>,
    /// How peers are found and this node is reached.
    pub reach: Reach,
    /// Who may connect.
    pub access: Access,
    /// The bounds.
    pub limits: Limits,
}

impl NetworkConfig {
    /// A client without listeners and without a peer book, with the default bounds.
    pub fn new(secret_key: Zeroizing<[u8; 32]>, service: Arc<dyn Service>) -> Self {
        Self {
            secret_key,
            listen: Vec::new(),
            service,
            peer_book: None,
            reach: Reach::default(),
            access: Access::default(),
            limits: Limits::default(),
        }
    }
}

/// The bounds of a [`Network`](crate::Network). The defaults suit a node of a mesh of some hundred
/// members.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections that peers opened.
    pub inbound_connections_max: u32,
    /// Connections that this side opened.
    pub outbound_connections_max: u32,
    /// Connections with one peer, in both directions. Two peers that dial each other at once have
    /// two for a while.
    pub peer_connections_max: u32,
    /// Inbound connections in their handshake.
    pub inbound_handshakes_max: u32,
    /// Outbound connections in their handshake.
    pub outbound_handshakes_max: u32,
    /// Resident memory of the process in bytes above which no connection is opened or accepted.
    pub process_memory_bytes_max: usize,
    /// Time for a dial, a handshake, or the opening of a stream.
    pub handshake_timeout: Duration,
    /// A connection without exchanges is closed after this time.
    pub connection_idle_timeout: Duration,
    /// A stream without requests is closed by the answering side after this time.
    pub stream_idle_timeout: Duration,
    /// A stream on which no request ever came is closed by the answering side after this time.
    pub stream_unused_timeout: Duration,
    /// Exchanges with one peer that this side starts and that run at once; more wait.
    pub peer_exchanges_max: usize,
    /// Exchanges with one peer that wait for their turn; more are refused as busy.
    pub peer_exchanges_waiting_max: usize,
    /// Idle streams kept for reuse with one peer.
    pub peer_idle_streams_max: usize,
    /// Inbound streams of one peer; more are reset.
    pub peer_inbound_streams_max: usize,
    /// Inbound streams of all peers; more are reset. Peers that the service does not know may
    /// together have half.
    pub inbound_streams_max: usize,
    /// Bytes of request bodies being received or served, all peers together. One peer may take a
    /// quarter, and peers that the service does not know together half, each at least one body of
    /// the largest size.
    pub request_bytes_max: usize,
    /// Bytes of reply bodies being made or sent, all peers together. Peers that the service does
    /// not know may together take half, at least one body of the largest size.
    pub served_bytes_max: usize,
    /// Bytes of reply bodies being made for or sent to one peer, at least one body of the largest
    /// size.
    pub peer_served_bytes_max: usize,
    /// Bytes of reply bodies being received.
    pub reply_bytes_max: usize,
    /// Bytes of used buffers kept for the next bodies.
    pub buffer_bytes_kept_max: usize,
    /// Time in which a peer must move the next 256 KiB of a message, or what is left of it.
    pub stall_timeout: Duration,
    /// What must move of a request's body or of a reply, on the whole: each may take the stall time
    /// (or the deadline, for who asks) and, for all its bytes, the time that this rate gives.
    pub body_bytes_per_second_min: u64,
    /// Time the service may take for one request; then the stream is reset.
    pub serve_timeout: Duration,
    /// Requests a second that one peer may send for long; more wait.
    pub peer_requests_per_second: u32,
    /// Request and reply bytes a second that one peer may cause for long; more wait.
    pub peer_bytes_per_second: u64,
    /// Time between pings of a connection.
    pub ping_interval: Duration,
    /// Time after which a ping counts as failed. Two in a row close the connection.
    pub ping_timeout: Duration,
    /// First pause after a failed dial; it doubles with each failure and is jittered.
    pub dial_backoff_min: Duration,
    /// Longest pause after a failed dial.
    pub dial_backoff_max: Duration,
    /// Peers whose addresses are remembered.
    pub book_peers_max: usize,
    /// Addresses remembered of one peer.
    pub book_addresses_max: usize,
    /// How long requests that are being served may still run when the network shuts down.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inbound_connections_max: 512,
            outbound_connections_max: 512,
            peer_connections_max: 4,
            inbound_handshakes_max: 64,
            outbound_handshakes_max: 64,
            process_memory_bytes_max: 2 << 30,
            handshake_timeout: Duration::from_secs(10),
            connection_idle_timeout: Duration::from_secs(300),
            stream_idle_timeout: Duration::from_secs(300),
            stream_unused_timeout: Duration::from_secs(10),
            peer_exchanges_max: 64,
            peer_exchanges_waiting_max: 4096,
            peer_idle_streams_max: 32,
            peer_inbound_streams_max: 128,
            inbound_streams_max: 1024,
            request_bytes_max: 64 << 20,
            served_bytes_max: 128 << 20,
            peer_served_bytes_max: 32 << 20,
            reply_bytes_max: 128 << 20,
            buffer_bytes_kept_max: 16 << 20,
            stall_timeout: Duration::from_secs(30),
            body_bytes_per_second_min: 16 << 10,
            serve_timeout: Duration::from_secs(120),
            peer_requests_per_second: 20_000,
            peer_bytes_per_second: 4 << 30,
            ping_interval: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(20),
            dial_backoff_min: Duration::from_millis(250),
            dial_backoff_max: Duration::from_secs(60),
            book_peers_max: 4096,
            book_addresses_max: 8,
            shutdown_grace: Duration::from_secs(5),
        }
    }
}
