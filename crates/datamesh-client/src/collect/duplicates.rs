//! Content that was stored twice by puts that did not know of each other: one copy is referred to,
//! the others are given up.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_core::{BoxFuture, ContentTag, Scheme, SegmentId, VersionId};
use datamesh_crypto::Slice;
use datamesh_engine::Spread;

use super::rewrite::{Made, Moves, Rewritten, kind_of};
use crate::client::Client;
use crate::error::ClientError;
use crate::pipeline::sending::Sending;

/// Contents that are brought together in one run; the rest is for the next.
const CONTENTS_MAX: usize = 16 * 1024;

/// What bringing equal content together did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// Slices whose content is in another slice, too.
    pub slices: u64,
    /// Bytes of ciphertext in them.
    pub bytes: u64,
    /// Contents of which no copy could be renewed at enough nodes; they stay as they are.
    pub kept: u64,
    /// What came of it.
    pub rewritten: Rewritten,
}

/// Content, and the scheme and spread that it is stored with.
type Kind = (ContentTag, u32, Scheme, Spread);

impl Client {
    /// Tells what content is stored more than once.
    ///
    /// # Errors
    /// As [`cleanup`](Self::cleanup).
    pub fn find_duplicates(&self) -> BoxFuture<'_, Result<Duplicates, ClientError>> {
        Box::pin(async move {
            self.know_newest().await?;
            self.merge_duplicates(true).await
        })
    }

    /// Brings equal content together.
    ///
    /// # Errors
    /// [`ClientError::MayBeOld`] where this device may not know the newest, and where a manifest
    /// cannot be read.
    pub(super) async fn merge_duplicates(&self, dry_run: bool) -> Result<Duplicates, ClientError> {
        let mut copies: BTreeMap<Kind, BTreeMap<(SegmentId, u32), Slice>> = BTreeMap::new();
        self.each_live(|put, manifest| {
            let Some((scheme, spread)) = kind_of(put) else { return };
            for slice in &manifest.slices {
                if slice.tag == ContentTag([0; ContentTag::SIZE]) {
                    continue;
                }
                let kind = (slice.tag, slice.plain_length, scheme, spread);
                let place = (slice.segment, slice.offset);
                copies.entry(kind).or_default().insert(place, slice.clone());
            }
        })
        .await?;
        copies.retain(|_, places| places.len() > 1);
        let mut duplicates = Duplicates::default();
        let mut moves = Moves::default();
        for ((_, _, scheme, _), places) in copies.into_iter().take(CONTENTS_MAX) {
            let of_all: u64 = places.values().map(|slice| u64::from(slice.length)).sum();
            if dry_run {
                duplicates.slices += places.len() as u64 - 1;
                let least = places.values().map(|slice| u64::from(slice.length)).min();
                duplicates.bytes += of_all - least.unwrap_or(0);
                continue;
            }
            let Some(kept) = self.renewable(&places, scheme, &mut moves).await? else {
                duplicates.kept += 1;
                continue;
            };
            duplicates.slices += places.len() as u64 - 1;
            duplicates.bytes += of_all - u64::from(kept.length);
            for place in places.into_keys() {
                if place != (kept.segment, kept.offset) {
                    // A place may be there for versions of several kinds; the first, which is the
                    // strictest, decides.
                    moves.slices.entry(place).or_insert_with(|| kept.clone());
                }
            }
        }
        if moves.slices.is_empty() {
            return Ok(duplicates);
        }
        let mut versions: BTreeSet<VersionId> = BTreeSet::new();
        let slices = &moves.slices;
        self.each_live(|put, manifest| {
            let moved = |slice: &Slice| slices.contains_key(&(slice.segment, slice.offset));
            if manifest.slices.iter().any(moved) {
                versions.insert(put.version);
            }
        })
        .await?;
        let sender = self.resender(Spread::Strict);
        duplicates.rewritten = self.rewrite(&versions, moves, &sender).await?;
        Ok(duplicates)
    }

    /// The first of these copies whose segment enough nodes renew.
    async fn renewable(
        &self,
        places: &BTreeMap<(SegmentId, u32), Slice>,
        scheme: Scheme,
        moves: &mut Moves,
    ) -> Result<Option<Slice>, ClientError> {
        self.index_contents().await?;
        for slice in places.values() {
            let segment = slice.segment;
            if moves.referred.contains(&segment) {
                return Ok(Some(slice.clone()));
            }
            let uses = self.catalog_call(move |catalog| catalog.uses(&[segment])).await?;
            let uses = uses.and_then(|uses| uses.first().copied()).unwrap_or(1);
            match self.renew_segment(segment, uses.max(1)).await {
                Ok(shards) => {
                    let held = shards.count_ones() as usize;
                    let made = Made {
                        margin: held.saturating_sub(scheme.k()) as u8,
                        owed: Vec::new(),
                        sending: Some(Sending::hold(&self.catalog, segment)),
                    };
                    moves.made.insert(segment, made);
                    moves.referred.insert(segment);
                    return Ok(Some(slice.clone()));
                }
                Err(ClientError::NotRenewed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
