//! The encryption of a connection: TLS where both sides have it, else Noise.
//!
//! Both are offered under libp2p's names, so that any libp2p peer can be met. What was agreed on
//! is kept and shown with the peer.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::iter;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use futures_rustls::TlsStream;
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise};

use crate::io::ReadAhead;
use crate::statistics::Security;
use crate::tls::{self, Tls, TlsError};
use crate::{NetworkError, statistics};

/// The protocol name under which libp2p negotiates Noise.
const NOISE_PROTOCOL: &str = "/noise";

/// The encryptions of one node, in the order in which they are offered.
#[derive(Clone)]
pub(crate) struct Encryption {
    tls: Option<Tls>,
    noise: noise::Config,
    agreed: Agreed,
}

/// Handshakes whose connection is not yet in the table of peers. Older entries go first: what is
/// lost is a line in a status display.
const AGREED_MAX: usize = 1024;

/// What the newest handshake with each peer agreed on, until the connection takes it.
///
/// libp2p hands only the peer id from the handshake to the layers above, hence this side channel.
#[derive(Clone, Default)]
pub(crate) struct Agreed(Arc<Mutex<BTreeMap<PeerId, Security>>>);

impl Agreed {
    pub(crate) fn put(&self, peer: PeerId, security: Security) {
        let mut agreed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if agreed.len() >= AGREED_MAX {
            agreed.pop_first();
        }
        agreed.insert(peer, security);
    }

    /// Takes the entry of `peer`.
    pub(crate) fn take(&self, peer: &PeerId) -> Option<Security> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(peer)
    }
}

/// Why no encrypted connection came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncryptionError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the noise handshake failed: {0}")]
    Noise(#[from] noise::Error),
}

impl Encryption {
    pub(crate) fn new(keypair: &Keypair, agreed: Agreed) -> Result<Self, NetworkError> {
        let noise = noise::Config::new(keypair)
            .map_err(|error| NetworkError::Certificate { reason: error.to_string() })?;
        Ok(Self { tls: Some(Tls::new(keypair)?), noise, agreed })
    }

    /// Where handshakes tell what they agreed on.
    pub(crate) fn agreed(&self) -> Agreed {
        self.agreed.clone()
    }
}

impl UpgradeInfo for Encryption {
    type Info = &'static str;
    type InfoIter = iter::Chain<std::option::IntoIter<&'static str>, iter::Once<&'static str>>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.tls.as_ref().map(|_| tls::PROTOCOL).into_iter().chain(iter::once(NOISE_PROTOCOL))
    }
}

impl<C> InboundConnectionUpgrade<C> for Encryption
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = (PeerId, Encrypted<C>);
    type Error = EncryptionError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        async move {
            let (peer, stream) = match self.tls.filter(|_| info == tls::PROTOCOL) {
                Some(tls) => {
                    let (peer, stream) = tls.accept(ReadAhead::new(socket)).await?;
                    (peer, Encrypted::Tls(Box::new(stream)))
                }
                None => {
                    let (peer, stream) = self.noise.upgrade_inbound(socket, info).await?;
                    (peer, Encrypted::Noise(Box::new(stream)))
                }
            };
            self.agreed.put(peer, stream.security());
            Ok((peer, stream))
        }
        .boxed()
    }
}

impl<C> OutboundConnectionUpgrade<C> for Encryption
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = (PeerId, Encrypted<C>);
    type Error = EncryptionError;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        async move {
            let (peer, stream) = match self.tls.filter(|_| info == tls::PROTOCOL) {
                Some(tls) => {
                    let (peer, stream) = tls.connect(ReadAhead::new(socket)).await?;
                    (peer, Encrypted::Tls(Box::new(stream)))
                }
                None => {
                    let (peer, stream) = self.noise.upgrade_outbound(socket, info).await?;
                    (peer, Encrypted::Noise(Box::new(stream)))
                }
            };
            self.agreed.put(peer, stream.security());
            Ok((peer, stream))
        }
        .boxed()
    }
}

/// An encrypted connection.
pub(crate) enum Encrypted<C> {
    Tls(Box<TlsStream<ReadAhead<C>>>),
    Noise(Box<noise::Output<C>>),
}

impl<C> Encrypted<C> {
    /// What was agreed on.
    fn security(&self) -> Security {
        match self {
            Self::Tls(stream) => {
                let (_, state) = stream.get_ref();
                Security {
                    protocol: statistics::TLS,
                    cipher_suite: Some(tls::cipher_suite(state)),
                    key_exchange: Some(tls::key_exchange(state)),
                }
            }
            Self::Noise(_) => Security {
                protocol: statistics::NOISE,
                cipher_suite: Some("CHACHA20_POLY1305_SHA256".to_owned()),
                key_exchange: Some("X25519".to_owned()),
            },
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, out),
            Self::Noise(stream) => Pin::new(stream).poll_read(cx, out),
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Noise(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Noise(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Noise(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_close(cx),
            Self::Noise(stream) => Pin::new(stream).poll_close(cx),
        }
    }
}
