//! A slice with a segment of its own: a full part of a large file.

use std::sync::Arc;

use datamesh_catalog::{AccountDb, SegmentWritten, SliceDone};
use datamesh_codec::Buffer;
use datamesh_core::wire::Encode;
use datamesh_core::{ContentTag, Hash, Scheme, SegmentId, Timestamp};
use datamesh_engine::{block, step};

use crate::pipeline::sending::{Sender, Sending, Stored};
use crate::pipeline::{Done, Finished};
use crate::points;

/// Where a slice is noted when it is stored.
#[derive(Clone, Copy)]
pub(super) struct Noted {
    pub(super) transfer: [u8; 16],
    /// BLAKE3 of the file's plaintext from its beginning to the end of the slice. The hash of the
    /// slice alone would cost a second pass over every byte.
    pub(super) hash: Hash,
}

/// A slice to be sealed and sent.
pub(super) struct Lone {
    pub(super) file: usize,
    pub(super) number: u32,
    pub(super) plain: Buffer,
    pub(super) plain_length: u32,
    pub(super) tag: ContentTag,
    /// Set where the file has a transfer in the journal.
    pub(super) journal: Option<Noted>,
}

impl Lone {
    pub(super) async fn run(self, sender: &Sender, scheme: Scheme) -> Finished {
        let Self { file, number, plain, plain_length, tag, journal } = self;
        let sent = sender
            .send(
                move |forge| forge.slice(scheme, &plain, plain_length as usize),
                move |catalog, segment, now| match journal {
                    Some(noted) => name_in_transfer(catalog, &noted, segment, now),
                    None => Sending::begin(catalog, segment, now),
                },
            )
            .await;
        let (stored, sealed) = sent.map_err(|error| (vec![file], error))?;
        let slice = sealed.slice(plain_length, tag);
        if let Some(noted) = journal
            && let Ok(sealed) =
                sender.forge.keys.seal_note(&*sender.forge.entropy, &slice.to_bytes())
        {
            let done = SliceDone { number, hash: noted.hash, sealed: sealed.to_vec() };
            note(sender, noted.transfer, &stored, done).await;
        }
        Ok(Done { slices: vec![(file, number, slice)], stored: Some(stored) })
    }
}

/// Names the segment in the journal as one of the transfer's, before it is sent.
fn name_in_transfer(
    catalog: &Arc<AccountDb>,
    noted: &Noted,
    segment: SegmentId,
    sent: Timestamp,
) -> Option<Arc<Sending>> {
    let written = SegmentWritten { segment, acknowledged: 0, sent };
    // Another put of the same source may end the transfer.
    let held = Sending::hold(catalog, segment);
    match catalog.journal().segment(&noted.transfer, written) {
        Ok(()) => Some(held),
        Err(error) => {
            tracing::warn!(%error, "a segment of the transfer is not in the journal");
            Sending::begin(catalog, segment, sent)
        }
    }
}

/// Notes a stored slice, so that a resumed transfer needs not send it again.
async fn note(sender: &Sender, transfer: [u8; 16], stored: &Stored, done: SliceDone) {
    let written = SegmentWritten {
        segment: stored.segment,
        acknowledged: stored.acknowledged,
        sent: sender.engine.now(),
    };
    let catalog = Arc::clone(&sender.catalog);
    let noting = block(sender.executor(), move || {
        catalog.journal().segment(&transfer, written)?;
        catalog.journal().slice(&transfer, &done)
    });
    let noted = step(sender.executor(), points::PUT_NOTE, noting).await;
    if let Some(Err(error)) = noted {
        tracing::warn!(%error, "a slice of the transfer is not in the journal");
    }
}
