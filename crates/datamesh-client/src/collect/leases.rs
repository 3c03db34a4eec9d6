//! Keeping all that the account has, in a mesh whose leases end: when its leases end, as the holders tell,
//! and their renewal.
//!
//! Any device of the account does it for all. It needs the keys and the catalog, and no bytes of content are
//! moved. What is due is found by asking the members what they keep under the account's grant, so nothing need
//! be remembered: what was renewed is not due any more, whoever did it, and a renewal that broke off goes on
//! where it stopped.
//!
//! Promised: what was released does not come back. A renewal carries one less than the references that are
//! known, so a release by whoever knows of all of them counts. Where something of a higher epoch is met, the
//! catalog is compared with the mesh and counted once more, and only what still lives is renewed above it.
//!
//! Not promised: leases of what a put has under way. They are fresh; a put that is resumed after most of a
//! term may refer to some that are due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datamesh_core::message::LEASES_MAX;
use datamesh_core::{BoxFuture, SegmentId, Timestamp};
use datamesh_engine::LeaseTold;
use futures::stream::{self, StreamExt};

use super::references::epoch_after;
use crate::client::Client;
use crate::error::ClientError;

/// Segments whose descriptors are asked for at once.
const DESCRIBED_AT_ONCE: usize = 16;

/// Rounds of one renewal: long manifests, and lists of pages, that lay in the trash can be read once they
/// are renewed, and name more.
const ROUNDS_MAX: usize = 3;

/// When the leases of an account end, as the holders told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseLook {
    /// When they were asked, by the clocks of most of them.
    pub looked: Timestamp,
    /// Segments that versions refer to, and those of the catalog's own pages.
    pub segments: u64,
    /// The earliest end that any holder told; nothing where none holds anything.
    pub earliest: Option<Timestamp>,
    /// Segments of which less than a third of the term is left at some holder, those that ended and those
    /// that nobody holds with them.
    pub due: u64,
    /// Segments whose lease ended at some holder.
    pub ended: u64,
    /// Segments that no node that answered holds outside of its trash.
    pub unheld: u64,
    /// Members that did not tell what they hold.
    pub silent: u64,
    /// Versions whose segments could not be counted, because their manifest cannot be read now, and one
    /// more where that is so for a list of the catalog's pages.
    pub unread: u64,
}

/// What a renewal takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseScope {
    /// What is due.
    Due,
    /// Everything.
    All,
}

/// How a renewal goes about it.
#[derive(Clone, Copy)]
pub struct LeaseRenewal<'a> {
    /// What is renewed.
    pub scope: LeaseScope,
    /// Time between two batches of up to [`LEASES_MAX`].
    pub pause: Duration,
    /// Told how many segments of how many are done.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// What came of renewing an account's leases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeasesRenewed {
    /// Segments that were to be renewed.
    pub segments: u64,
    /// Those that as many holders renewed as a commit needs.
    pub renewed: u64,
    /// Those that too few did, or that no node shows.
    pub few: u64,
    /// Those that another device gave up meanwhile.
    pub released: u64,
    /// When the leases of those that were renewed end; 0 where leases do not.
    pub until: Timestamp,
}

/// What the account needs.
#[derive(Default)]
struct Needed {
    /// Segments of versions.
    content: BTreeSet<SegmentId>,
    /// Segments of the catalog itself.
    pages: BTreeSet<SegmentId>,
    unread: u64,
}

impl Needed {
    fn all(&self) -> impl Iterator<Item = SegmentId> + '_ {
        self.content.union(&self.pages).copied()
    }
}

/// A segment of which some holder knows something of a higher epoch than was told.
struct Behind {
    /// The highest that was met.
    epoch: u64,
    /// As many others as a commit needs took what was told.
    renewed: bool,
}

