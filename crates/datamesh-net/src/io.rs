//! Two buffers around the encryption, which turn many small system calls and records into few.
//!
//! Below: rustls asks the socket for 4 KiB at a time, four calls for one record; [`ReadAhead`]
//! takes what has arrived in one call and hands it out. Above: the muxer writes the 12 bytes of a
//! frame's header by themselves, which would be a record and a packet of their own;
//! [`JoinWrites`] sends them together with the frame's body.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};

/// What is read from a socket at once. Larger did not measure faster on loopback, and each
/// connection holds one of these.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// Reads from `inner` in large pieces.
pub(crate) struct ReadAhead<C> {
    inner: C,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<C> ReadAhead<C> {
    pub(crate) fn new(inner: C) -> Self {
        Self { inner, buffer: vec![0; READ_AHEAD_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for ReadAhead<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.start == this.end {
            if out.len() >= this.buffer.len() {
                return Pin::new(&mut this.inner).poll_read(cx, out);
            }
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut this.buffer))?;
            (this.start, this.end) = (0, read);
        }
        let length = out.len().min(this.end - this.start);
        out[..length].copy_from_slice(&this.buffer[this.start..this.start + length]);
        this.start += length;
        Poll::Ready(Ok(length))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for ReadAhead<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, parts)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(cx)
    }
}

/// Small writes wait here for a larger one or a flush. A frame header and the window updates of
/// some streams fit.
const JOIN_BYTES: usize = 4 * 1024;

/// Joins small writes to `inner` with what follows them.
pub(crate) struct JoinWrites<C> {
    inner: C,
    held: Vec<u8>,
    sent: usize,
}

impl<C> JoinWrites<C> {
    pub(crate) fn new(inner: C) -> Self {
        Self { inner, held: Vec::with_capacity(JOIN_BYTES), sent: 0 }
    }
}

impl<C: AsyncWrite + Unpin> JoinWrites<C> {
    fn poll_send_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.held[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.held.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for JoinWrites<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, out)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for JoinWrites<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.sent > 0 {
            // What is partly sent must leave before anything can be joined to it.
            ready!(this.poll_send_held(cx))?;
        }
        if this.held.len() + bytes.len() <= JOIN_BYTES {
            this.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        if this.held.is_empty() {
            return Pin::new(&mut this.inner).poll_write(cx, bytes);
        }
        let parts = [IoSlice::new(&this.held), IoSlice::new(bytes)];
        let sent = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, &parts))?;
        if sent >= this.held.len() {
            let of_bytes = sent - this.held.len();
            this.held.clear();
            if of_bytes > 0 {
                return Poll::Ready(Ok(of_bytes));
            }
        } else {
            this.sent = sent;
            ready!(this.poll_send_held(cx))?;
        }
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send_held(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send_held(cx))?;
        Pin::new(&mut this.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use futures::executor::block_on;
    use futures::{AsyncReadExt, AsyncWriteExt};
    use proptest::prelude::*;

    /// Takes at most `step` bytes a call, and every other call nothing.
    struct Slow {
        bytes: Vec<u8>,
        step: usize,
        calls: usize,
    }

    impl Slow {
        fn is_pending(&mut self, cx: &mut Context<'_>) -> bool {
            self.calls += 1;
            if self.calls.is_multiple_of(2) {
                cx.waker().wake_by_ref();
            }
            self.calls.is_multiple_of(2)
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.is_pending(cx) {
                return Poll::Pending;
            }
            let length = bytes.len().min(self.step);
            self.bytes.extend_from_slice(&bytes[..length]);
            Poll::Ready(Ok(length))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            self.as_mut().poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn bytes_leave_in_the_order_they_came(
            writes in proptest::collection::vec((0_usize..9000, any::<bool>()), 1..40),
            step in 1_usize..10_000,
        ) {
            let mut out = JoinWrites::new(Slow { bytes: Vec::new(), step, calls: 0 });
            let mut expected = Vec::new();
            block_on(async {
                for (length, flush) in writes {
                    let bytes: Vec<u8> = (0..length).map(|i| (i * 7 + length) as u8).collect();
                    out.write_all(&bytes).await.unwrap();
                    expected.extend_from_slice(&bytes);
                    if flush {
                        out.flush().await.unwrap();
                        assert_eq!(out.inner.bytes, expected);
                    }
                }
                out.close().await.unwrap();
            });
            prop_assert_eq!(&out.inner.bytes, &expected);
        }

        #[test]
        fn bytes_arrive_in_the_order_they_were_sent(
            length in 0_usize..300_000,
            reads in proptest::collection::vec(1_usize..100_000, 1..30),
        ) {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 31) as u8).collect();
            let mut from = ReadAhead::new(futures::io::Cursor::new(bytes.clone()));
            let mut got = Vec::new();
            block_on(async {
                for size in reads.iter().cycle() {
                    let mut part = vec![0; *size];
                    let read = from.read(&mut part).await.unwrap();
                    if read == 0 {
                        break;
                    }
                    got.extend_from_slice(&part[..read]);
                }
            });
            prop_assert_eq!(got, bytes);
        }
    }
}
