//! Releasing segments: signed per segment, sent to all members in batches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datamesh_catalog::AccountDb;
use datamesh_core::lease::Release;
use datamesh_core::message::LEASES_MAX;
use datamesh_core::{Descriptor, SegmentId};
use datamesh_engine::LeaseTold;
use futures::stream::{self, StreamExt};

use crate::client::Client;
use crate::error::ClientError;
use crate::points;

/// Descriptors asked for at once.
const DESCRIBED_AT_ONCE: usize = 16;

/// What came of releasing segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// Segments that at least one node released.
    pub segments: u64,
    /// Copies of shards that nodes put into the trash, or have in it already.
    pub shards: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segments of which no node that answers has a shard: there is nothing to release.
    pub not_found: BTreeSet<SegmentId>,
    /// Segments that somebody renewed whom this device does not know of; they are kept.
    pub renewed: u64,
    /// The most members that did not answer to a batch. They hear of it from the others.
    pub unanswered: usize,
}

/// What a release does to renewals that this device does not know the reference of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewals {
    /// They count: somebody may be about to refer to the segment.
    Heeded,
    /// They are ended too: they are so old that what they were made for came to nothing.
    Ended,
}

impl Released {
    fn count(&mut self, told: &LeaseTold, descriptor: &Descriptor) {
        self.segments += u64::from(!told.taken.is_empty());
        self.shards += told.copies();
        self.bytes += told.copies() * descriptor.shard_length() as u64;
        self.renewed += u64::from(told.behind.is_some());
        self.unanswered = self.unanswered.max(told.unanswered);
    }

    pub(super) fn add(&mut self, other: Self) {
        self.segments += other.segments;
        self.shards += other.shards;
        self.bytes += other.bytes;
        self.not_found.extend(other.not_found);
        self.renewed += other.renewed;
        self.unanswered = self.unanswered.max(other.unanswered);
    }
}

impl Client {
    /// Releases segments with the epochs given, and takes back what is referred to by then: another
    /// device may have published a reference since this one asked. One that publishes after this
    /// renews after publishing, and so after the release.
    ///
    /// All of the catalog is compared first: a page that the disk gave back as it was before is right
    /// in itself, and what it does not know of would count as referred to by nobody.
    pub(super) async fn release_unreferenced(
        &self,
        segments: &BTreeMap<SegmentId, u64>,
        renewals: Renewals,
    ) -> Result<Released, ClientError> {
        if segments.is_empty() {
            return Ok(Released::default());
        }
        self.catalog_call(AccountDb::check).await?;
        let releasing = self.release_segments(segments, renewals);
        let mut released = self.step(points::PURGE_RELEASE, releasing).await?;
        if released.segments == 0 {
            return Ok(released);
        }
        if let Err(error) = self.know_newest().await {
            // Nobody knows whether somebody referred to them meanwhile: keeping is never wrong, and
            // the next run releases them with what is known then.
            for (segment, epoch) in segments {
                if let Err(error) = self.renew_segment(*segment, *epoch).await {
                    tracing::warn!(%segment, %error, "a release was not taken back");
                }
            }
            return Err(error);
        }
        let asked = segments.keys().copied().collect();
        let uses = self.references(&asked, &BTreeSet::new()).await?;
        for (segment, uses) in uses.into_iter().filter(|(_, uses)| uses.live > 0) {
            // Where its release was the first word on it, that is met and answered.
            self.renew_segment(segment, uses.epoch_after().unwrap_or(1)).await?;
            released.renewed += 1;
        }
        Ok(released)
    }

    /// Releases segments with the epochs given. The caller has made sure that nothing refers to
    /// them, that this is published, and that this device knows the newest.
    async fn release_segments(
        &self,
        segments: &BTreeMap<SegmentId, u64>,
        renewals: Renewals,
    ) -> Result<Released, ClientError> {
        let mut all = Released::default();
        let segments: Vec<(SegmentId, u64)> = segments.iter().map(|(s, e)| (*s, *e)).collect();
        for batch in segments.chunks(LEASES_MAX) {
            let mut described = stream::iter(batch.to_vec())
                .map(|(segment, epoch)| async move {
                    (segment, epoch, self.engine.descriptor_of(&segment).await)
                })
                .buffered(DESCRIBED_AT_ONCE);
            let mut releasable: Vec<(SegmentId, u64, Arc<Descriptor>)> = Vec::new();
            while let Some((segment, epoch, descriptor)) = described.next().await {
                match descriptor {
                    Some(descriptor) => releasable.push((segment, epoch, descriptor)),
                    None => drop(all.not_found.insert(segment)),
                }
            }
            let told = self.tell_releases(&releasable).await;
            // What was renewed for a reference that came to nothing.
            let mut again = Vec::new();
            for ((segment, _, descriptor), told) in releasable.iter().zip(&told) {
                if let (Renewals::Ended, Some(epoch)) = (renewals, told.behind) {
                    again.push((*segment, epoch.saturating_add(1), Arc::clone(descriptor)));
                } else {
                    all.count(told, descriptor);
                }
            }
            let told = self.tell_releases(&again).await;
            for ((_, _, descriptor), told) in again.iter().zip(&told) {
                all.count(told, descriptor);
            }
        }
        Ok(all)
    }

    async fn tell_releases(
        &self,
        segments: &[(SegmentId, u64, Arc<Descriptor>)],
    ) -> Vec<LeaseTold> {
        if segments.is_empty() {
            return Vec::new();
        }
        let mesh = self.engine.mesh();
        let sign = |(_, epoch, descriptor): &(SegmentId, u64, Arc<Descriptor>)| {
            self.keys.release(&mesh, descriptor, *epoch)
        };
        let releases: Vec<Release> = segments.iter().map(sign).collect();
        self.engine.release(&releases).await
    }
}
