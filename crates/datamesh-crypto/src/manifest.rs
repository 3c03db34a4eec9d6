//! Manifests: the recipe of a version.
//!
//! Layout in `docs/specs/manifest.md`. A manifest holds the slices' keys, so it exists in the clear
//! only inside the owner's process; stored, it is sealed under its version key ([`crate::content`]).

use datamesh_core::descriptor::SEGMENT_BYTES_MAX;
use datamesh_core::wire::{Decode, Encode, Reader, WireError, Writer};
use datamesh_core::{ContentTag, Hash, SegmentId};

use crate::Secret;
use crate::frame::{self, FRAME_BYTES_MAX, FRAME_BYTES_MIN};

/// How a slice's plaintext was compressed before sealing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// One zstd frame; the slice opens whole.
    Zstd,
}

/// A range of a segment under one key.
#[derive(Clone, PartialEq, Eq)]
pub struct Slice {
    /// The segment.
    pub segment: SegmentId,
    /// Where in the segment's ciphertext the slice begins.
    pub offset: u32,
    /// Bytes of ciphertext.
    pub length: u32,
    /// Bytes of the file in it: what is left of the opened bytes after padding is cut and
    /// compression undone.
    pub plain_length: u32,
    /// Bytes of a frame, tag included: a power of two.
    pub frame: u32,
    /// Compression.
    pub compression: Compression,
    /// The slice's key.
    pub key: Secret,
    /// What tells its content from other content of the account; zeros where nobody is to find it.
    pub tag: ContentTag,
    /// The catalog epoch in which the key was drawn: devices that were revoked before never saw it.
    pub epoch: u32,
}

impl std::fmt::Debug for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slice({} {}+{})", self.segment, self.offset, self.length)
    }
}

impl Slice {
    /// Encoded size in bytes.
    pub const BYTES: usize = 32 + 4 + 4 + 4 + 1 + 1 + 32 + 16 + 4;

    /// Frames in the slice.
    pub fn frames(&self) -> usize {
        (self.length as usize).div_ceil(self.frame as usize)
    }

    /// Bytes of plaintext in the sealed frames, padding included.
    pub fn opened_length(&self) -> usize {
        self.length as usize - frame::TAG_BYTES * self.frames()
    }
}

impl Encode for Slice {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.segment.0).u32(self.offset).u32(self.length).u32(self.plain_length);
        out.u8(self.frame.ilog2() as u8);
        out.u8(match self.compression {
            Compression::None => 0,
            Compression::Zstd => 1,
        });
        out.raw(&*self.key).raw(&self.tag.0).u32(self.epoch);
    }
}

impl Decode for Slice {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let segment = SegmentId::decode(from)?;
        let (offset, length, plain_length) = (from.u32()?, from.u32()?, from.u32()?);
        let frame = 1u32
            .checked_shl(u32::from(from.u8()?))
            .filter(|frame| (FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&(*frame as usize)))
            .ok_or(WireError::Invalid { field: "slice frame" })?;
        let compression = match from.u8()? {
            0 => Compression::None,
            1 => Compression::Zstd,
            _ => return Err(WireError::Invalid { field: "slice compression" }),
        };
        let key = Secret::new(from.array()?);
        let tag = ContentTag::decode(from)?;
        let epoch = from.u32()?;
        let slice =
            Self { segment, offset, length, plain_length, frame, compression, key, tag, epoch };
        let tags = frame::TAG_BYTES * slice.frames();
        // Each frame has room for its tag, the last one too.
        let last = (length as usize).wrapping_sub(1) % frame as usize + 1;
        let plain_max = match compression {
            Compression::None => length as usize - tags.min(length as usize),
            // What a reader makes room for before it has seen a byte.
            Compression::Zstd => SEGMENT_BYTES_MAX,
        };
        let fits = length > 0
            && last >= frame::TAG_BYTES
            && offset.checked_add(length).is_some()
            && plain_length as usize <= plain_max;
        if !fits {
            return Err(WireError::Invalid { field: "slice length" });
        }
        Ok(slice)
    }
}

/// The recipe of a version: its slices in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Bytes of the version's plaintext: the sum of the slices' plain lengths.
    pub size: u64,
    /// BLAKE3 of the version's plaintext.
    pub hash: Hash,
    /// Bytes of plaintext that the account had stored already when the version was made.
    pub known: u64,
    /// The slices.
    pub slices: Vec<Slice>,
}

impl Manifest {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;
}

impl Encode for Manifest {
    fn encode(&self, out: &mut Writer) {
        out.u8(Self::VERSION).u64(self.size).raw(&self.hash.0).u64(self.known);
        out.u32(self.slices.len() as u32);
        for slice in &self.slices {
            slice.encode(out);
        }
    }
}

impl Decode for Manifest {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("manifest", Self::VERSION)?;
        let (size, hash, known) = (from.u64()?, Hash::decode(from)?, from.u64()?);
        let count = from.u32()? as usize;
        // The slices must really be there before anything is reserved for them.
        if from.remaining() / Slice::BYTES < count {
            return Err(WireError::Short { have: from.remaining(), need: count * Slice::BYTES });
        }
        let mut slices = Vec::with_capacity(count);
        let mut sum = 0u64;
        for _ in 0..count {
            let slice = Slice::decode(from)?;
            sum += u64::from(slice.plain_length);
            slices.push(slice);
        }
        if sum != size {
            return Err(WireError::Invalid { field: "manifest size" });
        }
        if known > size {
            return Err(WireError::Invalid { field: "manifest bytes known" });
        }
        Ok(Self { size, hash, known, slices })
    }
}
