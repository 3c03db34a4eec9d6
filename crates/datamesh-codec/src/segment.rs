//! A segment as a whole: parity and roots when it is written, rebuilding when shards are missing.
//!
//! A segment's bytes are, by definition, the data shards that match their roots. What is rebuilt
//! is checked against the roots before anybody sees it.

use bytes::Bytes;
use datamesh_core::{Descriptor, Hash, SegmentId};

use crate::code::{CodeError, erasure_code};
use crate::layout::Layout;
use crate::pool::Pool;

/// Why shards do not make a segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The erasure code cannot work with what it was given.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// A shard's bytes do not match its root.
    #[error("shard {shard} of segment {segment} does not match its root")]
    Root {
        /// The segment.
        segment: SegmentId,
        /// The shard.
        shard: usize,
    },
    /// A shard has the wrong length, or there is none of that number.
    #[error("shard {shard} of segment {segment} has {length} bytes instead of {expected}")]
    Length {
        /// The segment.
        segment: SegmentId,
        /// The shard.
        shard: usize,
        /// Bytes it has.
        length: usize,
        /// Bytes it should have.
        expected: usize,
    },
    /// Fewer than k shards are there.
    #[error("segment {segment} has {present} shards, {needed} are needed")]
    TooFew {
        /// The segment.
        segment: SegmentId,
        /// Shards that are there.
        present: usize,
        /// Shards that are needed.
        needed: usize,
    },
}

/// Makes the parity shards of a buffer in shard order whose data shards are filled, and returns
/// the root of every shard.
///
/// # Errors
/// [`CodeError`] where the buffer is not [`Layout::buffer_length`] bytes long.
pub fn encode(layout: &Layout, buffer: &mut [u8]) -> Result<Vec<Hash>, CodeError> {
    let length = layout.shard_length();
    if buffer.len() != layout.buffer_length() {
        let reason = format!("a buffer of {} bytes", buffer.len());
        return Err(CodeError { scheme: layout.scheme, reason });
    }
    let (data, parity) = buffer.split_at_mut(length * layout.scheme.k());
    let data: Vec<&[u8]> = data.chunks_exact(length).collect();
    let mut parity: Vec<&mut [u8]> = parity.chunks_exact_mut(length).collect();
    erasure_code(layout.scheme)?.encode(&data, &mut parity)?;
    Ok(buffer.chunks_exact(length).map(Hash::of).collect())
}

/// Checks one whole shard against its root.
///
/// # Errors
/// [`CodecError::Length`] or [`CodecError::Root`].
pub fn check_shard(descriptor: &Descriptor, shard: usize, cells: &[u8]) -> Result<(), CodecError> {
    let expected = descriptor.shard_length();
    let (Some(root), true) = (descriptor.roots.get(shard), cells.len() == expected) else {
        let (segment, length) = (descriptor.id(), cells.len());
        return Err(CodecError::Length { segment, shard, length, expected });
    };
    if Hash::of(cells) != *root {
        return Err(CodecError::Root { segment: descriptor.id(), shard });
    }
    Ok(())
}

/// Rebuilds the shards that `wanted` lists from any k others, and checks each against its root
/// before returning it. `shards` has n places; those that are there must have been checked.
///
/// # Errors
/// [`CodecError::TooFew`] below k shards; [`CodecError::Root`] where a rebuilt shard does not match,
/// which means that the writer's descriptor lied or this machine miscounts.
pub fn rebuild(
    descriptor: &Descriptor,
    shards: &[Option<Bytes>],
    wanted: &[usize],
    pool: &Pool,
) -> Result<Vec<Bytes>, CodecError> {
    let scheme = descriptor.scheme;
    let present = shards.iter().flatten().count();
    if present < scheme.k() {
        return Err(CodecError::TooFew { segment: descriptor.id(), present, needed: scheme.k() });
    }
    let length = descriptor.shard_length();
    let sources: Vec<Option<&[u8]>> = shards.iter().map(Option::as_deref).collect();
    let mut buffer = pool.take(length * wanted.len());
    let mut out: Vec<&mut [u8]> = buffer.chunks_exact_mut(length).collect();
    erasure_code(scheme)?.rebuild(&sources, wanted, &mut out)?;
    let whole = buffer.into_bytes();
    let mut rebuilt = Vec::with_capacity(wanted.len());
    for (place, &shard) in wanted.iter().enumerate() {
        let cells = whole.slice(place * length..(place + 1) * length);
        check_shard(descriptor, shard, &cells)?;
        rebuilt.push(cells);
    }
    Ok(rebuilt)
}
