//! Content that the account stores already: a slice of it is referred to and not sent.
//!
//! Content is told by its tag, a hash under the account's key; the catalog knows a version that has
//! it, and that version's manifest has the slice. Before it counts, its segment is renewed at as many
//! holders as a commit needs; where that fails, the content is sent like any other. Equal content of
//! one put is sent once, too: the first slice is sent, the others wait for it.
//!
//! **Releases.** A release by a device that does not know of the new reference carries an epoch that
//! is no higher than the number of references known when the segment was renewed, so the renewal
//! wins. What was committed between the renewal and the commit may raise that number, therefore it is
//! asked again there, and what rose is renewed again. A device that knows of other references may release
//! with a higher epoch all the same, until it hears of these: therefore all is renewed once more when they
//! are published, and whoever releases looks again afterwards for what was published meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datamesh_catalog::Entry;
use datamesh_codec::Buffer;
use datamesh_core::{ContentTag, Hash, SegmentId, VersionId};
use datamesh_crypto::Slice;
use datamesh_engine::{Spread, block};

use super::PutRun;
use crate::client::Client;
use crate::error::ClientError;
use crate::pipeline::sending::{Sending, Stored};

/// Slices of one put whose tags are remembered; content beyond is found by the catalog alone.
const HERE_MAX: usize = 64 * 1024;

/// Segments whose renewal is remembered.
const RENEWED_MAX: usize = 64 * 1024;

/// What a put knows of content that is there already.
#[derive(Default)]
pub(super) struct Known {
    /// Content that this put sends or has sent.
    here: BTreeMap<ContentTag, Here>,
    /// The last manifest that was looked into.
    last: Option<(VersionId, BTreeMap<ContentTag, Slice>)>,
    renewed: Renewals,
    /// Segments that committed versions of this put refer to.
    committed: BTreeSet<SegmentId>,
    /// The catalog cannot say what is there: everything is sent.
    blind: bool,
}

/// Segments that were asked for, with the epoch and what shards were renewed; nothing where that
/// failed.
#[derive(Default)]
pub(super) struct Renewals(BTreeMap<SegmentId, Option<Renewed>>);

impl Renewals {
    /// Before a commit: segments that it refers to and that were referred to more often meanwhile are
    /// renewed again. Returns for how many references each was renewed.
    pub(super) async fn again(
        &mut self,
        client: &Client,
        referred: &[SegmentId],
    ) -> Result<Vec<(SegmentId, u64)>, ClientError> {
        if referred.is_empty() {
            return Ok(Vec::new());
        }
        // Another device's operations may have come in between.
        client.index_contents().await?;
        let asked = referred.to_vec();
        let uses = client.catalog_call(move |catalog| catalog.uses(&asked)).await?;
        let uses = uses.ok_or(ClientError::Contended)?;
        let mut renewed = Vec::new();
        for (segment, uses) in referred.iter().zip(uses) {
            let before = self.0.get(segment).copied().flatten();
            let mut epoch = before.map_or(0, |before| before.epoch);
            // What this put sent itself and has committed nowhere needs no renewal.
            if uses > epoch {
                let shards = client.renew_segment(*segment, uses).await?;
                epoch = uses;
                self.0.insert(*segment, Some(Renewed { epoch, shards }));
            }
            renewed.push((*segment, epoch));
        }
        Ok(renewed)
    }
}

impl Known {
    /// What is known of the renewal of these segments.
    pub(super) fn renewals<'a>(&self, segments: impl Iterator<Item = &'a SegmentId>) -> Renewals {
        let known = |segment: &SegmentId| Some((*segment, *self.renewed.0.get(segment)?));
        Renewals(segments.filter_map(known).collect())
    }

    /// Notes segments that committed versions refer to, and what was renewed for them.
    pub(super) fn committed(
        &mut self,
        segments: impl IntoIterator<Item = SegmentId>,
        renewed: Renewals,
    ) {
        if self.committed.len() < RENEWED_MAX {
            self.committed.extend(segments);
        }
        self.renewed.0.extend(renewed.0);
    }
}

/// A segment that was renewed.
#[derive(Clone, Copy)]
struct Renewed {
    epoch: u64,
    /// A bit for each shard.
    shards: u32,
}

