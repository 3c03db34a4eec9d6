//! The network of DataMesh: connections between peers, and exchanges of messages on them.
//!
//! [`Network`] is the real [`Transport`](datamesh_core::Transport): it dials peers by the addresses
//! it has learnt, answers their requests with a [`Service`](datamesh_core::Service), and is the only
//! place that knows libp2p. One task (`actor`) owns the swarm; everything else talks to it through
//! bounded channels. Bytes do not pass through that task: each connection has a task of its own,
//! and each inbound stream too.
//!
//! Reading order: [`config`] (what may be set), `transport` (from a socket to streams), `frame`
//! (the bytes of an exchange), `exchange` and `serve` (its two ends), `actor` (the swarm), `reach`
//! (being reached behind NATs), `discovery` (finding peers).
//!
//! Guaranteed: the peer that answers holds the key that its id names; every queue, table, buffer
//! and task set is bounded by [`Limits`]; a stranger does not choose how much is allocated.
//! Not guaranteed: that the peer is a member of anything, which is the service's business; that a
//! request is served only once (it is sent again if a reused stream turns out to be closed).
#![allow(
    clippy::disallowed_methods,
    reason = "the network lives in real time, on tasks of its own"
)]

mod access;
mod actor;
mod address;
mod body;
mod book;
mod breaker;
mod bucket;
mod budget;
mod candidates;
pub mod config;
mod dial_failure;
mod dialling;
mod discovery;
mod error;
mod exchange;
mod frame;
mod heap;
mod identity;
mod io;
mod muxer;
mod network;
#[doc(hidden)]
pub mod parsers;
mod patience;
mod peers;
mod reach;
mod security;
mod serve;
mod statistics;
mod streams;
mod throttle;
mod tls;
mod transport;

pub use access::{Access, Rule, RuleError};
pub use address::{check_dial, check_listen};
pub use breaker::BreakerState;
pub use config::{Limits, NetworkConfig};
pub use discovery::{Sighting, Source};
pub use error::NetworkError;
pub use network::Network;
pub use reach::{Nat, Reach, Reachability, only_on_loopback};
pub use statistics::{PeerStatus, Security, Statistics};
pub use throttle::Bandwidth;
