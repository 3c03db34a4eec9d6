//! Purging: old versions are given up, and what only they referred to is released.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_catalog::{Append, Entry, OPERATIONS_MAX, Version};
use datamesh_core::catalog::{Change, PURGED_MAX, Purge, Put};
use datamesh_core::{BoxFuture, MeshPath, SegmentId, VersionId};

use super::release::{Released, Renewals};
use crate::client::Client;
use crate::error::ClientError;
use crate::points;

/// Most versions that one purge gives up: their manifests are in memory. The rest is for the next.
const VERSIONS_MAX: usize = 64 * 1024;

/// Which versions of a path are kept. The current version of a path that is not deleted always is,
/// and so is a conflict, which is listed like a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The newest of a path's versions, however old: so many.
    pub keep: u64,
    /// Versions that are younger than this, in milliseconds.
    pub younger_than_ms: u64,
    /// All versions of a path that was deleted less than this ago, in milliseconds.
    pub deleted_for_ms: u64,
}

impl Retention {
    /// For how long a deleted file can be taken back: 30 days.
    pub const DELETED_FOR_MS: u64 = 30 * 24 * 3600 * 1000;

    /// The versions that need not be kept, of all versions of one path, the oldest first.
    pub fn judge<'a>(&self, versions: &'a [Version], now: u64) -> Vec<&'a Put> {
        let old = |created: u64, age: u64| created.saturating_add(age) <= now;
        let deleted = match versions.last().map(|version| &version.entry) {
            Some(Entry::Delete(delete)) if !old(delete.created, self.deleted_for_ms) => {
                return Vec::new();
            }
            Some(Entry::Delete(_)) => true,
            _ => false,
        };
        let puts: Vec<&Put> =
            versions.iter().filter(|v| !v.purged && !v.conflict).filter_map(Version::put).collect();
        let kept =
            if deleted { 0 } else { usize::try_from(self.keep.max(1)).unwrap_or(usize::MAX) };
        let count = puts.len().saturating_sub(kept);
        let puts = puts.into_iter().take(count);
        puts.filter(|put| deleted || old(put.created, self.younger_than_ms)).collect()
    }
}

/// What came of a purge, or would come of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purged {
    /// Versions that were given up.
    pub versions: u64,
    /// Versions that were not, because their file is pinned.
    pub pinned: u64,
    /// Bytes of plaintext in them.
    pub bytes: u64,
    /// Segments that they referred to and that something else refers to as well.
    pub shared: u64,
    /// Segments that only they referred to; these are released.
    pub unreferenced: u64,
    /// What nodes did.
    pub released: Released,
    /// Operations that no quorum has yet; then nothing was released.
    pub pending: u64,
}

impl Purged {
    pub(super) fn add(&mut self, other: Self) {
        self.versions += other.versions;
        self.pinned += other.pinned;
        self.bytes += other.bytes;
        self.shared += other.shared;
        self.unreferenced += other.unreferenced;
        self.released.add(other.released);
        self.pending = other.pending;
    }
}

impl Client {
    /// Gives up the versions of a path that `retention` does not keep.
    ///
    /// # Errors
    /// [`ClientError::MayBeOld`] where this device may not know the newest; the errors of reading
    /// the catalog and manifests.
    pub fn purge<'a>(
        &'a self,
        names: &'a [String],
        retention: &'a Retention,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Purged, ClientError>> {
        Box::pin(async move {
            self.know_newest().await?;
            let mut paths = Vec::new();
            for name in names {
                paths.push(self.path_of(name).await?);
            }
            self.purge_paths(&paths, retention, dry_run).await
        })
    }

    pub(super) async fn purge_paths(
        &self,
        paths: &[MeshPath],
        retention: &Retention,
        dry_run: bool,
    ) -> Result<Purged, ClientError> {
        let (mut purged, now) = (Purged::default(), self.engine.now());
        let (mut ids, mut segments) = (BTreeSet::new(), BTreeSet::new());
        for path in paths {
            let path = path.clone();
            let versions = self.catalog_call(move |catalog| catalog.all_versions(&path)).await?;
            let judged = retention.judge(&versions, now);
            // Who removes a pinned file gives it up; what is there is not swept.
            let deleted = matches!(versions.last().map(|last| &last.entry), Some(Entry::Delete(_)));
            let files = judged.iter().map(|put| put.file).collect();
            let pinned = if deleted { BTreeSet::new() } else { self.pinned_among(files).await? };
            for put in judged {
                if pinned.contains(&put.file) {
                    purged.pinned += 1;
                    continue;
                }
                if ids.len() < VERSIONS_MAX && ids.insert(put.version) {
                    segments.extend(self.segments_of(put.sealed()).await?);
                    purged.bytes += put.size;
                }
            }
        }
        purged.versions = ids.len() as u64;
        if ids.is_empty() {
            return Ok(purged);
        }
        if !dry_run {
            self.commit_purge(&ids, now).await?;
            purged.pending = self.publish().await?.pending;
            if purged.pending > 0 {
                return Ok(purged);
            }
            // What another device did meanwhile may refer to the same segments.
            self.know_newest().await?;
        }
        let free = self.unreferenced(&segments, &ids).await?;
        purged.unreferenced = free.len() as u64;
        purged.shared = (segments.len() - free.len()) as u64;
        if !dry_run {
            purged.released = self.release_unreferenced(&free, Renewals::Heeded).await?;
        }
        Ok(purged)
    }

    async fn commit_purge(&self, ids: &BTreeSet<VersionId>, now: u64) -> Result<(), ClientError> {
        let ids: Vec<VersionId> = ids.iter().copied().collect();
        let purge =
            |ids: &[VersionId]| Change::Purge(Purge { versions: ids.to_vec(), created: now });
        let changes: Vec<Change> = ids.chunks(PURGED_MAX).map(purge).collect();
        debug_assert!(changes.len() <= OPERATIONS_MAX, "bounded by the versions of one purge");
        self.append(points::PURGE_COMMIT, Append { changes, ..Append::default() }).await
    }

    /// Those of the segments that no version but those `without` refers to, and nothing under way,
    /// with the epochs of their releases.
    pub(super) async fn unreferenced(
        &self,
        segments: &BTreeSet<SegmentId>,
        without: &BTreeSet<VersionId>,
    ) -> Result<BTreeMap<SegmentId, u64>, ClientError> {
        // Asked before the references are: what is committed meanwhile is in one or the other.
        let asked = segments.clone();
        let under_way =
            self.catalog_call(move |catalog| catalog.journal().mentioned(&asked)).await?;
        let uses = self.references(segments, without).await?;
        let free = uses.into_iter().filter(|(id, uses)| uses.live == 0 && !under_way.contains(id));
        Ok(free.map(|(segment, uses)| (segment, uses.epoch())).collect())
    }
}
