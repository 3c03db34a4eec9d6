//! The bytes of one message on a stream of `/datamesh/shard/1`.
//!
//! ```text
//! head length  u32 little-endian, at most HEAD_BYTES_MAX
//! body length  u32 little-endian, at most BODY_BYTES_MAX
//! head         that many bytes
//! body         that many bytes
//! ```
//!
//! The lengths are checked before anything is allocated. `docs/specs/protocol.md` is the normative
//! text.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::Message;
use datamesh_core::seam::{BODY_BYTES_MAX, HEAD_BYTES_MAX};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// The name under which streams of exchanges are negotiated.
pub(crate) const PROTOCOL: &str = "/datamesh/shard/1";

/// Bytes before the head.
pub(crate) const PREFIX_BYTES: usize = 8;

/// What must move within the stall time, and how much is written at once: one frame of the muxer.
pub(crate) const STEP_BYTES: usize = 256 * 1024;

/// Bytes that are discarded at once.
const DISCARDED_BYTES: usize = 16 * 1024;

/// Bodies up to this size are copied behind the head, so that a small message is one frame and one
/// record. Above it the copy would cost more than it saves.
const JOINED_BODY_BYTES_MAX: usize = 32 * 1024;

/// Why a message was not received or sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The stream ended, or was reset, before the first byte of a message.
    #[error("the stream was closed")]
    Ended,
    /// A length above its bound.
    #[error("a message of {length} bytes is above the limit of {bound}")]
    TooLarge { length: usize, bound: usize },
    /// No progress for the stall time.
    #[error("no progress for {} ms", .0.as_millis())]
    Stalled(Duration),
    /// The stream or its connection broke.
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
}

/// The lengths that come before a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lengths {
    pub(crate) head: usize,
    pub(crate) body: usize,
}

impl Lengths {
    /// The lengths of `message`, if it is within the bounds.
    pub(crate) fn of(message: &Message) -> Result<Self, FrameError> {
        Self { head: message.head.len(), body: message.body.len() }.checked()
    }

    pub(crate) fn decode(prefix: [u8; PREFIX_BYTES]) -> Result<Self, FrameError> {
        let [a, b, c, d, e, f, g, h] = prefix;
        Self {
            head: u32::from_le_bytes([a, b, c, d]) as usize,
            body: u32::from_le_bytes([e, f, g, h]) as usize,
        }
        .checked()
    }

    pub(crate) fn encode(self) -> [u8; PREFIX_BYTES] {
        let mut prefix = [0; PREFIX_BYTES];
        prefix[..4].copy_from_slice(&(self.head as u32).to_le_bytes());
        prefix[4..].copy_from_slice(&(self.body as u32).to_le_bytes());
        prefix
    }

    /// Those of the message's beginning.
    pub(crate) fn without_body(self) -> Self {
        Self { body: 0, ..self }
    }

    /// Bytes on the stream.
    pub(crate) fn total(self) -> u64 {
        (PREFIX_BYTES + self.head + self.body) as u64
    }

    fn checked(self) -> Result<Self, FrameError> {
        for (length, bound) in [(self.head, HEAD_BYTES_MAX), (self.body, BODY_BYTES_MAX)] {
            if length > bound {
                return Err(FrameError::TooLarge { length, bound });
            }
        }
        Ok(self)
    }
}

/// Reads the lengths of the next message. Waits for its first byte without a limit; the rest must
/// follow within `stall`.
pub(crate) async fn read_lengths<R>(from: &mut R, stall: Duration) -> Result<Lengths, FrameError>
where
    R: AsyncRead + Unpin,
{
    let mut prefix = [0; PREFIX_BYTES];
    let first = match from.read(&mut prefix).await {
        Ok(0) | Err(_) => return Err(FrameError::Ended),
        Ok(first) => first,
    };
    read_full(from, &mut prefix[first..], stall).await?;
    Lengths::decode(prefix)
}

/// Reads a head of `length` bytes, which [`Lengths`] has bounded.
pub(crate) async fn read_head<R>(
    from: &mut R,
    length: usize,
    stall: Duration,
) -> Result<Bytes, FrameError>
where
    R: AsyncRead + Unpin,
{
    if length == 0 {
        return Ok(Bytes::new());
    }
    let mut head = vec![0; length];
    read_full(from, &mut head, stall).await?;
    Ok(Bytes::from(head))
}

/// Fills `into`, in steps that must each be done within `stall`.
pub(crate) async fn read_full<R>(
    from: &mut R,
    into: &mut [u8],
    stall: Duration,
) -> Result<(), FrameError>
where
    R: AsyncRead + Unpin,
{
    for step in into.chunks_mut(STEP_BYTES) {
        timeout(stall, from.read_exact(step)).await.map_err(|_| FrameError::Stalled(stall))??;
    }
    Ok(())
}

