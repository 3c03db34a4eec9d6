//! How often segments are referred to by the account's versions.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_catalog::{AccountDb, CatalogError};
use datamesh_core::catalog::{Change, SealedContent};
use datamesh_core::{LogId, SegmentId, VersionId};
use datamesh_crypto::Manifest;

use crate::client::Client;
use crate::error::ClientError;

/// Operations read at a time.
const PAGE: usize = 512;

/// References to one segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Uses {
    /// By versions that are not purged.
    pub(super) live: u64,
    /// By all versions that ever were.
    pub(super) ever: u64,
}

impl Uses {
    /// The epoch of a release by somebody who knows of these, and of a renewal before another.
    pub(super) fn epoch(&self) -> u64 {
        self.ever.max(1)
    }

    /// The epoch of a renewal after a reference that is counted here: below that of a release by
    /// somebody who knows of it. Nothing where there is no other.
    pub(super) fn epoch_after(&self) -> Option<u64> {
        epoch_after(self.ever)
    }
}

/// The epoch of a renewal after the last of so many references.
pub(crate) fn epoch_after(uses: u64) -> Option<u64> {
    uses.checked_sub(1).filter(|epoch| *epoch > 0)
}

impl Client {
    /// The segments of a version: of its content, and of its manifest where that has its own.
    pub(crate) async fn segments_of(
        &self,
        sealed: SealedContent<'_>,
    ) -> Result<BTreeSet<SegmentId>, ClientError> {
        let mut segments = BTreeSet::new();
        let mut add = |manifest: &Manifest| {
            segments.extend(manifest.slices.iter().map(|slice| slice.segment));
        };
        if let Some(meta) = self.meta_manifest(sealed)? {
            add(&meta);
        }
        if let Some(manifest) = self.manifest(sealed).await? {
            add(&manifest);
        }
        Ok(segments)
    }

    /// The segments of all versions that are not purged, and the number of those whose long manifest cannot
    /// be read now: of them only the segments that it lies in are among these.
    pub(super) async fn live_segments(&self) -> Result<(BTreeSet<SegmentId>, u64), ClientError> {
        let (mut segments, mut unread) = (BTreeSet::new(), 0);
        for end in self.catalog_call(|catalog| catalog.logs()).await? {
            let (log, mut after) = (end.log, 0);
            loop {
                let (referring, last) =
                    self.catalog_call(move |catalog| page(catalog, &log, after)).await?;
                let Some(last) = last else { break };
                after = last;
                for (change, _) in referring.into_iter().filter(|(_, live)| *live) {
                    let Some(sealed) = sealed(&change) else { continue };
                    match self.segments_of(sealed).await {
                        Ok(named) => segments.extend(named),
                        Err(error) => {
                            let Some(meta) = self.meta_manifest(sealed)? else { return Err(error) };
                            segments.extend(meta.slices.iter().map(|slice| slice.segment));
                            unread += 1;
                        }
                    }
                }
            }
        }
        Ok((segments, unread))
    }

    /// Counts the references to these segments by all operations known here, those of versions
    /// `without` as if they were purged. Takes time in proportion to the account's versions.
    ///
    /// Where the content of a version that is not purged is said to be now counts as living; if that
    /// cannot be read it is an error, as it might refer to any of them. What was before a purge or a
    /// rewrite counts as no reference if it cannot be read; the catalog has counted it by then.
    pub(super) async fn references(
        &self,
        segments: &BTreeSet<SegmentId>,
        without: &BTreeSet<VersionId>,
    ) -> Result<BTreeMap<SegmentId, Uses>, ClientError> {
        let mut uses: BTreeMap<SegmentId, Uses> =
            segments.iter().map(|segment| (*segment, Uses::default())).collect();
        if segments.is_empty() {
            return Ok(uses);
        }
        for end in self.catalog_call(|catalog| catalog.logs()).await? {
            let (log, mut after) = (end.log, 0);
            loop {
                let (referring, last) =
                    self.catalog_call(move |catalog| page(catalog, &log, after)).await?;
                let Some(last) = last else { break };
                after = last;
                for (change, counts) in referring {
                    let Some(sealed) = sealed(&change) else { continue };
                    let live = counts && !without.contains(sealed.version);
                    let named = match self.segments_of(sealed).await {
                        Ok(named) => named,
                        Err(_) if !counts => continue,
                        Err(error) => return Err(error),
                    };
                    for segment in named {
                        if let Some(uses) = uses.get_mut(&segment) {
                            uses.ever += 1;
                            uses.live += u64::from(live);
                        }
                    }
                }
            }
        }
        let asked: Vec<SegmentId> = segments.iter().copied().collect();
        let counted = self.catalog_call(move |catalog| catalog.uses(&asked)).await?;
        for (segment, counted) in segments.iter().zip(counted.into_iter().flatten()) {
            if let Some(uses) = uses.get_mut(segment) {
                uses.ever = uses.ever.max(counted);
            }
        }
        Ok(uses)
    }
}

fn sealed(change: &Change) -> Option<SealedContent<'_>> {
    match change {
        Change::Put(put) => Some(put.sealed()),
        Change::Rewrite(rewrite) => Some(rewrite.sealed()),
        _ => None,
    }
}

/// The changes that refer to segments, each with whether its version's content is where it says.
type Referring = Vec<(Change, bool)>;

/// A page of a log's operations, and the sequence of its last.
fn page(
    catalog: &AccountDb,
    log: &LogId,
    after: u64,
) -> Result<(Referring, Option<u64>), CatalogError> {
    let page = catalog.operations(log, after, PAGE)?;
    let last = page.last().map(|operation| operation.sequence);
    let mut referring = Vec::new();
    for operation in page {
        let Some(version) = sealed(&operation.change).map(|sealed| *sealed.version) else {
            continue;
        };
        let purged = catalog.purged(&[version])?.first() == Some(&true);
        let rewritten = catalog.rewritten(&[version])?.first().copied().flatten();
        let newest = match (&operation.change, rewritten) {
            (Change::Put(_), rewritten) => rewritten.is_none(),
            // Its own row is there, or the catalog is damaged: then it counts.
            (_, rewritten) => rewritten.is_none_or(|it| it == (operation.log, operation.sequence)),
        };
        referring.push((operation.change, !purged && newest));
    }
    Ok((referring, last))
}
