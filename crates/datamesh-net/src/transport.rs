//! From an address to an authenticated connection with streams: TCP, then TLS or Noise, then
//! yamux.

use std::time::Duration;

use libp2p::PeerId;
use libp2p::core::Transport as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, upgrade::Version};
use libp2p::{dns, tcp};

use crate::muxer::Yamux;
use crate::security::Encryption;

/// Builds the stack. `timeout` bounds each handshake.
pub(crate) fn build(encryption: Encryption, timeout: Duration) -> Boxed<(PeerId, StreamMuxerBox)> {
    let socket = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
    // Names are looked up when they are dialled; no system configuration means no names.
    match dns::tokio::Transport::system(socket) {
        Ok(named) => named
            .upgrade(Version::V1)
            .authenticate(encryption)
            .multiplex(Yamux)
            .timeout(timeout)
            .boxed(),
        Err(error) => {
            tracing::warn!(%error, "names cannot be looked up, only ip addresses are dialled");
            tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
                .upgrade(Version::V1)
                .authenticate(encryption)
                .multiplex(Yamux)
                .timeout(timeout)
                .boxed()
        }
    }
}
