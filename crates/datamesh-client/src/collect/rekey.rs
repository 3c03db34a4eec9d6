//! Sealing anew: whatever a device that was revoked could still open or release is stored once more under
//! keys of the newest epoch, and the old segments are released.
//!
//! A slice says in which epoch its key was drawn; those of earlier epochs are opened, sealed under
//! fresh keys and put into segments of their own or together, in the scheme of their version. Every new
//! slice is read back and compared with what was sealed before its version is rewritten. Versions go
//! in batches, each of which is committed before its old segments are released, so one that breaks off
//! goes on with the versions that are left. Pages of the logs come last: see `catalog/renewal.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datamesh_core::descriptor::SEGMENT_BYTES_MAX;
use datamesh_core::padding::padme;
use datamesh_core::{BoxFuture, Scheme, SegmentId, VersionId};
use datamesh_crypto::Slice;
use datamesh_crypto::manifest::Compression;
use datamesh_engine::{Spread, Urgency};
use futures::stream::{self, StreamExt};

use super::rewrite::{Made, Moves, Rewritten, kind_of};
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

/// What was sealed anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// The epoch whose keys everything has now.
    pub epoch: u32,
    /// Versions that had slices under earlier keys.
    pub versions: u64,
    /// Bytes of plaintext in these slices.
    pub bytes: u64,
    /// What came of rewriting them.
    pub rewritten: Rewritten,
    /// Logs whose pages were stored anew.
    pub logs: u64,
}

/// How a version is stored.
type Kind = (Scheme, Spread);

/// Slices that were sealed anew, by where they were.
type Places = BTreeMap<(SegmentId, u32), Slice>;

/// Small slices on their way into one segment.
#[derive(Default)]
struct Pack {
    ciphertext: Vec<u8>,
    /// Where each was, and what it is now but for its segment.
    members: Vec<Slice>,
    before: Vec<(SegmentId, u32)>,
}

