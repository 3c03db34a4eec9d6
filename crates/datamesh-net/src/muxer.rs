//! Many streams on one connection: yamux 1.0, with frames large enough for bulk.
//!
//! libp2p's own adapter does not let the frame size be set, and at its 16 KiB each frame costs a
//! pass through the connection's task and a record. This adapter is the same in what it does on
//! the wire (`/yamux/1.0.0`) and sends frames of up to 256 KiB.

use std::collections::VecDeque;
use std::future::{self, Ready};
use std::io::{self, IoSlice};
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::UpgradeInfo;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use tokio::time::{Sleep, sleep};
use yamux::{Connection, ConnectionError, Mode};

use crate::io::JoinWrites;

/// The protocol name under which libp2p negotiates yamux.
const PROTOCOL: &str = "/yamux/1.0.0";

/// Largest frame sent. Receivers of the same implementation accept up to 1 MiB.
const FRAME_BYTES_MAX: usize = 256 * 1024;

/// Streams of one connection in both directions. The streams we accept and open stay far below;
/// above it yamux ends the connection.
const STREAMS_MAX: usize = 512;

/// Receive windows of all streams of a connection. yamux asks for 256 KiB a stream and grows the
/// windows of fast streams from what is beyond: 32 MiB here, eight streams at 4 MiB.
const WINDOW_BYTES_MAX: usize = STREAMS_MAX * 256 * 1024 + 32 * 1024 * 1024;

/// Inbound streams that wait until the connection's task takes them; more are reset.
const INBOUND_WAITING_MAX: usize = 256;

/// Most time for what is still to be sent when a connection is closed. A peer that is gone takes none of it,
/// and without a bound it would count as connected until the system gives up, a quarter of an hour later.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes a [`Muxer`] of an encrypted connection.
#[derive(Debug, Clone)]
pub(crate) struct Yamux;

impl Yamux {
    fn connection<C>(socket: C, mode: Mode) -> Muxer<C>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut config = yamux::Config::default();
        // The window first: each setter checks it against the number of streams.
        config.set_max_connection_receive_window(Some(WINDOW_BYTES_MAX));
        config.set_max_num_streams(STREAMS_MAX);
        config.set_split_send_size(FRAME_BYTES_MAX);
        Muxer {
            connection: Connection::new(JoinWrites::new(socket), config, mode),
            waiting: VecDeque::new(),
            waker: None,
            closing: None,
        }
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once(PROTOCOL)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        future::ready(Ok(Self::connection(socket, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        future::ready(Ok(Self::connection(socket, Mode::Client)))
    }
}

/// A connection that carries many streams.
///
/// yamux makes progress only while it is asked for inbound streams, but libp2p asks for progress
/// and for inbound streams separately; what turns up in between waits here.
pub(crate) struct Muxer<C> {
    connection: Connection<JoinWrites<C>>,
    waiting: VecDeque<MuxedStream>,
    waker: Option<Waker>,
    /// Since it is being closed: when that is over.
    closing: Option<Pin<Box<Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<MuxedStream, MuxerError>> {
        let next = ready!(self.connection.poll_next_inbound(cx));
        Poll::Ready(match next {
            Some(Ok(stream)) => Ok(MuxedStream(stream)),
            Some(Err(error)) => Err(MuxerError(error)),
            None => Err(MuxerError(ConnectionError::Closed)),
        })
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = MuxedStream;
    type Error = MuxerError;

    fn poll_inbound(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<MuxedStream, MuxerError>> {
        let this = self.get_mut();
        if let Some(stream) = this.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        if let Poll::Ready(next) = this.poll_next(cx) {
            return Poll::Ready(next);
        }
        this.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_outbound(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<MuxedStream, MuxerError>> {
        let opened = ready!(self.get_mut().connection.poll_new_outbound(cx));
        Poll::Ready(opened.map(MuxedStream).map_err(MuxerError))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), MuxerError>> {
        let this = self.get_mut();
        if let Poll::Ready(closed) = this.connection.poll_close(cx) {
            return Poll::Ready(closed.map_err(MuxerError));
        }
        let closing = this.closing.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT)));
        ready!(closing.as_mut().poll(cx));
        Poll::Ready(Err(MuxerError(ConnectionError::Io(io::ErrorKind::TimedOut.into()))))
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, MuxerError>> {
        let this = self.get_mut();
        let stream = ready!(this.poll_next(cx))?;
        if this.waiting.len() < INBOUND_WAITING_MAX {
            this.waiting.push_back(stream);
            if let Some(waker) = this.waker.take() {
                waker.wake();
            }
        } else {
            tracing::debug!("too many inbound streams wait, one is reset");
        }
        // There may be more; other work goes first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// One stream of a connection.
#[derive(Debug)]
pub(crate) struct MuxedStream(yamux::Stream);

impl AsyncRead for MuxedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, out)
    }
}

impl AsyncWrite for MuxedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, parts)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_close(cx)
    }
}

/// The connection under the streams ended.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct MuxerError(ConnectionError);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use futures::AsyncWriteExt;
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    /// Its buffer is full and nothing reads: what is left can never be sent.
    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_peer_is_gone_closes_all_the_same() {
        let (ours, _theirs) = tokio::io::duplex(1024);
        let mut muxer = Yamux::connection(ours.compat(), Mode::Client);
        let open = future::poll_fn(|cx| Pin::new(&mut muxer).poll_outbound(cx));
        let mut stream = open.await.unwrap();
        let sending = stream.write_all(&[1; 100_000]);
        let driving = future::poll_fn(|cx| Pin::new(&mut muxer).poll_inbound(cx));
        tokio::select! {
            _ = driving => panic!("nobody opens a stream"),
            _ = tokio::time::timeout(Duration::from_secs(1), sending) => {}
        }
        let closing = future::poll_fn(|cx| Pin::new(&mut muxer).poll_close(cx));
        let closed = tokio::time::timeout(Duration::from_secs(60), closing).await;
        assert!(closed.is_ok_and(|closed| closed.is_err()));
    }
}