/// Reads `length` bytes and keeps none of them.
pub(crate) async fn discard<R>(from: &mut R, length: usize) -> Result<(), FrameError>
where
    R: AsyncRead + Unpin,
{
    let mut part = vec![0; length.min(DISCARDED_BYTES)];
    let mut left = length;
    while left > 0 {
        let step = left.min(part.len());
        match from.read(&mut part[..step]).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            read => left -= read,
        }
    }
    Ok(())
}

/// Writes and flushes one message, in steps that must each be done within `stall`.
pub(crate) async fn write<W>(
    to: &mut W,
    message: &Message,
    lengths: Lengths,
    stall: Duration,
) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
{
    let joined = if lengths.body <= JOINED_BODY_BYTES_MAX { lengths.body } else { 0 };
    let mut front = Vec::with_capacity(PREFIX_BYTES + lengths.head + joined);
    front.extend_from_slice(&lengths.encode());
    front.extend_from_slice(&message.head);
    front.extend_from_slice(&message.body[..joined]);
    write_step(to, &front, stall).await?;
    for step in message.body[joined..].chunks(STEP_BYTES) {
        write_step(to, step, stall).await?;
    }
    timeout(stall, to.flush()).await.map_err(|_| FrameError::Stalled(stall))??;
    Ok(())
}

async fn write_step<W>(to: &mut W, step: &[u8], stall: Duration) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
{
    timeout(stall, to.write_all(step)).await.map_err(|_| FrameError::Stalled(stall))??;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use futures::io::Cursor;
    use proptest::prelude::*;

    const STALL: Duration = Duration::from_secs(5);

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    async fn read(bytes: &[u8]) -> Result<Message, FrameError> {
        let mut from = Cursor::new(bytes);
        let lengths = read_lengths(&mut from, STALL).await?;
        let head = read_head(&mut from, lengths.head, STALL).await?;
        let mut body = vec![0; lengths.body];
        read_full(&mut from, &mut body, STALL).await?;
        Ok(Message { head, body: Bytes::from(body) })
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let message =
            Message { head: Bytes::from_static(b"head"), body: Bytes::from_static(b"body!") };
        let mut bytes = Vec::new();
        run(write(&mut bytes, &message, Lengths::of(&message).unwrap(), STALL)).unwrap();
        assert_eq!(bytes, b"\x04\0\0\0\x05\0\0\0headbody!");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_message_reads_back(
            head in proptest::collection::vec(any::<u8>(), 0..3000),
            length in prop_oneof![
                0_usize..100,
                JOINED_BODY_BYTES_MAX - 1..JOINED_BODY_BYTES_MAX + 2,
                Just(STEP_BYTES),
                Just(STEP_BYTES + 1),
                Just(BODY_BYTES_MAX),
            ],
        ) {
            let body: Vec<u8> = (0..length).map(|i| (i * 31 / 7) as u8).collect();
            let message = Message { head: Bytes::from(head), body: Bytes::from(body) };
            let mut bytes = Vec::new();
            run(write(&mut bytes, &message, Lengths::of(&message).unwrap(), STALL)).unwrap();
            prop_assert_eq!(run(read(&bytes)).unwrap(), message);
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            match run(read(&bytes)) {
                Ok(message) => {
                    let mut again = Vec::new();
                    let lengths = Lengths::of(&message).unwrap();
                    run(write(&mut again, &message, lengths, STALL)).unwrap();
                    prop_assert!(bytes.starts_with(&again));
                }
                Err(FrameError::Ended) => prop_assert!(bytes.is_empty()),
                Err(FrameError::TooLarge { length, bound }) => prop_assert!(length > bound),
                Err(FrameError::Io(error)) => {
                    prop_assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                }
                Err(FrameError::Stalled(_)) => prop_assert!(false, "nothing here can stall"),
            }
        }
    }

    #[test]
    fn lengths_above_the_bounds_are_refused() {
        let bounds = Lengths { head: HEAD_BYTES_MAX, body: BODY_BYTES_MAX };
        assert_eq!(Lengths::decode(bounds.encode()).unwrap(), bounds);
        for (head, body) in
            [(HEAD_BYTES_MAX + 1, 0), (0, BODY_BYTES_MAX + 1), (u32::MAX as usize, 0)]
        {
            let error = Lengths::decode(Lengths { head, body }.encode()).unwrap_err();
            assert!(matches!(error, FrameError::TooLarge { .. }), "{error}");
        }
    }
}
