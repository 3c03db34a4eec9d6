//! Frames of the local socket.

use std::io;

use bytes::Bytes;
use datamesh_codec::Pool;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Largest payload in bytes: a reply that lists 300,000 stored files.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// From the command: the operation.
    Begin = 1,
    /// An entry's head.
    Head = 2,
    /// Some of its bytes.
    Bytes = 3,
    /// The entry's end: nothing, or why it is broken.
    End = 4,
    /// From the command: no more entries.
    StreamEnd = 5,
    /// From the command: the password that was asked for.
    Password = 6,
    /// From the daemon: the keystore must be opened.
    PasswordWanted = 7,
    /// From the daemon: progress.
    Progress = 8,
    /// From the daemon: the outcome.
    Done = 9,
    /// From the command, after the head of a resumable entry: how many of its bytes it has.
    Held = 10,
}

impl Kind {
    fn of(number: u8) -> io::Result<Self> {
        Ok(match number {
            1 => Self::Begin,
            2 => Self::Head,
            3 => Self::Bytes,
            4 => Self::End,
            5 => Self::StreamEnd,
            6 => Self::Password,
            7 => Self::PasswordWanted,
            8 => Self::Progress,
            9 => Self::Done,
            10 => Self::Held,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "unknown frame")),
        })
    }
}

/// The reading side.
pub(super) struct FrameReader {
    inner: BufReader<OwnedReadHalf>,
    pool: Pool,
}

impl FrameReader {
    pub(super) fn new(half: OwnedReadHalf) -> Self {
        Self { inner: BufReader::with_capacity(64 * 1024, half), pool: Pool::new(8) }
    }

    /// The next frame; nothing where the other side has closed between frames.
    pub(super) async fn next(&mut self) -> io::Result<Option<(Kind, Bytes)>> {
        let mut header = [0; 5];
        match self.inner.read_exact(&mut header[..1]).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        self.inner.read_exact(&mut header[1..]).await?;
        let kind = Kind::of(header[0])?;
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
        }
        let mut buffer = self.pool.take(length);
        self.inner.read_exact(&mut buffer).await?;
        Ok(Some((kind, buffer.into_bytes())))
    }
}

/// The writing side.
pub(super) struct FrameWriter {
    inner: BufWriter<OwnedWriteHalf>,
}

impl FrameWriter {
    pub(super) fn new(half: OwnedWriteHalf) -> Self {
        Self { inner: BufWriter::with_capacity(64 * 1024, half) }
    }

    /// Writes a frame; it may stay in the buffer until [`flush`](Self::flush).
    pub(super) async fn send(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let Ok(length) = u32::try_from(payload.len()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "frame too long"));
        };
        self.inner.write_all(&[kind as u8]).await?;
        self.inner.write_all(&length.to_le_bytes()).await?;
        self.inner.write_all(payload).await
    }

    /// Writes a frame of CBOR and flushes.
    pub(super) async fn send_value(
        &mut self,
        kind: Kind,
        value: &impl Serialize,
    ) -> io::Result<()> {
        let mut payload = Vec::new();
        ciborium::into_writer(value, &mut payload).map_err(io::Error::other)?;
        self.send(kind, &payload).await?;
        self.flush().await
    }

    /// Sends what is in the buffer.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().await
    }
}

/// Reads CBOR.
pub(super) fn value<T: DeserializeOwned>(payload: &[u8]) -> io::Result<T> {
    ciborium::from_reader(payload)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}
