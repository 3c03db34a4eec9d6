//! A segment on its way to nodes: named in the journal before its first shard is sent, and until
//! the files with slices in it are committed.
//!
//! Between the two, a crash leaves shards that no version refers to, and the row tells whom to
//! release. The row is not synced: it survives the end of the program, not a power cut.

use std::sync::Arc;

use datamesh_catalog::AccountDb;
use datamesh_core::{Executor, SegmentId, Timestamp};
use datamesh_engine::{Engine, Fault, SegmentWrite, WriteError, block};

use super::segment::Forge;
use crate::error::ClientError;

/// A segment that a put under way answers for. Whoever has a slice in it holds this; when the last
/// lets go of it without [`settle`], what row the segment has is an orphan's.
pub(super) struct Sending {
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
    pub(super) fn hold(catalog: &Arc<AccountDb>, segment: SegmentId) -> Arc<Self> {
        catalog.journal().hold(&segment);
        Arc::new(Self { catalog: Arc::clone(catalog), segment, lone_row: false })
    }

    /// Writes the row of a segment of no transfer; blocks. Without it the segment is stored all the same: what a crash then
    /// leaves is found by listing what nodes hold under the grant.
    pub(super) fn begin(
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
pub(super) fn settle(catalog: &AccountDb, held: Vec<Arc<Sending>>) {
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
pub(super) struct Stored {
    pub(super) segment: SegmentId,
    /// A bit for each shard that a node acknowledged.
    pub(super) acknowledged: u32,
    /// Acknowledged shards above k.
    pub(super) margin: u8,
    pub(super) owed: Vec<u8>,
    pub(super) faults: Vec<Fault>,
    pub(super) sending: Option<Arc<Sending>>,
}

/// Makes segments and sends them.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) engine: Arc<Engine>,
    pub(super) catalog: Arc<AccountDb>,
    pub(super) forge: Forge,
}

impl Sender {
    pub(super) fn executor(&self) -> &dyn Executor {
        &**self.engine.executor()
    }

    /// Makes a segment away from the tasks, names it in the journal, and sends it. `journal` writes
    /// the row and gives what holds it, if anything does.
    pub(super) async fn send<T: Send + 'static>(
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
}