impl Client {
    /// Asks every member when the leases of what the account needs end; nothing where leases do not.
    ///
    /// # Errors
    /// Those of reading the catalog.
    pub fn look_at_leases(&self) -> BoxFuture<'_, Result<Option<LeaseLook>, ClientError>> {
        Box::pin(async move {
            if self.engine.genesis().lease_days == 0 {
                return Ok(None);
            }
            // Whoever was away long takes members for gone that are there.
            self.engine.look_around().await;
            let until = self.lease_end().await;
            Ok(Some(self.look(&self.needed().await?, until).await.0))
        })
    }

    /// Renews leases of what the account needs, for a whole term from now on; does nothing where leases do
    /// not end.
    ///
    /// # Errors
    /// Those of reading the catalog. What was renewed before stays so.
    pub fn renew_leases<'a>(
        &'a self,
        renewal: LeaseRenewal<'a>,
    ) -> BoxFuture<'a, Result<LeasesRenewed, ClientError>> {
        Box::pin(async move {
            if self.engine.genesis().lease_days == 0 {
                return Ok(LeasesRenewed::default());
            }
            self.engine.look_around().await;
            let until = self.lease_end().await;
            // Keeping is never wrong: where too few nodes answer, what is known here is renewed all the same.
            if let Err(error) = self.catch_up().await {
                tracing::warn!(%error, "leases are renewed by what this device knows");
            }
            let mut done = LeasesRenewed { until, ..LeasesRenewed::default() };
            let mut tried = BTreeSet::new();
            for _ in 0..ROUNDS_MAX {
                let needed = self.needed().await?;
                let mut due: Vec<SegmentId> = match renewal.scope {
                    LeaseScope::All => needed.all().collect(),
                    LeaseScope::Due => self.look(&needed, until).await.1,
                };
                due.retain(|segment| tried.insert(*segment));
                done.segments += due.len() as u64;
                let before = done.renewed;
                self.renew_all(&due, &needed, renewal, &mut done).await?;
                if needed.unread == 0 || done.renewed == before {
                    break;
                }
            }
            Ok(done)
        })
    }

    async fn needed(&self) -> Result<Needed, ClientError> {
        let (content, mut unread) = self.live_segments().await?;
        let (pages, whole) = self.catalog_segments_known().await?;
        unread += u64::from(whole.is_err());
        Ok(Needed { content, pages, unread })
    }

    /// Asks every member what it keeps, and returns with the sum what is due. A lease that is renewed now
    /// ends at `until`.
    async fn look(&self, needed: &Needed, until: Timestamp) -> (LeaseLook, Vec<SegmentId>) {
        let term = self.engine.genesis().lease_end(0);
        let now = until.saturating_sub(term);
        let mut look = LeaseLook { looked: now, unread: needed.unread, ..LeaseLook::default() };
        let mut ends: BTreeMap<SegmentId, Option<Timestamp>> =
            needed.all().map(|segment| (segment, None)).collect();
        for node in self.engine.members_now() {
            let listed = match self.list_node(node).await {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::debug!(%node, %error, "a node does not say what it keeps");
                    look.silent += 1;
                    continue;
                }
            };
            for entry in listed {
                if let Some(end) = ends.get_mut(&entry.segment) {
                    *end = Some(end.map_or(entry.lease_end, |end| end.min(entry.lease_end)));
                }
            }
        }
        let (mut due, late) = (Vec::new(), now.saturating_add(term / 3));
        look.segments = ends.len() as u64;
        for (segment, end) in ends {
            look.earliest = [look.earliest, end].into_iter().flatten().min();
            look.unheld += u64::from(end.is_none());
            look.ended += u64::from(end.is_some_and(|end| end <= now));
            if end.is_none_or(|end| end < late) {
                due.push(segment);
            }
        }
        look.due = due.len() as u64;
        (look, due)
    }

    async fn renew_all(
        &self,
        due: &[SegmentId],
        needed: &Needed,
        renewal: LeaseRenewal<'_>,
        done: &mut LeasesRenewed,
    ) -> Result<(), ClientError> {
        // A manifest that cannot be read now leaves the references uncounted. Then the lowest epoch is tried
        // first, and what is met instead is looked into.
        if let Err(error) = self.index_contents().await {
            tracing::warn!(%error, "references are not counted before leases are renewed");
        }
        let (mut behind, mut told) = (BTreeMap::new(), 0);
        for (number, batch) in due.chunks(LEASES_MAX).enumerate() {
            if number > 0 && !renewal.pause.is_zero() {
                tokio::time::sleep(renewal.pause).await;
            }
            let counted = batch.to_vec();
            let uses = self.catalog_call(move |catalog| catalog.uses(&counted)).await?;
            let uses = uses.unwrap_or_else(|| vec![0; batch.len()]);
            let epochs = uses.into_iter().map(|uses| epoch_after(uses).unwrap_or(0));
            let batch: Vec<_> = batch.iter().copied().zip(epochs).collect();
            told += batch.len() as u64;
            self.renew_batch(batch, &mut behind, done).await?;
            (renewal.progress)(told, due.len() as u64);
        }
        self.renew_behind(behind, needed, done).await
    }

    async fn renew_batch(
        &self,
        batch: Vec<(SegmentId, u64)>,
        behind: &mut BTreeMap<SegmentId, Behind>,
        done: &mut LeasesRenewed,
    ) -> Result<(), ClientError> {
        let described = stream::iter(batch).map(|(segment, epoch)| async move {
            (segment, epoch, self.engine.descriptor_of(&segment).await)
        });
        let mut described = described.buffered(DESCRIBED_AT_ONCE);
        let (mesh, mut renewals, mut shards) = (self.engine.mesh(), Vec::new(), Vec::new());
        while let Some((segment, epoch, descriptor)) = described.next().await {
            let Some(descriptor) = descriptor else {
                done.few += 1;
                continue;
            };
            renewals.push(self.keys.renew(&mesh, &descriptor, epoch, done.until));
            shards.push((segment, descriptor.scheme.commit_min() as u32));
        }
        let told: Vec<LeaseTold> = self.engine.renew(&renewals).await;
        for ((segment, needed), told) in shards.into_iter().zip(told) {
            let renewed = told.shards() >= needed;
            match told.behind {
                // Also where it is but one holder: its lease would end, and end again after each repair.
                Some(epoch) => drop(behind.insert(segment, Behind { epoch, renewed })),
                None if renewed => done.renewed += 1,
                None => done.few += 1,
            }
            if let Some(until) = told.too_long {
                tracing::warn!(%segment, until, "some nodes take no lease that ends so late");
            }
        }
        Ok(())
    }

    /// Renews above what was met, where by all that the mesh knows something still refers to it.
    async fn renew_behind(
        &self,
        behind: BTreeMap<SegmentId, Behind>,
        needed: &Needed,
        done: &mut LeasesRenewed,
    ) -> Result<(), ClientError> {
        if behind.is_empty() {
            return Ok(());
        }
        let segments: BTreeSet<SegmentId> =
            behind.keys().filter(|segment| needed.content.contains(*segment)).copied().collect();
        // Where this device may not know the newest, or a manifest cannot be read, the next renewal tries
        // again.
        let counted = match self.know_newest().await {
            Ok(()) => self.references(&segments, &BTreeSet::new()).await,
            Err(error) => Err(error),
        };
        let uses = match counted {
            Ok(uses) => uses,
            Err(error) => {
                tracing::warn!(%error, "some leases met others of a later epoch");
                let renewed = behind.values().filter(|behind| behind.renewed).count() as u64;
                done.renewed += renewed;
                done.few += behind.len() as u64 - renewed;
                return Ok(());
            }
        };
        for (segment, Behind { epoch, renewed }) in behind {
            if uses.get(&segment).is_some_and(|uses| uses.live == 0) {
                done.released += 1;
                continue;
            }
            match self.renew_segment(segment, epoch).await {
                Ok(_) => done.renewed += 1,
                Err(ClientError::NotRenewed { .. } | ClientError::Contended) if renewed => {
                    done.renewed += 1;
                }
                Err(ClientError::NotRenewed { .. } | ClientError::Contended) => done.few += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
