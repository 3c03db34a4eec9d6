//! Cleaning up: files that were deleted long ago, segments that broken-off puts left, and on request
//! everything that nodes keep for this account and nothing refers to.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_catalog::Transfer;
use datamesh_core::lease::{Listed, Listing};
use datamesh_core::message::{LISTED_MAX, Refusal};
use datamesh_core::{BoxFuture, Context, MeshPath, NodeId, SegmentId, Signer};
use datamesh_engine::AskError;

use super::duplicates::Duplicates;
use super::low_health::LowHealth;
use super::purge::{Purged, Retention};
use super::release::{Released, Renewals};
use super::repack::Repacked;
use crate::below::Below;
use crate::client::Client;
use crate::error::ClientError;
use crate::points;

/// How old a segment must be before it can count as left behind: puts of other devices may take long.
const LEFT_AFTER_MS: u64 = 7 * 24 * 3600 * 1000;

/// A time that is so far ahead is wrong: an hour, more than clocks that are set differ by.
const AHEAD_MS: u64 = 3600 * 1000;

/// Most pages that are taken from one node: a bound on what a liar can send.
const PAGES_MAX: usize = 8192;

/// Orphans looked at in one step.
const ORPHANS: usize = 1024;

/// Deleted paths looked at in one step.
const DELETED: usize = 256;

/// What to clean up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanupOptions {
    /// Ask all nodes what they keep for this account.
    pub orphaned: bool,
    /// Bring content together that is stored more than once.
    pub duplicates: bool,
    /// Find files that lack shards, and have them mended.
    pub low_health: bool,
    /// Only tell what would be done.
    pub dry_run: bool,
    /// Do not wait the 30 days in which a deleted file can be taken back.
    pub force: bool,
    /// Give up old versions of files that are not deleted: keep so many of the newest.
    pub keep: Option<u64>,
    /// Of these, keep those that are younger, in milliseconds.
    pub younger_than_ms: Option<u64>,
}

/// What was cleaned up, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Of files that were deleted, and old versions of the others.
    pub deleted: Purged,
    /// Content that was stored more than once.
    pub duplicates: Duplicates,
    /// Files that lack shards.
    pub low_health: LowHealth,
    /// Segments that were repacked.
    pub repacked: Repacked,
    /// Segments that broken-off puts of this device left.
    pub left: u64,
    /// Segments that nodes keep and nothing refers to.
    pub orphaned: u64,
    /// Copies of shards of those, as nodes list them.
    pub orphaned_shards: u64,
    /// Their bytes.
    pub orphaned_bytes: u64,
    /// What nodes did about those left and orphaned.
    pub released: Released,
    /// Nodes that could not be asked what they keep.
    pub silent: Vec<NodeId>,
}

/// What nodes list of one segment.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    shards: u64,
    bytes: u64,
    /// Nodes that list it.
    nodes: u64,
    /// Of these, those whose time for it is long ago.
    old: u64,
    /// And those whose time for it is yet to come: their clocks were ahead then, and nobody knows.
    ahead: u64,
}

impl Found {
    fn count(&mut self, entry: &Listed, now: u64) {
        let copies = u64::from(entry.shards.count_ones());
        self.shards += copies;
        self.bytes += copies * u64::from(entry.shard_bytes);
        self.nodes += 1;
        self.old += u64::from(entry.stored.saturating_add(LEFT_AFTER_MS) <= now);
        self.ahead += u64::from(entry.stored > now.saturating_add(AHEAD_MS));
    }

    /// Nobody stored or renewed it lately: it is young nowhere, and more nodes know that than do not
    /// know.
    fn is_old(&self) -> bool {
        self.old + self.ahead == self.nodes && self.old > self.ahead
    }
}

