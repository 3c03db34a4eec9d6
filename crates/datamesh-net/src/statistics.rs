//! What the network has done, counted since it started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datamesh_core::NodeId;

use crate::breaker::BreakerState;

pub(crate) const TLS: &str = "tls";
pub(crate) const NOISE: &str = "noise";
pub(crate) const QUIC: &str = "quic";

/// Totals since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Bytes of messages received, frame prefixes included.
    pub bytes_in: u64,
    /// Bytes of messages sent, frame prefixes included.
    pub bytes_out: u64,
    /// Exchanges that this side started and that ended with a reply.
    pub calls: u64,
    /// Exchanges that this side started and that failed.
    pub calls_failed: u64,
    /// Exchanges sent again because a reused stream was closed.
    pub calls_repeated: u64,
    /// Exchanges that peers started and that were answered.
    pub served: u64,
    /// Exchanges that peers started and that ended without an answer.
    pub serves_failed: u64,
    /// Inbound streams reset because there were too many.
    pub streams_refused: u64,
    /// Dials.
    pub dials: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// Connections opened, in both directions.
    pub connections_opened: u64,
    /// Connections that ended.
    pub connections_closed: u64,
    /// Inbound connections refused or failed in the handshake.
    pub connections_refused: u64,
    /// Connections open now.
    pub connections: u64,
}

macro_rules! counters {
    ($($name:ident)*) => {
        /// The running totals behind [`Statistics`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            /// A reading of all, not at one instant.
            pub(crate) fn read(&self) -> Statistics {
                Statistics {
                    $($name: self.$name.get(),)*
                    connections: self
                        .connections_opened
                        .get()
                        .saturating_sub(self.connections_closed.get()),
                }
            }
        }
    };
}

counters!(bytes_in bytes_out calls calls_failed calls_repeated served serves_failed
    streams_refused dials dials_failed connections_opened connections_closed connections_refused);

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// `tls` or `noise` over TCP, or `quic`, which is TLS 1.3 over UDP.
    pub protocol: &'static str,
    /// The cipher suite, as in `TLS13_AES_256_GCM_SHA384`; nothing where it is not told, as with
    /// QUIC.
    pub cipher_suite: Option<String>,
    /// The key exchange, as in `X25519MLKEM768`; nothing where it is not told, as with QUIC.
    pub key_exchange: Option<String>,
}

/// One connected peer.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerStatus {
    /// The peer.
    pub peer: NodeId,
    /// Remote addresses of the live connections. Those of inbound connections have the port the
    /// peer dialled from.
    pub addresses: Vec<String>,
    /// The connection that carries the exchanges was opened by the peer. It is the oldest of those
    /// that lead straight to the peer, or else the oldest.
    pub inbound: bool,
    /// That connection leads through a relay.
    pub relayed: bool,
    /// How long that connection has been open.
    pub connected_for: Duration,
    /// Time of the newest ping and its answer on it.
    pub round_trip: Option<Duration>,
    /// How that connection is encrypted.
    pub security: Option<Security>,
    /// Exchanges with the peer that this side started and that run now.
    pub exchanges: usize,
    /// Whether calls to the peer go through.
    pub breaker: BreakerState,
}
