//! Rewriting: the content of versions is moved to other segments, and an operation for each version
//! says where it is now.
//!
//! Whoever moves slices stores and checks the new segments first and commits the operations in one
//! transaction. Only when a quorum has these, and this device knows the newest, are the old segments
//! released, and only those that nothing refers to by then. Whatever happens in between, a version's
//! content is where the operations that count say: old and new are both there until the end. What a
//! crash leaves is in the journal, or is an orphan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datamesh_catalog::{Append, Contents, Entry, OPERATIONS_MAX, Owed};
use datamesh_core::catalog::{
    Change, Content, MANIFEST_INLINE_BYTES_MAX, Protection, Put, Rewrite,
};
use datamesh_core::wire::Encode;
use datamesh_core::{Scheme, SegmentId, VersionId};
use datamesh_crypto::{Manifest, Slice, VersionKey};
use datamesh_engine::Spread;

use super::contents::add_manifest;
use super::release::{Released, Renewals};
use crate::client::Client;
use crate::error::ClientError;
use crate::pipeline::Compress;
use crate::pipeline::segment::Forge;
use crate::pipeline::sending::{Sender, Sending, settle};
use crate::points;

/// Operations read at a time.
const PAGE: usize = 256;

/// Where slices are now, by the segment and offset where they were.
#[derive(Default)]
pub(super) struct Moves {
    pub(super) slices: BTreeMap<(SegmentId, u32), Slice>,
    /// Segments that were made for it.
    pub(super) made: BTreeMap<SegmentId, Made>,
    /// Segments that are referred to and were there before.
    pub(super) referred: BTreeSet<SegmentId>,
    /// The scheme and spread of what was made, where it is another than before.
    pub(super) kind: Option<(Scheme, Spread)>,
}

/// A segment that was made.
pub(super) struct Made {
    /// Shards above k that were acknowledged.
    pub(super) margin: u8,
    /// Those that were not.
    pub(super) owed: Vec<u8>,
    /// Its row in the journal.
    pub(super) sending: Option<Arc<Sending>>,
}

/// How a version is stored; nothing where its content lives in the catalog.
pub(super) fn kind_of(put: &Put) -> Option<(Scheme, Spread)> {
    let protection = put.protection?;
    let spread = if protection.degraded { Spread::Relaxed } else { Spread::Strict };
    Some((protection.scheme, spread))
}

/// What came of rewriting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Versions whose content is elsewhere now.
    pub versions: u64,
    /// Segments that were made.
    pub made: u64,
    /// Bytes of ciphertext in them.
    pub made_bytes: u64,
    /// Segments that nothing refers to any more.
    pub unreferenced: u64,
    /// What nodes did about these.
    pub released: Released,
    /// Operations that no quorum has yet; then nothing was released.
    pub pending: u64,
}

impl Rewritten {
    pub(super) fn add(&mut self, other: Self) {
        self.versions += other.versions;
        self.made += other.made;
        self.made_bytes += other.made_bytes;
        self.unreferenced += other.unreferenced;
        self.released.add(other.released);
        self.pending = other.pending;
    }
}

impl Client {
    /// What makes and sends segments of slices that are sealed already.
    pub(super) fn resender(&self, spread: Spread) -> Sender {
        let forge = Forge::new(self, spread, Compress::Off);
        Sender { engine: Arc::clone(&self.engine), catalog: Arc::clone(&self.catalog), forge }
    }

