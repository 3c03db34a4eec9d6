//! The bounds of the simulated network, which are those of the real one.

use std::time::Duration;

/// Bounds and patience of every node. The defaults are those of `datamesh-net`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Exchanges with one peer that a node starts and that run at once; more wait.
    pub peer_exchanges_max: usize,
    /// Exchanges with one peer that wait for their turn; more are refused as busy.
    pub peer_exchanges_waiting_max: usize,
    /// Exchanges that a node serves at once, all peers together; more wait in order.
    pub exchanges_served_max: usize,
    /// Time the service may take for one exchange, after which the peer gives it up.
    pub serve_timeout: Duration,
    /// Time for a dial with its handshake.
    pub dial_timeout: Duration,
    /// Time after which both ends close a connection that a partition has cut.
    pub ping_patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peer_exchanges_max: 64,
            peer_exchanges_waiting_max: 4096,
            exchanges_served_max: 1024,
            serve_timeout: Duration::from_secs(120),
            dial_timeout: Duration::from_secs(10),
            ping_patience: Duration::from_secs(40),
        }
    }
}