impl Client {
    /// Seals everything anew that was sealed in an epoch before the newest.
    ///
    /// # Errors
    /// [`ClientError::MayBeOld`] where this device may not know the newest; where a slice cannot be read
    /// or stored. What was committed by then stays, and another call does the rest.
    pub fn rekey(&self) -> BoxFuture<'_, Result<Rekeyed, ClientError>> {
        Box::pin(async move {
            let _moving = self.publication.moving.lock().await;
            self.know_newest().await?;
            let epoch = self.keys.epoch();
            let mut rekeyed = Rekeyed { epoch, ..Rekeyed::default() };
            let mut old: BTreeMap<Kind, Vec<(VersionId, u64)>> = BTreeMap::new();
            self.each_live(|put, manifest| {
                let slices = manifest.slices.iter().filter(|slice| slice.epoch < epoch);
                let bytes: u64 = slices.map(|slice| u64::from(slice.plain_length)).sum();
                if let Some(kind) = kind_of(put)
                    && manifest.slices.iter().any(|slice| slice.epoch < epoch)
                {
                    old.entry(kind).or_default().push((put.version, bytes));
                    rekeyed.versions += 1;
                    rekeyed.bytes += bytes;
                }
            })
            .await?;
            for (kind, versions) in old {
                let mut places = Places::new();
                let mut rest = versions.into_iter().peekable();
                while let Some((first, mut bytes)) = rest.next() {
                    let mut batch = BTreeSet::from([first]);
                    while let Some((version, more)) =
                        rest.next_if(|(_, more)| bytes + more <= BATCH_BYTES)
                    {
                        batch.insert(version);
                        bytes += more;
                    }
                    let done = self.seal_anew(kind, &batch, epoch, &mut places).await?;
                    let pending = done.pending;
                    rekeyed.rewritten.add(done);
                    if pending > 0 {
                        return Ok(rekeyed);
                    }
                }
            }
            rekeyed.logs = self.renew_pages().await?;
            Ok(rekeyed)
        })
    }

    /// Seals the old slices of these versions anew and rewrites the versions.
    async fn seal_anew(
        &self,
        kind: Kind,
        versions: &BTreeSet<VersionId>,
        epoch: u32,
        places: &mut Places,
    ) -> Result<Rewritten, ClientError> {
        let sender = self.resender(kind.1);
        let (opening, fetch) = (Opening::of(self), Fetch::Shared(Arc::default()));
        let (mut moves, mut pack) = (Moves::default(), Pack::default());
        let (mut made, mut made_bytes) = (0, 0);
        let mut lone: BTreeMap<(SegmentId, u32), Slice> = BTreeMap::new();
        for version in versions {
            let Some((_, manifest)) = self.live_version(*version).await? else { continue };
            for slice in manifest.slices.iter().filter(|slice| slice.epoch < epoch) {
                let before = (slice.segment, slice.offset);
                let taken = moves.slices.contains_key(&before) || lone.contains_key(&before);
                if taken || pack.before.contains(&before) {
                    continue;
                }
                if let Some(now) = places.get(&before) {
                    // Sealed for an earlier batch, whose versions refer to it.
                    moves.referred.insert(now.segment);
                    moves.slices.insert(before, now.clone());
                    continue;
                }
                made_bytes += u64::from(slice.length);
                if slice.frame as usize != FRAME || slice.length as usize > SEGMENT_BYTES_MAX / 2 {
                    lone.insert(before, slice.clone());
                    continue;
                }
                let all = 0..slice.plain_length as usize;
                let urgent = Arc::new(Urgency::default());
                let plain = opening.slice(slice, all, &fetch, &urgent).await?.plain;
                let sealed = self.forge(kind.1, slice).small(&plain)?;
                if pack.ciphertext.len() + sealed.frames.len() > SEGMENT_BYTES_MAX {
                    made += 1;
                    self.pour_pack(&sender, kind.0, &mut pack, &mut moves).await?;
                }
                pack.take(slice, sealed);
            }
        }
        made += lone.len() as u64;
        let sealing = lone.into_iter().map(|(before, slice)| async move {
            self.seal_lone(kind, &slice).await.map(|(now, segment)| (before, now, segment))
        });
        let mut sealing = stream::iter(sealing).buffer_unordered(AT_ONCE);
        while let Some(sealed) = sealing.next().await {
            let (before, now, segment) = sealed?;
            moves.made.insert(now.segment, segment);
            moves.slices.insert(before, now);
        }
        drop(sealing);
        if !pack.members.is_empty() {
            made += 1;
            self.pour_pack(&sender, kind.0, &mut pack, &mut moves).await?;
        }
        for (before, now) in &moves.slices {
            if places.len() < PLACES_MAX {
                places.insert(*before, now.clone());
            }
        }
        let mut rewritten = self.rewrite(versions, moves, &sender).await?;
        (rewritten.made, rewritten.made_bytes) = (made, made_bytes);
        Ok(rewritten)
    }

    /// What seals a slice again: compressed if it was.
    fn forge(&self, spread: Spread, slice: &Slice) -> Forge {
        let compress = match slice.compression {
            Compression::Zstd => Compress::Auto,
            Compression::None => Compress::Off,
        };
        Forge::new(self, spread, compress)
    }

    /// Stores a slice in a segment of its own and compares what comes back.
    async fn seal_lone(
        &self,
        (scheme, spread): Kind,
        slice: &Slice,
    ) -> Result<(Slice, Made), ClientError> {
        let (opening, urgent) = (Opening::of(self), Arc::new(Urgency::default()));
        let filled = slice.plain_length as usize;
        let plain = opening.slice(slice, 0..filled, &Fetch::Alone, &urgent).await?.plain;
        let sender = Sender { forge: self.forge(spread, slice), ..self.resender(spread) };
        let padded = (padme(filled as u64) as usize).min(SEGMENT_PLAIN);
        let mut buffer = self.pool.take(padded);
        buffer[..filled].copy_from_slice(&plain);
        buffer[filled..].fill(0);
        let make = move |forge: &Forge| forge.slice(scheme, &buffer, filled);
        let (stored, sealed) = sender.send(make, Sending::begin).await?;
        let now = sealed.slice(slice.plain_length, slice.tag);
        if opening.slice(&now, 0..filled, &Fetch::Alone, &urgent).await?.plain != plain {
            return Err(ClientError::Slice { segment: now.segment });
        }
        let (margin, owed, sending) = (stored.margin, stored.owed, stored.sending);
        Ok((now, Made { margin, owed, sending }))
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
