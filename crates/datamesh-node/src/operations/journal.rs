//! The journal of puts: what of it can be resumed, and what is given back.

use std::io::ErrorKind;
use std::path::Path;

use datamesh_api::{JournalState, OperationError, TransferState, identity_of};
use datamesh_catalog::{AccountDb, CatalogError, Source, Transfer};
use datamesh_core::Clock;

use super::HomeOperations;
use crate::convert::client_error;
use crate::system::SystemClock;

/// Most orphans that are counted.
const ORPHANS_MAX: usize = 10_000;

/// Most transfers that are listed.
const TRANSFERS_MAX: usize = 1000;

/// A put whose source cannot be looked at is given up so long after it began: until then a disk that is away may
/// be plugged in again.
const AWAY_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// What became of a put's source since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Same,
    Changed,
    /// Nothing has its name.
    Gone,
    /// It cannot be looked at.
    Unknown,
}

fn standing(source: &Source) -> Standing {
    let path = Path::new(&source.name);
    let now = match std::fs::metadata(path) {
        Ok(metadata) => identity_of(path, &metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => return Standing::Gone,
        Err(_) => return Standing::Unknown,
    };
    let same =
        (now.size, now.modified, now.identity) == (source.size, source.modified, source.identity);
    if same { Standing::Same } else { Standing::Changed }
}

/// What the journal knows.
pub(super) fn state(catalog: &AccountDb) -> Result<JournalState, CatalogError> {
    let journal = catalog.journal();
    let (mut orphans, mut after) = (0_u64, None);
    let more_orphans = loop {
        let page = journal.orphans(after.as_ref(), 1024)?;
        let Some(last) = page.last() else { break false };
        orphans += page.len() as u64;
        if orphans >= ORPHANS_MAX as u64 {
            break true;
        }
        after = Some(*last);
    };
    let transfers = journal.transfers()?.into_iter().take(TRANSFERS_MAX);
    let transfer = |transfer: Transfer| TransferState {
        changed: match standing(&transfer.source) {
            Standing::Same => Some(false),
            Standing::Changed | Standing::Gone => Some(true),
            Standing::Unknown => None,
        },
        source: transfer.source.name,
        size: transfer.source.size,
        path: transfer.path,
        started: transfer.started,
    };
    Ok(JournalState {
        transfers: transfers.map(transfer).collect(),
        orphans,
        more_orphans,
        lost: journal.lost().map(ToString::to_string),
    })
}

impl HomeOperations {
    /// Gives up puts that broke off and that nobody can resume.
    pub(super) async fn end_dead_puts(&self) -> Result<(), OperationError> {
        let now = SystemClock.now();
        let is_dead = move |transfer: &Transfer| match standing(&transfer.source) {
            Standing::Same => false,
            Standing::Changed => true,
            Standing::Gone | Standing::Unknown => {
                transfer.started.saturating_add(AWAY_MS_MAX) <= now
            }
        };
        let ended = self.client().await?.end_transfers(is_dead).await;
        let ended = ended.map_err(|error| client_error(&error))?;
        if ended > 0 {
            tracing::info!(ended, "puts whose sources have changed cannot be resumed any more");
        }
        Ok(())
    }

    /// Gives back what broken-off puts of this device left on nodes.
    pub(crate) async fn give_back_left(&self) -> Result<(), OperationError> {
        self.end_dead_puts().await?;
        match self.client().await?.give_back_left().await {
            Ok(0) => {}
            Ok(segments) => tracing::info!(segments, "what broken-off puts left was given back"),
            Err(error) => return Err(client_error(&error)),
        }
        Ok(())
    }
}
