//! From plaintext or finished ciphertext to a segment that is ready to be sent.

use std::sync::Arc;

use datamesh_codec::{Buffer, Layout, Pool, encode};
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::padding::padme;
use datamesh_core::{ContentTag, Descriptor, Entropy, Grant, Scheme, SegmentId};
use datamesh_crypto::compress::{Effort, Zstd};
use datamesh_crypto::frame::{self, Sealer, TAG_BYTES};
use datamesh_crypto::manifest::Compression;
use datamesh_crypto::{DeviceKeys, Secret, Slice};
use datamesh_engine::{Engine, SegmentWrite, Spread};

use super::put::Compress;
use super::{FRAME, SEGMENT_PLAIN};
use crate::client::Client;
use crate::error::ClientError;

/// What sealing and coding need; shared by the jobs of one put.
#[derive(Clone)]
pub(crate) struct Forge {
    pub(super) keys: Arc<DeviceKeys>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) grant: Arc<Grant>,
    pub(super) engine: Arc<Engine>,
    pub(super) pool: Pool,
    pub(super) spread: Spread,
    pub(super) zstd: Arc<Zstd>,
    pub(super) compress: Compress,
}

/// A slice's place and key, before it is part of a manifest.
pub(crate) struct Sealed {
    pub(super) segment: SegmentId,
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) frame: u32,
    pub(super) compression: Compression,
    pub(super) key: Secret,
    pub(super) epoch: u32,
}

impl Sealed {
    /// The slice with this content.
    pub(crate) fn slice(self, plain_length: u32, tag: ContentTag) -> Slice {
        let Self { segment, offset, length, frame, compression, key, epoch } = self;
        Slice { segment, offset, length, plain_length, frame, compression, key, tag, epoch }
    }
}

/// A small file, sealed for a pack.
pub(crate) struct SealedSmall {
    pub(crate) frames: Vec<u8>,
    pub(crate) plain_length: u32,
    pub(crate) compression: Compression,
    pub(crate) key: Secret,
    /// The catalog epoch in which the key was drawn.
    pub(crate) epoch: u32,
}

impl Forge {
    /// What a client's segments are made with. Content is compressed by the rule given.
    pub(crate) fn new(client: &Client, spread: Spread, compress: Compress) -> Self {
        Self {
            keys: Arc::clone(&client.keys),
            entropy: Arc::clone(&client.entropy),
            grant: Arc::clone(&client.grant),
            engine: Arc::clone(&client.engine),
            pool: client.pool.clone(),
            spread,
            zstd: Arc::clone(&client.zstd),
            compress,
        }
    }

    fn shrunk(&self, content: &[u8]) -> Option<Vec<u8>> {
        match self.compress {
            Compress::Auto => self.zstd.shrunk(content, Effort::Put),
            Compress::Rest => self.zstd.shrunk(content, Effort::Rest),
            Compress::Off => None,
        }
    }

    /// Seals a slice of a large file, whose content is the first `filled` bytes of `plain`. Where it
    /// shrinks, the padding is by what is left of it.
    pub(crate) fn slice(
        &self,
        scheme: Scheme,
        plain: &[u8],
        filled: usize,
    ) -> Result<(SegmentWrite, Sealed), ClientError> {
        match self.frame_of(&plain[..filled]) {
            Some(frame) if frame.len() < plain.len() => self.lone_frame(scheme, &frame),
            _ => self.lone(scheme, plain),
        }
    }

    /// Content as a compressed frame, padded for a segment of its own; nothing where it does not shrink.
    pub(crate) fn frame_of(&self, content: &[u8]) -> Option<Vec<u8>> {
        let mut shrunk = self.shrunk(content)?;
        shrunk.resize((padme(shrunk.len() as u64) as usize).min(SEGMENT_PLAIN), 0);
        Some(shrunk)
    }

    /// Seals what [`Forge::frame_of`] made into a segment of its own.
    pub(crate) fn lone_frame(
        &self,
        scheme: Scheme,
        frame: &[u8],
    ) -> Result<(SegmentWrite, Sealed), ClientError> {
        let (write, sealed) = self.lone(scheme, frame)?;
        Ok((write, Sealed { compression: Compression::Zstd, ..sealed }))
    }

    /// Seals a small file as one slice of a pack.
    pub(crate) fn small(&self, plain: &[u8]) -> Result<SealedSmall, ClientError> {
        let shrunk = self.shrunk(plain);
        let (content, compression) = match &shrunk {
            Some(shrunk) => (&shrunk[..], Compression::Zstd),
            None => (plain, Compression::None),
        };
        let mut frames = Vec::new();
        let key = seal_into(&mut frames, content, &*self.entropy)?;
        let (plain_length, epoch) = (plain.len() as u32, self.keys.epoch());
        Ok(SealedSmall { frames, plain_length, compression, key, epoch })
    }