    /// Shows `visit` every version that is not purged, with its manifest, where it has one.
    ///
    /// # Errors
    /// [`ClientError`] where a manifest cannot be read.
    pub(super) async fn each_live(
        &self,
        mut visit: impl FnMut(&Put, &Manifest) + Send,
    ) -> Result<(), ClientError> {
        for end in self.catalog_call(|catalog| catalog.logs()).await? {
            let (log, mut after) = (end.log, 0);
            loop {
                let (puts, last) = self
                    .catalog_call(move |catalog| {
                        let page = catalog.operations(&log, after, PAGE)?;
                        let last = page.last().map(|operation| operation.sequence);
                        let mut puts = Vec::new();
                        for operation in page {
                            let Change::Put(put) = operation.change else { continue };
                            let version = catalog.version_by_id(&put.version)?;
                            puts.extend(version.filter(|version| !version.purged));
                        }
                        Ok((puts, last))
                    })
                    .await?;
                let Some(last) = last else { break };
                after = last;
                for version in puts {
                    let Entry::Put(put) = version.entry else { continue };
                    if let Some(manifest) = self.manifest(put.sealed()).await? {
                        visit(&put, &manifest);
                    }
                }
            }
        }
        Ok(())
    }

    /// Stores ciphertext of whole slices as a segment, reads it back, and compares. `padded` has its
    /// padding already.
    pub(super) async fn store_again(
        &self,
        sender: &Sender,
        scheme: Scheme,
        ciphertext: Vec<u8>,
    ) -> Result<(SegmentId, Made), ClientError> {
        let ciphertext = Arc::new(ciphertext);
        let coded = Arc::clone(&ciphertext);
        let make = move |forge: &Forge| Ok((forge.packed(scheme, &coded)?, ()));
        let sending = sender.send(make, Sending::begin);
        let (stored, ()) = self.step(points::REWRITE_STORE, sending).await?;
        let segment = stored.segment;
        let urgent = datamesh_engine::Urgency::default();
        let read = self.engine.read_segment(&segment, &urgent).await?;
        if read.gather(0..read.descriptor.length as usize) != *ciphertext {
            return Err(ClientError::Slice { segment });
        }
        let made = Made { margin: stored.margin, owed: stored.owed, sending: stored.sending };
        Ok((segment, made))
    }

    /// A version with its manifest, unless it is purged or has none.
    pub(super) async fn live_version(
        &self,
        version: VersionId,
    ) -> Result<Option<(Box<Put>, Manifest)>, ClientError> {
        let found = self.catalog_call(move |catalog| catalog.version_by_id(&version)).await?;
        let Some(Entry::Put(put)) = found.filter(|found| !found.purged).map(|found| found.entry)
        else {
            return Ok(None);
        };
        let manifest = self.manifest(put.sealed()).await?;
        Ok(manifest.map(|manifest| (put, manifest)))
    }

    /// Rewrites these versions, publishes that, and releases those of the old segments that nothing
    /// refers to any more.
    pub(super) async fn rewrite(
        &self,
        versions: &BTreeSet<VersionId>,
        moves: Moves,
        sender: &Sender,
    ) -> Result<Rewritten, ClientError> {
        let mut rewritten = Rewritten::default();
        let mut old: BTreeSet<SegmentId> =
            moves.slices.keys().map(|(segment, _)| *segment).collect();
        let mut held: Vec<Arc<Sending>> =
            moves.made.values().filter_map(|made| made.sending.clone()).collect();
        let versions: Vec<VersionId> = versions.iter().copied().collect();
        for batch in versions.chunks(OPERATIONS_MAX.min(PAGE)) {
            let mut append = Append {
                contents: Some(Contents::default()),
                renew_published: moves.referred.iter().copied().collect(),
                ..Append::default()
            };
            for version in batch {
                let Some((put, manifest)) = self.live_version(*version).await? else { continue };
                if self
                    .rewrite_one((&put, manifest), &moves, sender, &mut append, &mut held)
                    .await?
                {
                    rewritten.versions += 1;
                    let meta = self.meta_manifest(put.sealed())?;
                    old.extend(meta.iter().flat_map(|meta| &meta.slices).map(|s| s.segment));
                }
            }
            self.append_renewed(points::REWRITE_COMMIT, append, &moves.referred).await?;
        }
        let moved = moves.made;
        drop(moved);
        let settling = self.catalog_call(move |catalog| {
            settle(catalog, held);
            Ok(())
        });
        self.step(points::REWRITE_SETTLE, settling).await?;
        rewritten.pending = self.publish().await?.pending;
        if rewritten.pending > 0 {
            return Ok(rewritten);
        }
        if let Err(error) = self.renew_promised().await {
            let left = self.catalog_call(|catalog| catalog.promised(u64::MAX)).await?;
            // What was not moved is where it was, as well as it was.
            if left.iter().any(|segment| moves.referred.contains(segment)) {
                return Err(error);
            }
            tracing::warn!(%error, "content that was not moved was not renewed on enough nodes");
        }
        self.know_newest().await?;
        let free = self.unreferenced(&old, &BTreeSet::new()).await?;
        rewritten.unreferenced = free.len() as u64;
        rewritten.released = self.release_unreferenced(&free, Renewals::Heeded).await?;
        Ok(rewritten)
    }

