//! From an address to an authenticated connection with streams: TCP, then TLS or Noise, then
//! yamux; or QUIC, which has all of these in itself; or either through a relay, encrypted once
//! more from end to end.

use std::time::Duration;

use libp2p::core::Transport as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, upgrade::Version};
use libp2p::identity::Keypair;
use libp2p::{PeerId, dns, quic, relay, tcp};

use crate::NetworkError;
use crate::muxer::Yamux;
use crate::security::Encryption;
use crate::statistics::{QUIC, Security};

/// How long the first packets of a connection may stay without an answer: three tries of TCP. Peers
/// that find out for each other whether they can be dialled wait ten seconds for the result, and
/// most routers drop what they do not let in without a word.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer and the streams with it.
type Connected = (PeerId, StreamMuxerBox);

/// Builds the stack. `timeout` bounds each handshake.
///
/// # Errors
/// [`NetworkError::KeyLog`] where the environment asks for the keys of connections: QUIC's library
/// would write them down, and an environment variable must not undo the encryption.
pub(crate) fn build(
    keypair: &Keypair,
    encryption: &Encryption,
    relay: relay::client::Transport,
    timeout: Duration,
) -> Result<Boxed<Connected>, NetworkError> {
    if std::env::var_os("SSLKEYLOGFILE").is_some() {
        return Err(NetworkError::KeyLog);
    }
    let relayed = relay
        .upgrade(Version::V1)
        .authenticate(encryption.clone())
        .multiplex(Yamux)
        .timeout(timeout)
        .boxed();
    let direct = || {
        let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
        let tcp = TransportTimeout::with_outgoing_timeout(tcp, CONNECT_TIMEOUT.min(timeout))
            .upgrade(Version::V1)
            .authenticate(encryption.clone())
            .multiplex(Yamux)
            .timeout(timeout)
            .boxed();
        let mut config = quic::Config::new(keypair);
        config.handshake_timeout = CONNECT_TIMEOUT.min(timeout);
        let agreed = encryption.agreed();
        let quic = quic::tokio::Transport::new(config)
            .map(move |(peer, connection), _| {
                // The library does not tell what it agreed on.
                let security = Security { protocol: QUIC, cipher_suite: None, key_exchange: None };
                agreed.put(peer, security);
                (peer, StreamMuxerBox::new(connection))
            })
            .boxed();
        tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed()
    };
    // Names are looked up when they are dialled; no system configuration means no names.
    let named = match dns::tokio::Transport::system(direct()) {
        Ok(named) => named.boxed(),
        Err(error) => {
            tracing::warn!(%error, "names cannot be looked up, only ip addresses are dialled");
            direct()
        }
    };
    Ok(relayed.or_transport(named).map(|either, _| either.into_inner()).boxed())
}
