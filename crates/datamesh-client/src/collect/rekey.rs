//! Sealing anew: whatever a device that was revoked could still open or release is stored once more under
//! keys of the newest epoch, and the old segments are released.
//!
//! A slice says in which epoch its key was drawn; those of earlier epochs are sealed anew (`reseal`). Pages
//! of the logs come last: see `catalog/renewal.rs`.

use std::collections::BTreeMap;

use datamesh_core::{BoxFuture, VersionId};
use datamesh_crypto::Slice;

use super::reseal::{Kind, Reseal};
use super::rewrite::{Rewritten, kind_of};
use crate::client::Client;
use crate::error::ClientError;

/// What was sealed anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// The epoch whose keys everything has now.
    pub epoch: u32,
    /// Versions that had slices under earlier keys.
    pub versions: u64,
    /// Bytes of plaintext in these slices.
    pub bytes: u64,
    /// What came of rewriting them.
    pub rewritten: Rewritten,
    /// Logs whose pages were stored anew.
    pub logs: u64,
}

impl Client {
    /// Seals everything anew that was sealed in an epoch before the newest.
    ///
    /// # Errors
    /// [`ClientError::MayBeOld`] where this device may not know the newest; where a slice cannot be read
    /// or stored. What was committed by then stays, and another call does the rest.
    pub fn rekey(&self) -> BoxFuture<'_, Result<Rekeyed, ClientError>> {
        Box::pin(async move {
            let _moving = self.publication.moving.lock().await;
            self.know_newest().await?;
            let epoch = self.keys.epoch();
            let mut rekeyed = Rekeyed { epoch, ..Rekeyed::default() };
            let mut old: BTreeMap<Kind, Vec<(VersionId, u64)>> = BTreeMap::new();
            self.each_live(|put, manifest| {
                let slices = manifest.slices.iter().filter(|slice| slice.epoch < epoch);
                let bytes: u64 = slices.map(|slice| u64::from(slice.plain_length)).sum();
                if let Some(kind) = kind_of(put)
                    && manifest.slices.iter().any(|slice| slice.epoch < epoch)
                {
                    old.entry(kind).or_default().push((put.version, bytes));
                    rekeyed.versions += 1;
                    rekeyed.bytes += bytes;
                }
            })
            .await?;
            let wanted = |slice: &Slice| slice.epoch < epoch;
            let reseal = Reseal { wanted: &wanted, smaller: false };
            rekeyed.rewritten = self.reseal(old, reseal).await?;
            if rekeyed.rewritten.pending > 0 {
                return Ok(rekeyed);
            }
            rekeyed.logs = self.renew_pages().await?;
            Ok(rekeyed)
        })
    }
}
