//! How often segments are referred to by the account's versions.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::catalog::{Change, Put};
use datamesh_core::{SegmentId, VersionId};
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
}

impl Client {
    /// The segments of a version: of its content, and of its manifest where that has its own.
    pub(crate) async fn segments_of(&self, put: &Put) -> Result<BTreeSet<SegmentId>, ClientError> {
        let mut segments = BTreeSet::new();
        let mut add = |manifest: &Manifest| {
            segments.extend(manifest.slices.iter().map(|slice| slice.segment));
        };
        if let Some(meta) = self.meta_manifest(put)? {
            add(&meta);
        }
        if let Some(manifest) = self.manifest(put).await? {
            add(&manifest);
        }
        Ok(segments)
    }

    /// Counts the references to these segments by all operations known here, those of versions
    /// `without` as if they were purged. Takes time in proportion to the account's versions.
    ///
    /// A version that is not purged and whose manifest cannot be read is an error: it might refer to
    /// any of them. One that is purged counts as no reference then.
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
                let (puts, last) = self
                    .catalog_call(move |catalog| {
                        let page = catalog.operations(&log, after, PAGE)?;
                        let last = page.last().map(|operation| operation.sequence);
                        let puts =
                            page.into_iter().filter_map(|operation| match operation.change {
                                Change::Put(put) => Some(put),
                                _ => None,
                            });
                        let puts: Vec<Box<Put>> = puts.collect();
                        let ids: Vec<VersionId> = puts.iter().map(|put| put.version).collect();
                        let purged = catalog.purged(&ids)?;
                        Ok((puts.into_iter().zip(purged).collect::<Vec<_>>(), last))
                    })
                    .await?;
                let Some(last) = last else { break };
                after = last;
                for (put, purged) in puts {
                    let gone = purged || without.contains(&put.version);
                    let named = match self.segments_of(&put).await {
                        Ok(named) => named,
                        // A long manifest of a purged version may be released already.
                        Err(_) if purged => continue,
                        Err(error) => return Err(error),
                    };
                    for segment in named {
                        if let Some(uses) = uses.get_mut(&segment) {
                            uses.ever += 1;
                            uses.live += u64::from(!gone);
                        }
                    }
                }
            }
        }
        Ok(uses)
    }
}
