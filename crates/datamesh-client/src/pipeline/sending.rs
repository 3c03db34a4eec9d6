//! A segment on its way to nodes: named in the journal before its first shard is sent, and until
//! the files with slices in it are committed.
//!
//! Between the two, a crash leaves shards that no version refers to, and the row tells whom to
//! release. The row is not synced: it survives the end of the program, not a power cut.

use std::sync::Arc;

use datamesh_catalog::AccountDb;
use datamesh_codec::Pool;
use datamesh_core::padding::padme;
use datamesh_core::{ContentTag, Executor, Hash, Scheme, SegmentId, Timestamp};
use datamesh_crypto::Manifest;
use datamesh_engine::{Engine, Fault, SegmentWrite, WriteError, block, step};

use super::SEGMENT_PLAIN;
use super::segment::Forge;
use crate::error::ClientError;
use crate::points;

/// A segment that a put under way answers for. Whoever has a slice in it holds this; when the last
/// lets go of it without [`settle`], what row the segment has is an orphan's.
pub(crate) struct Sending {
    catalog: Arc<AccountDb>,
    segment: SegmentId,
    /// It has a row of its own; the others have one with their transfer.
    lone_row: bool,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.catalog.journal().given_up(&self.segment);
    }
}

impl Sending {
    /// Holds a segment of a transfer.
    pub(crate) fn hold(catalog: &Arc<AccountDb>, segment: SegmentId) -> Arc<Self> {
        catalog.journal().hold(&segment);
        Arc::new(Self { catalog: Arc::clone(catalog), segment, lone_row: false })
    }

    /// Writes the row of a segment of no transfer; blocks. Without it the segment is stored all the same: what a crash then
    /// leaves is found by listing what nodes hold under the grant.
    pub(crate) fn begin(
        catalog: &Arc<AccountDb>,
        segment: SegmentId,
        now: Timestamp,
    ) -> Option<Arc<Self>> {
        match catalog.journal().sending(&segment, now) {
            Ok(()) => {
                Some(Arc::new(Self { catalog: Arc::clone(catalog), segment, lone_row: true }))
            }
            Err(error) => {
                tracing::warn!(%error, "a segment is sent without a row in the journal");
                None
            }
        }
    }
}

/// Files that held these are committed: removes the rows that nobody else holds. Blocks.
pub(crate) fn settle(catalog: &AccountDb, held: Vec<Arc<Sending>>) {
    let last: Vec<Sending> = held.into_iter().filter_map(Arc::into_inner).collect();
    let rowed = last.iter().filter(|sending| sending.lone_row);
    let segments: Vec<SegmentId> = rowed.map(|sending| sending.segment).collect();
    if segments.is_empty() {
        return;
    }
    // The commit stands; a row too many is compared with the catalog before anything is released.
    if let Err(error) = catalog.journal().settled(&segments) {
        tracing::warn!(%error, "stored segments stay in the journal");
    }
}

/// Where a segment is, as far as its files' records and reports need it.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) segment: SegmentId,
    /// A bit for each shard that a node acknowledged.
    pub(crate) acknowledged: u32,
    /// Acknowledged shards above k.
    pub(crate) margin: u8,
    pub(crate) owed: Vec<u8>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) sending: Option<Arc<Sending>>,
}

/// Makes segments and sends them.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) engine: Arc<Engine>,
    pub(crate) catalog: Arc<AccountDb>,
    pub(crate) forge: Forge,
}

impl Sender {
    pub(crate) fn executor(&self) -> &dyn Executor {
        &**self.engine.executor()
    }

    /// Makes a segment away from the tasks, names it in the journal, and sends it. `journal` writes
    /// the row and gives what holds it, if anything does.
    pub(crate) async fn send<T: Send + 'static>(
        &self,
        make: impl FnOnce(&Forge) -> Result<(SegmentWrite, T), ClientError> + Send + 'static,
        journal: impl FnOnce(&Arc<AccountDb>, SegmentId, Timestamp) -> Option<Arc<Sending>>
        + Send
        + 'static,
    ) -> Result<(Stored, T), ClientError> {
        step(self.executor(), points::PUT_SEND, self.make_and_send(make, journal)).await
    }

    async fn make_and_send<T: Send + 'static>(
        &self,
        make: impl FnOnce(&Forge) -> Result<(SegmentWrite, T), ClientError> + Send + 'static,
        journal: impl FnOnce(&Arc<AccountDb>, SegmentId, Timestamp) -> Option<Arc<Sending>>
        + Send
        + 'static,
    ) -> Result<(Stored, T), ClientError> {
        let (forge, catalog, now) =
            (self.forge.clone(), Arc::clone(&self.catalog), self.engine.now());
        let made = block(self.executor(), move || {
            let (write, made) = make(&forge)?;
            // In the same turn as the coding, and before anything is sent.
            let sending = journal(&catalog, write.ticket.segment, now);
            Ok::<_, ClientError>((write, made, sending))
        });
        let (write, made, sending) = made.await.ok_or(ClientError::Shutdown)??;
        let outcome = match self.engine.write_segment(&write).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let WriteError::TooFewDomains { stored, faults, .. } = &error;
                if *stored == 0 && faults.is_empty() {
                    // Nobody was asked.
                    let catalog = Arc::clone(&self.catalog);
                    let held = sending.into_iter().collect();
                    block(self.executor(), move || settle(&catalog, held)).await;
                }
                return Err(error.into());
            }
        };
        let scheme = write.descriptor.scheme;
        let stored = Stored {
            segment: outcome.segment,
            acknowledged: outcome.receipts.iter().fold(0, |mask, r| mask | 1 << r.shard),
            margin: outcome.receipts.len().saturating_sub(scheme.k()) as u8,
            owed: outcome.owed,
            faults: outcome.faults,
            sending,
        };
        self.engine.remember_receipts(outcome.receipts).await;
        Ok((stored, made))
    }

    /// Stores a long manifest in segments of its own, under the catalog's scheme. Returns the
    /// manifest of the manifest, what is owed, and the least margin; the journal's rows go to `held`.
    pub(crate) async fn manifest(
        &self,
        scheme: Scheme,
        pool: &Pool,
        bytes: &[u8],
        held: &mut Vec<Arc<Sending>>,
    ) -> Result<(Manifest, Vec<(SegmentId, u8)>, u8), ClientError> {
        let scheme = scheme.for_catalog();
        let mut slices = Vec::new();
        let mut owed = Vec::new();
        let mut margin = u8::MAX;
        for part in bytes.chunks(SEGMENT_PLAIN) {
            let length = padme(part.len() as u64) as usize;
            let mut plain = pool.take(length.min(SEGMENT_PLAIN));
            plain[..part.len()].copy_from_slice(part);
            plain[part.len()..].fill(0);
            let make = move |forge: &Forge| forge.lone(scheme, &plain);
            let (stored, sealed) = self.send(make, Sending::begin).await?;
            margin = margin.min(stored.margin);
            owed.extend(stored.owed.iter().map(|shard| (stored.segment, *shard)));
            slices.push(sealed.slice(part.len() as u32, ContentTag([0; ContentTag::SIZE])));
            held.extend(stored.sending);
        }
        let (size, hash) = (bytes.len() as u64, Hash::of(bytes));
        Ok((Manifest { size, hash, known: 0, slices }, owed, margin))
    }
}