impl Client {
    /// Cleans up.
    ///
    /// # Errors
    /// [`ClientError::MayBeOld`] where this device may not know the newest: then nothing is
    /// released.
    pub fn cleanup(&self, options: CleanupOptions) -> BoxFuture<'_, Result<Cleaned, ClientError>> {
        Box::pin(async move {
            let _moving = self.publication.moving.lock().await;
            self.know_newest().await?;
            let mut cleaned = Cleaned::default();
            self.clean_deleted(options, &mut cleaned).await?;
            if cleaned.deleted.pending == 0 {
                self.clean_old(options, &mut cleaned).await?;
            }
            if cleaned.deleted.pending > 0 {
                return Ok(cleaned);
            }
            self.clean_left(options, &mut cleaned).await?;
            if options.orphaned {
                self.clean_orphaned(options, &mut cleaned).await?;
            }
            // First of what reads segments: it mends those that the others cannot read.
            if options.low_health {
                cleaned.low_health = self.low_health(options.dry_run).await?;
            }
            if options.duplicates {
                cleaned.duplicates = self.merge_duplicates(options.dry_run).await?;
            }
            if cleaned.duplicates.rewritten.pending == 0 {
                cleaned.repacked = self.repack(options.dry_run).await?;
            }
            Ok(cleaned)
        })
    }

    /// Ends transfers of puts that broke off and that nobody can resume, as `is_dead` says: what they sent is left
    /// behind from then on. Returns their number.
    ///
    /// # Errors
    /// [`ClientError::Catalog`] where the journal fails.
    pub fn end_transfers(
        &self,
        is_dead: impl Fn(&Transfer) -> bool + Send + 'static,
    ) -> BoxFuture<'_, Result<u64, ClientError>> {
        let ending = self.catalog_call(move |catalog| {
            let journal = catalog.journal();
            let mut ended = 0;
            for transfer in journal.transfers()?.iter().filter(|transfer| is_dead(transfer)) {
                journal.end(&transfer.id, &[])?;
                ended += 1;
            }
            Ok(ended)
        });
        Box::pin(ending)
    }

    /// Releases what broken-off puts of this device left, as far as nodes answer. Asks nobody where the journal
    /// knows of none, and leaves it to whoever moves or cleans up content now. Returns the number of segments.
    ///
    /// # Errors
    /// [`ClientError::MayBeOld`] where this device may not know the newest: then nothing is
    /// released.
    pub fn give_back_left(&self) -> BoxFuture<'_, Result<u64, ClientError>> {
        Box::pin(async move {
            let any =
                self.catalog_call(|catalog| Ok(!catalog.journal().orphans(None, 1)?.is_empty()));
            if !any.await? {
                return Ok(0);
            }
            // A put that failed does not wait until a long rewrite is done.
            let Ok(_moving) = self.publication.moving.try_lock() else { return Ok(0) };
            self.know_newest().await?;
            let mut cleaned = Cleaned::default();
            self.clean_left(CleanupOptions::default(), &mut cleaned).await?;
            Ok(cleaned.left)
        })
    }

    async fn clean_deleted(
        &self,
        options: CleanupOptions,
        cleaned: &mut Cleaned,
    ) -> Result<(), ClientError> {
        let deleted_for_ms = if options.force { 0 } else { Retention::DELETED_FOR_MS };
        let retention = Retention { keep: u64::MAX, younger_than_ms: 0, deleted_for_ms };
        let mut after: Option<MeshPath> = None;
        loop {
            let from = after.take();
            let page =
                self.catalog_call(move |catalog| catalog.deleted(from.as_ref(), DELETED)).await?;
            let page: Vec<MeshPath> = page.into_iter().map(|delete| delete.path).collect();
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let done = self.purge_paths(&page, &retention, options.dry_run).await?;
            cleaned.deleted.add(done);
            if cleaned.deleted.pending > 0 {
                return Ok(());
            }
        }
    }

    /// Gives up versions of files that are not deleted, where a rule says how many to keep.
    async fn clean_old(
        &self,
        options: CleanupOptions,
        cleaned: &mut Cleaned,
    ) -> Result<(), ClientError> {
        if options.keep.is_none() && options.younger_than_ms.is_none() {
            return Ok(());
        }
        let retention = Retention {
            keep: options.keep.unwrap_or(1),
            younger_than_ms: options.younger_than_ms.unwrap_or(0),
            deleted_for_ms: Retention::DELETED_FOR_MS,
        };
        let mut below = Below::new(self, None);
        loop {
            let page = match below.page().await {
                Ok(page) => page,
                Err(ClientError::NothingBelow { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            if page.is_empty() {
                return Ok(());
            }
            let paths: Vec<MeshPath> = page.into_iter().map(|put| put.path).collect();
            let done = self.purge_paths(&paths, &retention, options.dry_run).await?;
            cleaned.deleted.add(done);
            if cleaned.deleted.pending > 0 {
                return Ok(());
            }
        }
    }

    /// Releases what puts of earlier runs, and puts that were given up, sent and never committed.
    async fn clean_left(
        &self,
        options: CleanupOptions,
        cleaned: &mut Cleaned,
    ) -> Result<(), ClientError> {
        let mut after = None;
        loop {
            let from = after.take();
            let page = self
                .catalog_call(move |catalog| catalog.journal().orphans(from.as_ref(), ORPHANS))
                .await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            let segments: BTreeSet<SegmentId> = page.iter().map(|orphan| orphan.segment).collect();
            let uses = self.references(&segments, &BTreeSet::new()).await?;
            let left: BTreeMap<SegmentId, u64> = uses
                .iter()
                .filter(|(_, uses)| uses.live == 0)
                .map(|(segment, uses)| (*segment, uses.epoch()))
                .collect();
            cleaned.left += left.len() as u64;
            if options.dry_run {
                continue;
            }
            let released = self.release_unreferenced(&left, Renewals::Heeded).await?;
            let now = self.engine.now();
            let whole = released.unanswered == 0;
            // What no node has may be on one that does not answer now: it stays for the next time.
            let settled = page.into_iter().filter(|orphan| {
                let old = orphan.sent.saturating_add(LEFT_AFTER_MS) <= now;
                let referred = !left.contains_key(&orphan.segment);
                referred || old || (whole && !released.not_found.contains(&orphan.segment))
            });
            let settled: Vec<_> = settled.collect();
            let forgetting = self.catalog_call(move |catalog| catalog.journal().forget(&settled));
            self.step(points::LEFT_FORGET, forgetting).await?;
            cleaned.released.add(released);
        }
    }

    async fn clean_orphaned(
        &self,
        options: CleanupOptions,
        cleaned: &mut Cleaned,
    ) -> Result<(), ClientError> {
        let now = self.engine.now();
        let mut listed: BTreeMap<SegmentId, Found> = BTreeMap::new();
        for node in self.engine.members_now() {
            match self.list_node(node).await {
                Ok(entries) => {
                    for entry in entries {
                        listed.entry(entry.segment).or_default().count(&entry, now);
                    }
                }
                Err(error) => {
                    tracing::warn!(%node, %error, "a node does not say what it keeps");
                    cleaned.silent.push(node);
                }
            }
        }
        let left = listed.iter().filter(|(_, found)| found.is_old());
        let mut candidates: BTreeSet<SegmentId> = left.map(|(segment, _)| *segment).collect();
        for segment in self.catalog_segments().await? {
            candidates.remove(&segment);
        }
        let free = self.unreferenced(&candidates, &BTreeSet::new()).await?;
        for segment in free.keys() {
            let found = listed.get(segment).copied().unwrap_or_default();
            cleaned.orphaned += 1;
            cleaned.orphaned_shards += found.shards;
            cleaned.orphaned_bytes += found.bytes;
        }
        if !options.dry_run {
            // Listing takes its time: what was committed and published meanwhile is known here, or
            // nothing is released.
            self.know_newest().await?;
            let still =
                self.unreferenced(&free.keys().copied().collect(), &BTreeSet::new()).await?;
            let pages: BTreeSet<SegmentId> = self.catalog_segments().await?;
            let still = still.into_iter().filter(|(segment, _)| !pages.contains(segment)).collect();
            // Nobody renewed these lately, so what they may once have been renewed for came to nothing.
            cleaned.released.add(self.release_unreferenced(&still, Renewals::Ended).await?);
        }
        Ok(())
    }

    /// Everything that a node keeps under this account's grants and that is not in its trash.
    pub(super) async fn list_node(&self, node: NodeId) -> Result<Vec<Listed>, AskError> {
        let (mut all, mut after): (Vec<Listed>, _) = (Vec::new(), SegmentId([0; 32]));
        let grant_key = self.keys.grant().public_key();
        for _ in 0..PAGES_MAX {
            let time = self.engine.now();
            let body = Listing::signed_part(&grant_key, &node, &after, time);
            let mesh = self.engine.mesh();
            let signature = self.keys.grant().sign(Context::GrantListing, &mesh, &body);
            let listing = Listing { grant_key, node, after, time, signature };
            let (listed, more) = self.engine.segments_under(listing).await?;
            let in_order = listed.iter().all(|entry| {
                let order = entry.segment > after;
                after = entry.segment;
                order
            });
            if !in_order || listed.len() > LISTED_MAX {
                let detail = "its list is not in order".to_owned();
                return Err(AskError::Refused { peer: node, refusal: Refusal::Internal, detail });
            }
            let end = listed.is_empty() || !more;
            all.extend(listed);
            if end {
                break;
            }
        }
        Ok(all)
    }
}
