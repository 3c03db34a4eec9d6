//! Slices of versions are opened, sealed under fresh keys and put into segments of their own or together, in
//! the scheme of their version. Every new slice is read back and compared with what was sealed before its
//! version is rewritten. Versions go in batches, each of which is committed before its old segments are
//! released, so one that breaks off goes on with the versions that are left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use datamesh_core::descriptor::SEGMENT_BYTES_MAX;
use datamesh_core::padding::padme;
use datamesh_core::{Scheme, SegmentId, VersionId};
use datamesh_crypto::Slice;
use datamesh_crypto::manifest::Compression;
use datamesh_engine::{Spread, Urgency, block};
use futures::stream::{self, StreamExt};

use super::rewrite::{Made, Moves, Rewritten};
use crate::client::Client;
use crate::error::ClientError;
use crate::pipeline::segment::{Forge, SealedSmall};
use crate::pipeline::sending::{Sender, Sending};
use crate::pipeline::slices::{Fetch, Opening};
use crate::pipeline::{Compress, FRAME, SEGMENT_PLAIN};

/// Bytes of content that are sealed anew before their versions are committed, unless one version has
/// more.
const BATCH_BYTES: u64 = 256 << 20;

/// Slices whose place is remembered, for other versions that have them too. Beyond, content that
/// several versions share is stored once for each.
const PLACES_MAX: usize = 256 * 1024;

/// Slices of segments of their own that are opened, sealed and sent at once.
const AT_ONCE: usize = 4;

/// How a version is stored.
pub(super) type Kind = (Scheme, Spread);

/// Which slices are sealed anew, and how.
#[derive(Clone, Copy)]
pub(super) struct Reseal<'a> {
    /// Says of a slice whether it is to be.
    pub(super) wanted: &'a (dyn Fn(&Slice) -> bool + Sync),
    /// Only where it takes less room then, by an eighth.
    pub(super) smaller: bool,
}

/// Whether a slice fills a segment of its own, or most of one.
pub(super) fn is_lone(slice: &Slice) -> bool {
    slice.frame as usize != FRAME || slice.length as usize > SEGMENT_BYTES_MAX / 2
}

/// Whether a slice that would have so many bytes of ciphertext is worth moving.
pub(super) fn is_worth(before: &Slice, bytes: usize) -> bool {
    let before = before.length as usize;
    bytes <= before - before / 8
}

/// Where slices are now, by where they were; nothing for one that stays, because it would not become smaller.
#[derive(Default)]
struct Places(BTreeMap<(SegmentId, u32), Option<Slice>>);

impl Places {
    fn remember(&mut self, before: (SegmentId, u32), now: Option<Slice>) {
        if self.0.len() < PLACES_MAX {
            self.0.insert(before, now);
        }
    }
}

/// Small slices on their way into one segment.
#[derive(Default)]
struct Pack {
    ciphertext: Vec<u8>,
    /// Where each was, and what it is now but for its segment.
    members: Vec<Slice>,
    before: Vec<(SegmentId, u32)>,
}

impl Client {
    /// Seals slices of versions anew: for each kind the versions, and the bytes of theirs that are wanted.
    ///
    /// # Errors
    /// Where a slice cannot be read or stored. What was committed by then stays.
    pub(super) async fn reseal(
        &self,
        versions: BTreeMap<Kind, Vec<(VersionId, u64)>>,
        reseal: Reseal<'_>,
    ) -> Result<Rewritten, ClientError> {
        let mut rewritten = Rewritten::default();
        for (kind, versions) in versions {
            let mut places = Places::default();
            let mut rest = versions.into_iter().peekable();
            while let Some((first, mut bytes)) = rest.next() {
                let mut batch = BTreeSet::from([first]);
                while let Some((version, more)) =
                    rest.next_if(|(_, more)| bytes + more <= BATCH_BYTES)
                {
                    batch.insert(version);
                    bytes += more;
                }
                let done = self.seal_anew(kind, &batch, reseal, &mut places).await?;
                let pending = done.pending;
                rewritten.add(done);
                if pending > 0 {
                    return Ok(rewritten);
                }
            }
        }
        Ok(rewritten)
    }