/// Content that this put sends.
enum Here {
    /// It is on its way; these files have it at these places, too.
    Waiting(Vec<(usize, u32)>),
    /// It is stored. What answers for its segment is kept until the put ends: where the file that it was
    /// sent for fails, another one may still come to refer to it.
    Stored { slice: Box<Slice>, margin: u8, owed: Vec<u8>, sending: Option<Arc<Sending>> },
}

impl PutRun<'_> {
    /// Where a slice has content that is there already, it is taken as it is and nothing is left to
    /// send. Else the content comes back, with its tag. `first` is the hash of the content where it is known.
    pub(super) async fn known(
        &mut self,
        file: usize,
        number: u32,
        (plain, filled): (Buffer, usize),
        first: Option<Hash>,
    ) -> Result<Option<(Buffer, ContentTag)>, ClientError> {
        let none = ContentTag([0; ContentTag::SIZE]);
        if filled == 0 {
            // Nothing but padding.
            return Ok(Some((plain, none)));
        }
        let (plain, hash) = match first {
            Some(hash) => (plain, hash),
            None => {
                let hashing = move || {
                    let hash = Hash::of(&plain[..filled]);
                    (plain, hash)
                };
                block(self.client.executor(), hashing).await.ok_or(ClientError::Shutdown)?
            }
        };
        let tag = self.client.keys.content_tag(&hash, filled as u64);
        let having = self.having(vec![tag]).await.into_iter().next().flatten();
        let taken = self.taken(file, number, (tag, filled), having).await;
        Ok((!taken).then_some((plain, tag)))
    }

    /// The newest version that has each of these contents, as far as it is not sent by this put itself.
    pub(super) async fn having(&mut self, tags: Vec<ContentTag>) -> Vec<Option<VersionId>> {
        if self.known.blind || tags.iter().all(|tag| self.known.here.contains_key(tag)) {
            return vec![None; tags.len()];
        }
        let count = tags.len();
        let look = move |catalog: &datamesh_catalog::AccountDb| {
            tags.iter().map(|tag| catalog.having(tag)).collect::<Result<Vec<_>, _>>()
        };
        match self.client.catalog_call(look).await {
            Ok(found) => found,
            Err(error) => {
                self.cannot_look(&error);
                vec![None; count]
            }
        }
    }

    fn cannot_look(&mut self, error: &ClientError) {
        tracing::warn!(%error, "what the account has already cannot be looked for");
        self.known.blind = true;
    }

    /// Gives the file's place the content with this tag, of so many bytes, if it is there; else it is noted as on its
    /// way. `having` is a version that is said to have it.
    pub(super) async fn taken(
        &mut self,
        file: usize,
        number: u32,
        (tag, length): (ContentTag, usize),
        having: Option<VersionId>,
    ) -> bool {
        match self.known.here.get_mut(&tag) {
            Some(Here::Waiting(waiting)) => {
                waiting.push((file, number));
                return true;
            }
            Some(Here::Stored { slice, margin, owed, .. }) => {
                let (slice, margin, owed) = (Slice::clone(slice), *margin, owed.clone());
                self.refer(file, number, slice, margin, &owed);
                return true;
            }
            None => {}
        }
        let found = match having {
            Some(version) => self.there(version, tag, length).await,
            None => Ok(None),
        };
        match found {
            Ok(Some((slice, renewed))) => {
                let n = self.scheme.n() as u8;
                let missing: Vec<u8> = (0..n).filter(|s| renewed.shards & 1 << s == 0).collect();
                let held = renewed.shards.count_ones() as usize;
                let margin = held.saturating_sub(self.scheme.k()) as u8;
                self.refer(file, number, slice, margin, &missing);
                return true;
            }
            Ok(None) => {}
            Err(error) => self.cannot_look(&error),
        }
        if self.known.here.len() < HERE_MAX {
            self.known.here.insert(tag, Here::Waiting(Vec::new()));
        }
        false
    }

    /// The slice of a version that has this content, renewed.
    async fn there(
        &mut self,
        version: VersionId,
        tag: ContentTag,
        length: usize,
    ) -> Result<Option<(Slice, Renewed)>, ClientError> {
        let Some(slice) = self.slice_having(version, tag, length).await? else { return Ok(None) };
        let renewed = self.renewed(slice.segment).await?;
        Ok(renewed.map(|renewed| (slice, renewed)))
    }

    /// Puts a slice that is there at a place of a file.
    fn refer(&mut self, file: usize, number: u32, slice: Slice, margin: u8, owed: &[u8]) {
        let Some(open) = self.open.get_mut(&file) else { return };
        open.margin = open.margin.min(margin);
        open.owed.extend(owed.iter().map(|shard| (slice.segment, *shard)));
        open.known += u64::from(slice.plain_length);
        self.report.known_bytes += u64::from(slice.plain_length);
        // A cleanup beside this put leaves it alone.
        open.sending.push(Sending::hold(&self.client.catalog, slice.segment));
        open.referred.push(slice.segment);
        open.slices.insert(number, slice);
        self.ready(file);
    }

    /// A slice of this put is stored: whoever waits for its content has it now.
    pub(super) fn arrived(&mut self, slice: &Slice, stored: &Stored) {
        let Some(here) = self.known.here.get_mut(&slice.tag) else { return };
        let (margin, owed) = (stored.margin, stored.owed.clone());
        let (slice_here, sending) = (Box::new(slice.clone()), stored.sending.clone());
        let now = Here::Stored { slice: slice_here, margin, owed, sending };
        let Here::Waiting(waiting) = std::mem::replace(here, now) else { return };
        for (file, number) in waiting {
            self.refer(file, number, slice.clone(), stored.margin, &stored.owed);
        }
    }

    /// A slice of an earlier version with this content, stored the way this put stores.
    async fn slice_having(
        &mut self,
        version: VersionId,
        tag: ContentTag,
        length: usize,
    ) -> Result<Option<Slice>, ClientError> {
        if self.known.last.as_ref().is_none_or(|(last, _)| *last != version) {
            let slices = self.slices_of(version).await?;
            self.known.last = Some((version, slices));
        }
        let slice = self.known.last.as_ref().and_then(|(_, slices)| slices.get(&tag));
        Ok(slice.filter(|slice| slice.plain_length as usize == length).cloned())
    }

    /// The slices of a version by their tags; none where it is purged or stored in another way.
    async fn slices_of(
        &mut self,
        version: VersionId,
    ) -> Result<BTreeMap<ContentTag, Slice>, ClientError> {
        let call = move |catalog: &datamesh_catalog::AccountDb| catalog.version_by_id(&version);
        let Some(version) = self.client.catalog_call(call).await? else {
            return Ok(BTreeMap::new());
        };
        let Entry::Put(put) = &version.entry else { return Ok(BTreeMap::new()) };
        let relaxed = self.sender.forge.spread == Spread::Relaxed;
        let suits = put.protection.is_some_and(|protection| {
            protection.scheme == self.scheme && (relaxed || !protection.degraded)
        });
        if version.purged || !suits {
            return Ok(BTreeMap::new());
        }
        let Some(manifest) = self.client.manifest(put.sealed()).await? else {
            return Ok(BTreeMap::new());
        };
        Ok(manifest.slices.into_iter().map(|slice| (slice.tag, slice)).collect())
    }

    /// Renews a segment, once for the put. Nothing where too few holders have it, or the catalog
    /// cannot say how often it is referred to.
    async fn renewed(&mut self, segment: SegmentId) -> Result<Option<Renewed>, ClientError> {
        if let Some(renewed) = self.known.renewed.0.get(&segment) {
            return Ok(*renewed);
        }
        if self.known.renewed.0.len() >= RENEWED_MAX {
            return Ok(None);
        }
        let uses = self.client.catalog_call(move |catalog| catalog.uses(&[segment])).await?;
        let Some(&[uses]) = uses.as_deref() else { return Ok(None) };
        let epoch = uses.max(1);
        let renewed = match self.client.renew_segment(segment, epoch).await {
            Ok(shards) => Some(Renewed { epoch, shards }),
            Err(ClientError::NotRenewed { .. }) => None,
            Err(error) => return Err(error),
        };
        self.known.renewed.0.insert(segment, renewed);
        Ok(renewed)
    }

    /// At the end of the put: lets go of what it sent. Returns what answers for segments that
    /// committed versions refer to; the others are orphans.
    pub(super) fn let_go(&mut self) -> Vec<Arc<Sending>> {
        let here = std::mem::take(&mut self.known.here);
        let held = here.into_values().filter_map(|here| match here {
            Here::Stored { slice, sending, .. }
                if self.known.committed.contains(&slice.segment) =>
            {
                sending
            }
            _ => None,
        });
        held.collect()
    }

    /// Prepares for finding what is there already.
    pub(super) async fn look_for_known(&mut self) {
        if let Err(error) = self.client.index_contents().await {
            self.cannot_look(&error);
        }
    }
}