    /// Adds the operation that rewrites a version, unless nothing of it was moved.
    async fn rewrite_one(
        &self,
        (put, mut manifest): (&Put, Manifest),
        moves: &Moves,
        sender: &Sender,
        append: &mut Append,
        held: &mut Vec<Arc<Sending>>,
    ) -> Result<bool, ClientError> {
        let Some(before) = put.protection else { return Ok(false) };
        let Some((scheme, spread)) = moves.kind.or_else(|| kind_of(put)) else {
            return Ok(false);
        };
        let mut margin = scheme.m() as u8;
        let mut moved = false;
        let is_moved = |slice: &Slice| moves.slices.contains_key(&(slice.segment, slice.offset));
        if moves.kind.is_some() && !manifest.slices.iter().all(is_moved) {
            // Part of it is elsewhere by now: it would not be all of the new scheme.
            return Ok(false);
        }
        if manifest.slices.iter().any(is_moved) {
            // What stays where it is is referred to anew as well: another device that moves all of the
            // version at the same time releases it.
            let staying = manifest.slices.iter().filter(|slice| !is_moved(slice));
            append.renew_published.extend(staying.map(|slice| slice.segment));
        }
        for slice in &mut manifest.slices {
            match moves.slices.get(&(slice.segment, slice.offset)) {
                Some(now) => {
                    *slice = now.clone();
                    moved = true;
                }
                None => margin = margin.min(before.margin),
            }
            if let Some(made) = moves.made.get(&slice.segment) {
                margin = margin.min(made.margin);
                append.owed.extend(made.owed.iter().map(|shard| Owed {
                    segment: slice.segment,
                    shard: *shard,
                    version: put.version,
                }));
            }
        }
        if !moved {
            return Ok(false);
        }
        let (entropy, version) = (&*self.entropy, put.version);
        let key = VersionKey::draw(entropy);
        let bytes = zeroize::Zeroizing::new(manifest.to_bytes());
        let (content, meta) = if bytes.len() <= MANIFEST_INLINE_BYTES_MAX {
            (Content::Manifest(key.seal(entropy, &version, 2, &bytes)?), None)
        } else {
            let (meta, missing, least) = sender.manifest(scheme, &self.pool, &bytes, held).await?;
            let owe = |(segment, shard)| Owed { segment, shard, version };
            append.owed.extend(missing.into_iter().map(owe));
            margin = margin.min(least);
            (Content::Meta(key.seal(entropy, &version, 3, &meta.to_bytes())?), Some(meta))
        };
        if let Some(contents) = &mut append.contents {
            add_manifest(contents, version, &manifest, meta.as_ref());
        }
        append.owed.sort_unstable_by_key(|owed| (owed.segment, owed.shard));
        append.owed.dedup_by_key(|owed| (owed.segment, owed.shard));
        let degraded = spread == Spread::Relaxed;
        append.changes.push(Change::Rewrite(Box::new(Rewrite {
            version,
            created: self.engine.now(),
            protection: Protection { scheme, degraded, margin },
            key: self.keys.wrap(entropy, &version, &key)?,
            content,
        })));
        Ok(true)
    }
}
