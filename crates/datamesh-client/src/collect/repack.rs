//! Repacking: segments of which less than half is still referred to give their living slices to
//! fresh ones, and small segments are merged.
//!
//! Slices are copied as they are sealed: nothing in them says where they belong, so no key is needed
//! for their bytes, and none is drawn anew.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::descriptor::SEGMENT_BYTES_MAX;
use datamesh_core::padding::padme;
use datamesh_core::{BoxFuture, Scheme, SegmentId, VersionId};
use datamesh_crypto::Slice;
use datamesh_engine::{Spread, Urgency};

use super::rewrite::{Moves, Rewritten, kind_of};
use crate::client::Client;
use crate::error::ClientError;
use crate::pipeline::FRAME;

/// Segments with fewer bytes are merged, where there are enough of them.
const SMALL_BYTES: usize = 256 * 1024;

/// How many small segments there must be before they are merged.
const SMALL_MIN: usize = 8;

/// Bytes that are copied in one run: their new segments are stored before the old ones go. The rest is
/// for the next run.
const COPIED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Segments whose length is asked for in one run.
const ASKED_MAX: usize = 16 * 1024;

/// What repacking did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repacked {
    /// Segments of which less than half was referred to.
    pub sparse: u64,
    /// Small ones that were merged.
    pub small: u64,
    /// Bytes of ciphertext in all of them.
    pub bytes: u64,
    /// Bytes of these that are referred to.
    pub live_bytes: u64,
    /// What came of it.
    pub rewritten: Rewritten,
}

/// What versions refer to in a segment.
struct Live {
    kind: (Scheme, Spread),
    /// Offsets and lengths.
    slices: BTreeMap<u32, u32>,
    /// The frames are those of a packed segment.
    packed: bool,
}

impl Live {
    fn bytes(&self) -> u64 {
        self.slices.values().map(|length| u64::from(*length)).sum()
    }
}

/// A segment that is to be emptied.
struct Emptied {
    segment: SegmentId,
    slices: BTreeMap<u32, u32>,
}