    /// Seals one slice of `padded` bytes that fills a segment of its own. `plain` has at least
    /// that many bytes; those behind the content are zero. Frames and cells coincide.
    pub(super) fn lone(
        &self,
        scheme: Scheme,
        plain: &[u8],
    ) -> Result<(SegmentWrite, Sealed), ClientError> {
        // The frame is the cell, whose size depends on the sealed length, which depends on the
        // frame: the largest cell that suits its own sealed length.
        let mut cell = FRAME;
        while cell > datamesh_core::descriptor::CELL_BYTES_MIN
            && datamesh_core::descriptor::cell_for(scheme, frame::sealed_length(plain.len(), cell))
                < cell
        {
            cell /= 2;
        }
        let length = frame::sealed_length(plain.len(), cell);
        let layout = Layout { scheme, cell, length };
        let mut buffer = self.pool.take(layout.buffer_length());
        let (mut sealer, key) = Sealer::draw(&*self.entropy);
        let count = frame::frame_count(plain.len(), cell);
        let mut pieces = plain.chunks(cell - TAG_BYTES);
        for number in 0..count {
            let piece = pieces.next().unwrap_or_default();
            let (shard, row) = (number % scheme.k(), number / scheme.k());
            let start = shard * layout.shard_length() + row * cell;
            let slot = &mut buffer[start..start + piece.len() + TAG_BYTES];
            sealer
                .seal(number + 1 == count, piece, slot)
                .map_err(|source| ClientError::Frame { segment: SegmentId([0; 32]), source })?;
        }
        layout.zero_fill(&mut buffer);
        let write = self.finish(layout, buffer)?;
        let sealed = Sealed {
            segment: write.ticket.segment,
            offset: 0,
            length: length as u32,
            frame: cell as u32,
            compression: Compression::None,
            key,
            epoch: self.keys.epoch(),
        };
        Ok((write, sealed))
    }

    /// Codes finished ciphertext, many slices behind one another, into a segment.
    pub(crate) fn packed(
        &self,
        scheme: Scheme,
        ciphertext: &[u8],
    ) -> Result<SegmentWrite, ClientError> {
        let layout = Layout::suited(scheme, ciphertext.len());
        let mut buffer = self.pool.take(layout.buffer_length());
        layout.scatter(ciphertext, &mut buffer);
        self.finish(layout, buffer)
    }

    /// Parity, roots, descriptor, ticket.
    fn finish(&self, layout: Layout, mut buffer: Buffer) -> Result<SegmentWrite, ClientError> {
        let roots = encode(&layout, &mut buffer)?;
        let lease_key = self.keys.lease_key(&roots)?;
        let descriptor = Descriptor {
            suite: SUITE_AES256GCM_BLAKE3_RS,
            scheme: layout.scheme,
            cell: layout.cell as u32,
            length: layout.length as u32,
            roots,
            lease_key,
        };
        let shard_length = layout.shard_length();
        let (mesh, segment) = (self.engine.mesh(), descriptor.id());
        let lease_end = self.engine.genesis().lease_end(self.engine.now());
        let grant_key = self.keys.grant();
        let ticket = grant_key.store_ticket(&mesh, segment, shard_length as u32, lease_end);
        let whole = buffer.into_bytes();
        let shards = (0..layout.scheme.n())
            .map(|i| whole.slice(i * shard_length..(i + 1) * shard_length))
            .collect();
        Ok(SegmentWrite {
            descriptor,
            shards,
            ticket,
            grant: Arc::clone(&self.grant),
            spread: self.spread,
        })
    }
}

/// Seals a slice in frames of a pack's size, behind one another in `frames`, which is empty.
fn seal_into(
    frames: &mut Vec<u8>,
    plain: &[u8],
    entropy: &dyn Entropy,
) -> Result<Secret, ClientError> {
    let (mut sealer, key) = Sealer::draw(entropy);
    let count = frame::frame_count(plain.len(), FRAME);
    frames.reserve(frame::sealed_length(plain.len(), FRAME));
    let mut pieces = plain.chunks(FRAME - TAG_BYTES);
    for number in 0..count {
        let piece = pieces.next().unwrap_or_default();
        let start = frames.len();
        frames.resize(start + piece.len() + TAG_BYTES, 0);
        sealer
            .seal(number + 1 == count, piece, &mut frames[start..])
            .map_err(|source| ClientError::Frame { segment: SegmentId([0; 32]), source })?;
    }
    Ok(key)
}
