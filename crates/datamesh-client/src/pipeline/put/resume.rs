//! What an earlier transfer of the same file had stored.
//!
//! A file of several segments has a row in the journal, and each of its slices one when it is
//! stored. A put of the same source to the same path begins with what those rows say, as far as the
//! holders still say so.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_catalog::{CatalogError, Journal, SliceDone, Transfer};
use datamesh_core::{Domain, Hash, NodeId, SegmentId, seam, wire};
use datamesh_crypto::Slice;
use datamesh_engine::Spread;

use super::PutRun;
use crate::points;

/// Rows of the journal read at once.
const JOURNAL_PAGE: usize = 1024;

/// A slice that an earlier transfer stored, and what its holders say of it now.
pub(super) struct Earlier {
    pub(super) hash: Hash,
    pub(super) slice: Slice,
    /// Distinct shards.
    pub(super) shards: BTreeSet<u8>,
}

impl PutRun<'_> {
    /// Looks for an earlier transfer of the same file, or begins one. A journal that fails costs
    /// only the ability to resume.
    pub(super) async fn begin_transfer(&mut self, file: usize) -> BTreeMap<u32, Earlier> {
        let Some(open) = self.open.get_mut(&file) else { return BTreeMap::new() };
        let Some(identity) = open.head.source.clone() else { return BTreeMap::new() };
        let (path, scheme) = (open.head.path.clone(), self.scheme);
        let source = datamesh_catalog::Source {
            name: identity.name,
            size: identity.size,
            modified: identity.modified,
            identity: identity.identity,
        };
        let (id, started) = (seam::random(&*self.client.entropy), self.client.engine.now());
        let beginning = self.client.catalog_call(move |catalog| {
            let journal = catalog.journal();
            if let Some(transfer) = journal.load(&source, &path)? {
                if transfer.scheme == scheme {
                    return Ok((transfer.id, done_before(journal, &transfer.id)?));
                }
                journal.end(&transfer.id, &[])?;
            }
            // What the file was before nobody can send any more.
            for transfer in journal.transfers()? {
                if transfer.path == path && transfer.source.name == source.name {
                    journal.end(&transfer.id, &[])?;
                }
            }
            journal.begin(&Transfer { id, source, path, started, scheme })?;
            Ok((id, (Vec::new(), BTreeMap::new())))
        });
        match self.client.step(points::PUT_BEGIN, beginning).await {
            Ok((id, (slices, acknowledged))) => {
                open.transfer = Some(id);
                self.still_stored(slices, &acknowledged).await
            }
            Err(error) => {
                tracing::warn!(%error, "the transfer cannot be resumed");
                BTreeMap::new()
            }
        }
    }

    /// Those of the slices that are as safe as they were when they were stored: nodes may have gone
    /// since, and then a slice is sent again while there are others to take it.
    async fn still_stored(
        &mut self,
        slices: Vec<SliceDone>,
        acknowledged: &BTreeMap<SegmentId, u32>,
    ) -> BTreeMap<u32, Earlier> {
        let slices: Vec<(u32, Hash, Slice)> = slices
            .into_iter()
            .filter_map(|done| Some((done.number, done.hash, self.stored_slice(&done)?)))
            .collect();
        let segments: Vec<SegmentId> = slices.iter().map(|(.., slice)| slice.segment).collect();
        let confirmed = self.client.engine.confirmed(&segments).await;
        let least = self.scheme.commit_min();
        let domains: BTreeMap<NodeId, Domain> = self
            .client
            .engine
            .peers()
            .into_iter()
            .map(|peer| peer.member.advert.certificate.claim)
            .map(|claim| (claim.node, claim.domain))
            .collect();
        let strict = self.sender.forge.spread == Spread::Strict;
        let mut earlier = BTreeMap::new();
        for ((number, hash, slice), holders) in slices.into_iter().zip(confirmed) {
            // Of shards that fail together only one counts, as an earlier put may have been allowed
            // to store with less protection than this one.
            let mut taken = BTreeSet::new();
            let shards: BTreeSet<u8> = holders
                .into_iter()
                .filter(|(_, node)| !strict || domains.get(node).is_some_and(|d| taken.insert(d)))
                .map(|(shard, _)| shard)
                .collect();
            let mask = shards.iter().fold(0, |mask, shard| mask | 1 << shard);
            let before = acknowledged.get(&slice.segment).copied().unwrap_or(u32::MAX);
            if shards.len() >= least && before & !mask == 0 {
                earlier.insert(number, Earlier { hash, slice, shards });
            }
        }
        earlier
    }

    fn stored_slice(&self, done: &SliceDone) -> Option<Slice> {
        let opened = self.client.keys.open_note(&done.sealed).ok()?;
        wire::decode(&opened).ok()
    }
}

/// The slices that a transfer recorded, and the shards of their segments that were acknowledged.
fn done_before(
    journal: &Journal,
    transfer: &[u8; 16],
) -> Result<(Vec<SliceDone>, BTreeMap<SegmentId, u32>), CatalogError> {
    let mut slices: Vec<SliceDone> = Vec::new();
    loop {
        let from = slices.last().map_or(0, |slice| slice.number + 1);
        let page = journal.slices(transfer, from, JOURNAL_PAGE)?;
        if page.is_empty() {
            break;
        }
        slices.extend(page);
    }
    let mut acknowledged = BTreeMap::new();
    let mut after = None;
    loop {
        let page = journal.segments(transfer, after, JOURNAL_PAGE)?;
        after = match page.last() {
            Some(last) => Some(last.segment),
            None => return Ok((slices, acknowledged)),
        };
        acknowledged.extend(page.into_iter().map(|row| (row.segment, row.acknowledged)));
    }
}