impl Client {
    /// Repacks, or only tells what that would do.
    ///
    /// # Errors
    /// As [`cleanup`](Self::cleanup).
    pub fn defragment(&self, dry_run: bool) -> BoxFuture<'_, Result<Repacked, ClientError>> {
        Box::pin(async move {
            let _moving = self.publication.moving.lock().await;
            self.know_newest().await?;
            self.repack(dry_run).await
        })
    }

    /// Repacks.
    ///
    /// # Errors
    /// [`ClientError::MayBeOld`] where this device may not know the newest; where a manifest or a
    /// segment cannot be read, or none can be stored. What was done by then stays.
    pub(super) async fn repack(&self, dry_run: bool) -> Result<Repacked, ClientError> {
        let mut repacked = Repacked::default();
        for (kind, emptied) in self.to_be_emptied(&mut repacked).await? {
            if dry_run {
                continue;
            }
            let done = self.empty(kind, &emptied).await?;
            let pending = done.pending;
            repacked.rewritten.add(done);
            if pending > 0 {
                break;
            }
        }
        Ok(repacked)
    }

    /// The segments that are worth emptying, by their kind.
    async fn to_be_emptied(
        &self,
        repacked: &mut Repacked,
    ) -> Result<BTreeMap<(Scheme, Spread), Vec<Emptied>>, ClientError> {
        let mut live: BTreeMap<SegmentId, Live> = BTreeMap::new();
        self.each_live(|put, manifest| {
            let Some(kind) = kind_of(put) else { return };
            for slice in &manifest.slices {
                let entry = live.entry(slice.segment).or_insert_with(|| Live {
                    kind,
                    slices: BTreeMap::new(),
                    packed: slice.frame as usize == FRAME,
                });
                // What any version wants on domains of their own stays so.
                if kind.1 == Spread::Strict {
                    entry.kind.1 = Spread::Strict;
                }
                entry.slices.insert(slice.offset, slice.length);
            }
        })
        .await?;
        // Half of the largest segment is half of any.
        live.retain(|_, live| live.packed && live.bytes() < SEGMENT_BYTES_MAX as u64 / 2);
        let mut sparse: BTreeMap<_, Vec<Emptied>> = BTreeMap::new();
        let mut small: BTreeMap<_, Vec<(Emptied, u64)>> = BTreeMap::new();
        let mut copied = 0;
        for (segment, live) in live.into_iter().take(ASKED_MAX) {
            let Some(descriptor) = self.engine.descriptor_of(&segment).await else { continue };
            let (length, bytes) = (u64::from(descriptor.length), live.bytes());
            let is_sparse = bytes * 2 < length;
            if copied + bytes as usize > COPIED_BYTES_MAX {
                break;
            }
            let kind = live.kind;
            let emptied = Emptied { segment, slices: live.slices };
            if is_sparse {
                repacked.sparse += 1;
                repacked.bytes += length;
                repacked.live_bytes += bytes;
                copied += bytes as usize;
                sparse.entry(kind).or_default().push(emptied);
            } else if length < SMALL_BYTES as u64 {
                copied += bytes as usize;
                small.entry(kind).or_default().push((emptied, length));
            }
        }
        for (kind, small) in small {
            if small.len() < SMALL_MIN {
                continue;
            }
            for (emptied, length) in small {
                repacked.small += 1;
                repacked.bytes += length;
                repacked.live_bytes +=
                    emptied.slices.values().map(|length| u64::from(*length)).sum::<u64>();
                sparse.entry(kind).or_default().push(emptied);
            }
        }
        Ok(sparse)
    }

    /// Copies the living slices of segments of one kind to fresh segments, and rewrites.
    async fn empty(
        &self,
        kind: (Scheme, Spread),
        emptied: &[Emptied],
    ) -> Result<Rewritten, ClientError> {
        let (scheme, spread) = kind;
        let sender = self.resender(spread);
        let mut moves = Moves::default();
        let mut places: BTreeMap<(SegmentId, u32), (SegmentId, u32)> = BTreeMap::new();
        let (mut ciphertext, mut waiting) = (Vec::new(), Vec::new());
        let (mut made, mut made_bytes) = (0, 0);
        let mut rest = emptied.iter().peekable();
        while let Some(Emptied { segment, slices }) = rest.next() {
            let read = self.engine.read_segment(segment, &Urgency::default()).await?;
            for (offset, length) in slices {
                let (start, end) = (*offset as usize, (*offset + *length) as usize);
                if end > read.descriptor.length as usize {
                    return Err(ClientError::Slice { segment: *segment });
                }
                let sealed = read.gather(start..end);
                if ciphertext.len() + sealed.len() > SEGMENT_BYTES_MAX {
                    let full = std::mem::take(&mut ciphertext);
                    made += 1;
                    made_bytes += full.len() as u64;
                    self.pour(&sender, scheme, full, &mut waiting, &mut places, &mut moves).await?;
                }
                waiting.push(((*segment, *offset), ciphertext.len() as u32));
                ciphertext.extend_from_slice(&sealed);
            }
            if rest.peek().is_none() && !ciphertext.is_empty() {
                let last = std::mem::take(&mut ciphertext);
                made += 1;
                made_bytes += last.len() as u64;
                self.pour(&sender, scheme, last, &mut waiting, &mut places, &mut moves).await?;
            }
        }
        let mut versions: BTreeSet<VersionId> = BTreeSet::new();
        let slices = &mut moves.slices;
        self.each_live(|put, manifest| {
            for slice in &manifest.slices {
                let before = (slice.segment, slice.offset);
                let Some((segment, offset)) = places.get(&before) else { continue };
                let now = Slice { segment: *segment, offset: *offset, ..slice.clone() };
                slices.insert(before, now);
                versions.insert(put.version);
            }
        })
        .await?;
        let mut rewritten = self.rewrite(&versions, moves, &sender).await?;
        (rewritten.made, rewritten.made_bytes) = (made, made_bytes);
        Ok(rewritten)
    }

    /// Stores slices behind one another as a segment, padded, and notes where they are.
    async fn pour(
        &self,
        sender: &crate::pipeline::sending::Sender,
        scheme: Scheme,
        mut ciphertext: Vec<u8>,
        waiting: &mut Vec<((SegmentId, u32), u32)>,
        places: &mut BTreeMap<(SegmentId, u32), (SegmentId, u32)>,
        moves: &mut Moves,
    ) -> Result<(), ClientError> {
        let length = ciphertext.len();
        ciphertext.resize(padme(length as u64) as usize, 0);
        self.entropy.fill(&mut ciphertext[length..]);
        let (segment, made) = self.store_again(sender, scheme, ciphertext).await?;
        moves.made.insert(segment, made);
        places.extend(waiting.drain(..).map(|(before, offset)| (before, (segment, offset))));
        Ok(())
    }
}
