//! Renewing: an account says that its segments are kept.
//!
//! A new reference to a segment that was there before renews it twice: before its operation is
//! committed, and once that is published, since a device that had not heard of the operation may have
//! released the segment in between with a higher epoch. The second one is promised in the catalog,
//! together with the operation, so that neither a crash nor a mesh that is away forgets it.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use datamesh_core::lease::Renewal;
use datamesh_core::{BoxFuture, SegmentId, Timestamp};
use datamesh_engine::LeaseTold;
use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use super::references::epoch_after;
use crate::client::Client;
use crate::error::ClientError;

/// Segments renewed at once.
pub(super) const RENEWED_AT_ONCE: usize = 16;

/// Epochs that a renewal follows upwards: honest nodes know of a few, and one that always tells of a
/// higher one is not followed for ever.
const EPOCHS_MAX: usize = 16;

/// How long what members told of the time is counted on.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// What members told of the time, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToldTime {
    at: Instant,
    /// This device's own clock then.
    own: Timestamp,
    time: Timestamp,
}

impl ToldTime {
    /// The time now; nothing where that was long ago, or this device's clock was set meanwhile.
    fn now(&self, own: Timestamp) -> Option<Timestamp> {
        let passed = self.at.elapsed();
        let ms = passed.as_millis() as u64;
        let went_on = own.abs_diff(self.own.saturating_add(ms)) < TOLD_FOR.as_millis() as u64;
        (passed < TOLD_FOR && went_on).then(|| self.time.saturating_add(ms))
    }
}

/// What came of one attempt to renew a segment.
enum Renewed {
    /// Enough nodes have it: a bit for each shard.
    Enough(u32),
    /// Something of a higher epoch counts.
    Behind(u64),
    /// Too few nodes have it.
    TooFew { shards: u32, needed: u32 },
}

impl Client {
    /// Renews what operations of this device refer to that are published now. What cannot be renewed
    /// stays promised, unless nothing refers to it any more.
    ///
    /// # Errors
    /// [`ClientError::NotRenewed`] where too few nodes have a segment that is referred to; the others
    /// are renewed all the same.
    pub fn renew_promised(&self) -> BoxFuture<'_, Result<(), ClientError>> {
        Box::pin(async move {
            let log = self.catalog.owner().log;
            let published = self.publication.published(&log).await;
            loop {
                let due = self.catalog_call(move |catalog| catalog.promised(published)).await?;
                if due.is_empty() {
                    return Ok(());
                }
                self.index_contents().await?;
                let asked = due.clone();
                let uses = self.catalog_call(move |catalog| catalog.uses(&asked)).await?;
                let uses = uses.ok_or(ClientError::Contended)?;
                // A segment with one reference is this device's own, and nobody else can release it.
                let renewing = due.into_iter().zip(uses).map(|(segment, uses)| async move {
                    match epoch_after(uses) {
                        Some(epoch) => (segment, self.renew_referred_to(segment, epoch).await),
                        None => (segment, Ok(())),
                    }
                });
                let mut renewing = stream::iter(renewing).buffer_unordered(RENEWED_AT_ONCE);
                let (mut kept, mut first) = (Vec::new(), Ok(()));
                while let Some((segment, renewed)) = renewing.next().await {
                    match renewed {
                        Ok(()) => kept.push(segment),
                        // One that fails does not keep the others from it.
                        Err(error) => first = first.and(Err(error)),
                    }
                }
                self.catalog_call(move |catalog| catalog.keep_promises(&kept, published)).await?;
                first?;
            }
        })
    }

    /// Renews a segment, unless what this device refers to it for was given up: then a release that
    /// knew of that stands.
    async fn renew_referred_to(&self, segment: SegmentId, epoch: u64) -> Result<(), ClientError> {
        match self.try_renewal(segment, epoch).await? {
            Renewed::Enough(_) => return Ok(()),
            Renewed::TooFew { .. } | Renewed::Behind(_) => {}
        }
        // What others gave up is known, or it counts as referred to: keeping is never wrong.
        if self.know_newest().await.is_ok() {
            let uses = self.references(&BTreeSet::from([segment]), &BTreeSet::new()).await?;
            if uses.values().all(|uses| uses.live == 0) {
                return Ok(());
            }
        }
        self.renew_segment(segment, epoch).await.map(drop)
    }

    /// Renews a segment on as many nodes as a commit needs. Returns a bit for each shard.
    ///
    /// # Errors
    /// [`ClientError::NotRenewed`] where too few nodes have it, [`ClientError::Contended`] where some node
    /// tells of higher and higher epochs.
    pub(crate) async fn renew_segment(
        &self,
        segment: SegmentId,
        mut epoch: u64,
    ) -> Result<u32, ClientError> {
        for _ in 0..EPOCHS_MAX {
            match self.try_renewal(segment, epoch).await? {
                Renewed::Enough(shards) => return Ok(shards),
                // Somebody who knows more references released it: keeping is never wrong.
                Renewed::Behind(higher) => epoch = higher,
                Renewed::TooFew { shards, needed } => {
                    return Err(ClientError::NotRenewed { segment, shards, needed });
                }
            }
        }
        Err(ClientError::Contended)
    }

    /// When a lease that is renewed now is to end, by the clocks of the members: this device's own may
    /// be wrong, and then the lease would be shorter, or be refused. 0 where leases do not end.
    pub(super) async fn lease_end(&self) -> Timestamp {
        let genesis = self.engine.genesis();
        if genesis.lease_days == 0 {
            return 0;
        }
        genesis.lease_end(self.members_time().await)
    }

    /// The time by the members' clocks, asked for at most once a minute.
    async fn members_time(&self) -> Timestamp {
        let own = self.engine.now();
        let known = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(time) = known.and_then(|told| told.now(own)) {
            return time;
        }
        let Some(time) = self.engine.peers_time().await else { return own };
        let told = ToldTime { at: Instant::now(), own, time };
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        time
    }

    async fn try_renewal(&self, segment: SegmentId, epoch: u64) -> Result<Renewed, ClientError> {
        let Some(descriptor) = self.engine.descriptor_of(&segment).await else {
            return Ok(Renewed::TooFew { shards: 0, needed: 1 });
        };
        let mesh = self.engine.mesh();
        let needed = descriptor.scheme.commit_min() as u32;
        let expiry = self.lease_end().await;
        let renewal: Renewal = self.keys.renew(&mesh, &descriptor, epoch, expiry);
        let told: LeaseTold = self.engine.renew(&[renewal]).await.pop().unwrap_or_default();
        if told.shards() >= needed {
            return Ok(Renewed::Enough(
                told.taken.iter().fold(0, |mask, (_, shards)| mask | shards),
            ));
        }
        Ok(match told.behind {
            Some(higher) if higher > epoch => Renewed::Behind(higher),
            _ => Renewed::TooFew { shards: told.shards(), needed },
        })
    }
}