    /// Seals slices of these versions anew and rewrites the versions.
    async fn seal_anew(
        &self,
        kind: Kind,
        versions: &BTreeSet<VersionId>,
        reseal: Reseal<'_>,
        places: &mut Places,
    ) -> Result<Rewritten, ClientError> {
        let sender = self.resender(kind.1);
        let (opening, fetch) = (Opening::of(self), Fetch::Shared(Arc::default()));
        let (mut moves, mut pack) = (Moves::default(), Pack::default());
        let (mut made, mut made_bytes) = (0, 0);
        let mut lone: BTreeMap<(SegmentId, u32), Slice> = BTreeMap::new();
        for version in versions {
            let Some((_, manifest)) = self.live_version(*version).await? else { continue };
            for slice in manifest.slices.iter().filter(|slice| (reseal.wanted)(slice)) {
                let before = (slice.segment, slice.offset);
                let taken = moves.slices.contains_key(&before) || lone.contains_key(&before);
                if taken || pack.before.contains(&before) {
                    continue;
                }
                if let Some(place) = places.0.get(&before) {
                    if let Some(now) = place {
                        // Sealed for an earlier batch, whose versions refer to it.
                        moves.referred.insert(now.segment);
                        moves.slices.insert(before, now.clone());
                    }
                    continue;
                }
                if is_lone(slice) {
                    lone.insert(before, slice.clone());
                    continue;
                }
                let all = 0..slice.plain_length as usize;
                let urgent = Arc::new(Urgency::default());
                let plain = opening.slice(slice, all, &fetch, &urgent).await?.plain;
                let sealed = self.seal_small(kind.1, slice, plain, reseal).await?;
                if reseal.smaller && !is_worth(slice, sealed.frames.len()) {
                    places.remember(before, None);
                    continue;
                }
                made_bytes += sealed.frames.len() as u64;
                if pack.ciphertext.len() + sealed.frames.len() > SEGMENT_BYTES_MAX {
                    made += 1;
                    self.pour_pack(&sender, kind.0, &mut pack, &mut moves).await?;
                }
                pack.take(slice, sealed);
            }
        }
        let sealing = lone.into_iter().map(|(before, slice)| async move {
            self.seal_lone(kind, &slice, reseal).await.map(|sealed| (before, sealed))
        });
        let mut sealing = stream::iter(sealing).buffer_unordered(AT_ONCE);
        while let Some(sealed) = sealing.next().await {
            let (before, sealed) = sealed?;
            let Some((now, segment)) = sealed else {
                places.remember(before, None);
                continue;
            };
            made += 1;
            made_bytes += u64::from(now.length);
            moves.made.insert(now.segment, segment);
            moves.slices.insert(before, now);
        }
        drop(sealing);
        if !pack.members.is_empty() {
            made += 1;
            self.pour_pack(&sender, kind.0, &mut pack, &mut moves).await?;
        }
        for (before, now) in &moves.slices {
            places.remember(*before, Some(now.clone()));
        }
        let mut rewritten = self.rewrite(versions, moves, &sender).await?;
        (rewritten.made, rewritten.made_bytes) = (made, made_bytes);
        Ok(rewritten)
    }

    /// What seals a slice again: compressed if it was, or as small as can be.
    fn forge(&self, spread: Spread, slice: &Slice, reseal: Reseal<'_>) -> Forge {
        let compress = match slice.compression {
            _ if reseal.smaller => Compress::Rest,
            Compression::Zstd => Compress::Auto,
            Compression::None => Compress::Off,
        };
        Forge::new(self, spread, compress)
    }

    /// Seals a small slice, away from the tasks: compressing may take its time.
    async fn seal_small(
        &self,
        spread: Spread,
        slice: &Slice,
        plain: Bytes,
        reseal: Reseal<'_>,
    ) -> Result<SealedSmall, ClientError> {
        let forge = self.forge(spread, slice, reseal);
        let sealed = block(self.executor(), move || forge.small(&plain)).await;
        sealed.unwrap_or(Err(ClientError::Shutdown))
    }

    /// Stores a slice in a segment of its own and compares what comes back; nothing where it was to become
    /// smaller and would not.
    async fn seal_lone(
        &self,
        (scheme, spread): Kind,
        slice: &Slice,
        reseal: Reseal<'_>,
    ) -> Result<Option<(Slice, Made)>, ClientError> {
        let (opening, urgent) = (Opening::of(self), Arc::new(Urgency::default()));
        let filled = slice.plain_length as usize;
        let plain = opening.slice(slice, 0..filled, &Fetch::Alone, &urgent).await?.plain;
        let forge = self.forge(spread, slice, reseal);
        let sender = Sender { forge: forge.clone(), ..self.resender(spread) };
        let (stored, sealed) = if reseal.smaller {
            let content = plain.clone();
            let frame = block(self.executor(), move || forge.frame_of(&content)).await;
            let Some(frame) = frame.ok_or(ClientError::Shutdown)? else { return Ok(None) };
            if !is_worth(slice, frame.len()) {
                return Ok(None);
            }
            let make = move |forge: &Forge| forge.lone_frame(scheme, &frame);
            sender.send(make, Sending::begin).await?
        } else {
            let padded = (padme(filled as u64) as usize).min(SEGMENT_PLAIN);
            let mut buffer = self.pool.take(padded);
            buffer[..filled].copy_from_slice(&plain);
            buffer[filled..].fill(0);
            let make = move |forge: &Forge| forge.slice(scheme, &buffer, filled);
            sender.send(make, Sending::begin).await?
        };
        let now = sealed.slice(slice.plain_length, slice.tag);
        if opening.slice(&now, 0..filled, &Fetch::Alone, &urgent).await?.plain != plain {
            return Err(ClientError::Slice { segment: now.segment });
        }
        let (margin, owed, sending) = (stored.margin, stored.owed, stored.sending);
        Ok(Some((now, Made { margin, owed, sending })))
    }

    /// Stores small slices together.
    async fn pour_pack(
        &self,
        sender: &Sender,
        scheme: Scheme,
        pack: &mut Pack,
        moves: &mut Moves,
    ) -> Result<(), ClientError> {
        let Pack { mut ciphertext, members, before } = std::mem::take(pack);
        let length = ciphertext.len();
        ciphertext.resize(padme(length as u64) as usize, 0);
        self.entropy.fill(&mut ciphertext[length..]);
        let (segment, made) = self.store_again(sender, scheme, ciphertext).await?;
        moves.made.insert(segment, made);
        for (before, member) in before.into_iter().zip(members) {
            moves.slices.insert(before, Slice { segment, ..member });
        }
        Ok(())
    }
}

impl Pack {
    fn take(&mut self, before: &Slice, sealed: SealedSmall) {
        let SealedSmall { frames, plain_length, compression, key, epoch } = sealed;
        self.before.push((before.segment, before.offset));
        self.members.push(Slice {
            segment: before.segment,
            offset: self.ciphertext.len() as u32,
            length: frames.len() as u32,
            plain_length,
            frame: FRAME as u32,
            compression,
            key,
            tag: before.tag,
            epoch,
        });
        self.ciphertext.extend_from_slice(&frames);
    }
}
