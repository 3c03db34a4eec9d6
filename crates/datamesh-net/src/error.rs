//! What can go wrong when the network starts. Failures of single exchanges are
//! [`TransportError`](datamesh_core::TransportError).

use std::io;

/// The network did not start.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The secret is not an Ed25519 key.
    #[error("the node key is not an ed25519 secret key")]
    Key,
    /// The certificate of the node could not be made.
    #[error("the tls certificate of this node could not be made: {reason}")]
    Certificate {
        /// What failed.
        reason: String,
    },
    /// The text is not an address that this node can listen on or dial.
    #[error("{address} is no address to use here: {reason}")]
    Address {
        /// The text as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process, or another listener of this one, has the port.
    #[error("the port of {address} is in use")]
    PortInUse {
        /// The address.
        address: String,
    },
    /// The operating system did not give the address for another reason.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The environment asks for the keys of connections to be written down.
    #[error("SSLKEYLOGFILE is set: the keys of connections would be written down; unset it")]
    KeyLog,
    /// The local network cannot be searched for peers.
    #[error("mDNS cannot be started; it is switched off with the setting network.mdns")]
    Mdns {
        /// What the system said.
        source: io::Error,
    },
    /// Reading the peer book was broken off.
    #[error("reading the peer book was broken off")]
    PeerBook,
    /// A listener reported no address in time.
    #[error("no address of the listeners was reported within {seconds} s")]
    NotListening {
        /// How long was waited.
        seconds: u64,
    },
    /// A look-up in the distributed hash table failed.
    #[error("looking up in the distributed hash table failed: {reason}")]
    Lookup {
        /// Why.
        reason: String,
    },
    /// Nobody, or somebody else, answers at an address.
    #[error("{address} cannot be reached: {reason}")]
    Meet {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
}
