//! Epochs of the catalog: learning that a new one began, and beginning one.
//!
//! An epoch begins when a quorum has its record. Before that, the heads of all logs are copied to
//! where they are read in the new epoch, under its key, so that whoever sees the record finds
//! everything; copies without a record are seen by nobody. Whoever learns of a record hands it to a
//! quorum again, so that one that was cut off half-way counts as soon as anybody has seen it.
//!
//! A device that did not know of the new epoch publishes where the others read before. It learns of
//! the epoch with that very head or with its next, and publishes everything once more; others look
//! there too when they begin and when they learn of an epoch. From a revoked device nothing is taken
//! beyond the point that the record names.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use datamesh_catalog::LogEnd;
use datamesh_core::catalog::LogCertificate;
use datamesh_core::epochs::{DEVICES_MAX, EPOCH_MAX, EPOCHS_LOG, Epochs, REVOKED_MAX, RevokedLog};
use datamesh_core::head::{Head, HeadBody};
use datamesh_core::message::KnownHead;
use datamesh_core::wire::{self, Encode};
use datamesh_core::{BoxFuture, DeviceId, Hash, LogId, MeshPath};
use datamesh_crypto::{DeviceKeys, NextEpoch, NextRecord, Standing, Words};
use datamesh_engine::Engine;

use super::{State, publish::TRIES};
use crate::client::Client;
use crate::error::ClientError;
use crate::points;

/// Names that an error tells.
const NAMES_MAX: usize = 8;

/// The newest epochs record that is known here.
#[derive(Debug)]
pub(super) struct KnownEpochs {
    /// The hash of its head.
    hash: Hash,
    body: Epochs,
    standing: Standing,
}

/// What came of beginning an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The epoch.
    pub epoch: u32,
    /// Devices that were revoked now.
    pub revoked: Vec<DeviceId>,
    /// Devices that go on.
    pub devices: Vec<DeviceId>,
    /// Operations of this device that no quorum has yet.
    pub pending: u64,
}

/// Takes the keys of the newest epoch that the mesh knows from the words. Says whether enough nodes
/// answered to know that there is no newer.
///
/// # Errors
/// [`ClientError::Seal`] for a record that does not open.
pub fn derive_epochs<'a>(
    engine: &'a Engine,
    keys: &'a DeviceKeys,
    words: &'a Words,
) -> BoxFuture<'a, Result<bool, ClientError>> {
    Box::pin(async move {
        let (record, reached) = read_record(engine, keys, 0).await?;
        if let Some(head) = record {
            keys.derive_epochs(words, keys.open_epochs(&head)?.epoch);
        }
        Ok(reached)
    })
}

/// The newest record above an epoch that the nodes have, and whether enough of them answered.
async fn read_record(
    engine: &Engine,
    keys: &DeviceKeys,
    above: u64,
) -> Result<(Option<Head>, bool), ClientError> {
    let slot = keys.epochs_slot(&engine.mesh())?;
    let known = [KnownHead { log: EPOCHS_LOG, revision: above }];
    let mut read = engine.read_heads(&slot, if above == 0 { &[] } else { &known }).await;
    let reached = read.reached();
    let newer = read.heads.remove(&EPOCHS_LOG).filter(|head| head.revision > above);
    Ok((newer, reached))
}

impl Client {
    /// The newest epochs record that this device knows; nothing while the first epoch lasts.
    pub fn epochs(&self) -> Option<Epochs> {
        self.known_epochs().map(|known| known.body.clone())
    }

    pub(super) fn known_epochs(&self) -> Option<Arc<KnownEpochs>> {
        self.publication.epochs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the record that the catalog kept, when a client begins.
    pub(crate) fn recall_epochs(&self) -> Result<(), ClientError> {
        let Some(bytes) = self.catalog.epochs()? else { return Ok(()) };
        let head: Head = wire::decode(&bytes).map_err(ClientError::Manifest)?;
        self.know_epochs(&head)
    }

    /// Opens a record, takes its keys, and goes by it from now on.
    fn know_epochs(&self, head: &Head) -> Result<(), ClientError> {
        let body = self.keys.open_epochs(head)?;
        let standing = self.keys.take_epochs(&body)?;
        let known = KnownEpochs { hash: head.hash(), body, standing };
        let mut held = self.publication.epochs.write().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|held| held.body.epoch < known.body.epoch) {
            *held = Some(Arc::new(known));
        }
        Ok(())
    }

    /// Refuses to go on where a record says that this device does not belong to the account's any
    /// more.
    pub(crate) async fn admitted(&self) -> Result<(), ClientError> {
        let Some(known) = self.known_epochs() else { return Ok(()) };
        let epoch = known.body.epoch;
        match known.standing {
            Standing::Member => Ok(()),
            Standing::Unknown => Err(ClientError::LeftOut { epoch }),
            Standing::Revoked => {
                let owner = self.catalog.owner();
                let counted = known.body.bound(&owner.log_key, &owner.log).unwrap_or(0);
                let changes =
                    self.catalog_call(move |catalog| catalog.changes_after(counted)).await?;
                let names: BTreeSet<MeshPath> =
                    changes.iter().filter_map(|change| change.path().cloned()).collect();
                let device = self.keys.device();
                let entry = known.body.revoked.iter().find(|entry| entry.device == device);
                Err(ClientError::Revoked {
                    epoch: entry.map_or(epoch, |entry| entry.epoch),
                    unpublished: changes.len() as u64,
                    names: names.into_iter().take(NAMES_MAX).collect(),
                })
            }
        }
    }

    /// The record of a later epoch than is known here, and whether enough nodes answered to know
    /// that there is none.
    pub(super) async fn newer_epochs(&self) -> Result<(Option<Head>, bool), ClientError> {
        let known = self.known_epochs().map_or(0, |known| u64::from(known.body.epoch));
        read_record(&self.engine, &self.keys, known).await
    }

    /// Goes over to the epoch of a record: keeps it, drops what it says does not count, and forgets
    /// what was known of heads, which lie elsewhere now.
    pub(super) async fn take_epochs(
        &self,
        state: &mut State,
        head: &Head,
    ) -> Result<(), ClientError> {
        let before = self.known_epochs();
        let body = self.keys.open_epochs(head)?;
        let is_revoked = body.is_revoked(&self.keys.device());
        let bytes = head.to_bytes();
        // Kept first: whoever is cut off here, or fails, has not moved on in memory either, and does
        // all of it again.
        let keeping = self.catalog_call(move |catalog| {
            // A revoked device keeps what it has: it is all that it will ever have.
            let bounds: Vec<(LogId, u64)> = if is_revoked {
                Vec::new()
            } else {
                let ends = catalog.logs()?;
                let bound = |end: &LogEnd| Some((end.log, body.bound(&end.key, &end.log)?));
                ends.iter().filter_map(bound).collect()
            };
            catalog.keep_epochs(&bytes, &bounds)
        });
        self.step(points::EPOCH_KEEP, keeping).await?;
        self.know_epochs(head)?;
        state.move_on();
        let Some(known) = self.known_epochs() else { return Ok(()) };
        if let Some(before) = &before
            && before.body.epoch + 1 == known.body.epoch
            && before.hash != known.body.previous
        {
            tracing::warn!(epoch = known.body.epoch, "two epochs were begun at the same time");
        }
        // Somebody may have been cut off while handing it around.
        let told = self.step(points::EPOCH_TELL, self.engine.publish_head(head)).await;
        if !told.reached() {
            tracing::warn!(epoch = known.body.epoch, "the epochs record is on too few nodes");
        }
        Ok(())
    }

    /// Whether a log goes beyond the point up to which it counts.
    pub(super) fn beyond(&self, log: &LogId, body: &HeadBody) -> bool {
        self.known_epochs().is_some_and(|known| {
            let bound = known.body.bound(&body.certificate.log_key, log);
            bound.is_some_and(|bound| body.sequence > bound)
        })
    }

    /// Whether a head of an earlier epoch says of a revoked log what the record says of it. The lost
    /// device can still write there, another history too.
    pub(super) fn agrees(&self, log: &LogId, body: &HeadBody) -> bool {
        let Some(known) = self.known_epochs() else { return true };
        match known.body.revoked.iter().find(|entry| entry.log == *log) {
            Some(entry) => (body.sequence, body.hash) == (entry.sequence, entry.hash),
            None => known.body.bound(&body.certificate.log_key, log).is_none(),
        }
    }

    /// Begins a new epoch of the catalog and revokes devices: they get no key of it, and nothing
    /// that they publish from now on is taken. No data moves.
    ///
    /// # Errors
    /// [`ClientError::Words`], [`ClientError::NoDevice`], [`ClientError::OwnDevice`],
    /// [`ClientError::RevokedBefore`] and [`ClientError::EpochFull`] for what cannot be done; [`ClientError::MayBeOld`] where too few
    /// nodes answer, and [`ClientError::NotRotated`] where they stop answering on the way.
    pub fn rotate<'a>(
        &'a self,
        words: &'a Words,
        revoke: &'a [DeviceId],
    ) -> BoxFuture<'a, Result<Rotated, ClientError>> {
        Box::pin(async move {
            let mut state = self.publication.state.lock().await;
            self.catch_up_locked(&mut state).await?;
            if !matches!(self.newer_epochs().await?, (None, true)) {
                return Err(ClientError::MayBeOld);
            }
            let (mesh, known) = (self.engine.mesh(), self.known_epochs());
            let epoch = known.as_ref().map_or(0, |known| known.body.epoch) + 1;
            full("epochs", epoch as usize, EPOCH_MAX as usize)?;
            let next = NextEpoch::new(words, &mesh, epoch);
            if next.account() != self.keys.account() {
                return Err(ClientError::Words);
            }
            let read = self.engine.read_heads(&self.keys.pseudonym(&mesh)?, &[]).await;
            if !read.reached() {
                return Err(ClientError::MayBeOld);
            }
            let mut logs: Vec<(LogId, u64, HeadBody)> = Vec::new();
            for (log, head) in &read.heads {
                match self.body(head) {
                    Ok(body) => logs.push((*log, head.revision, body)),
                    // A lost device can spoil the heads of others; their writers publish them again.
                    Err(error) => tracing::warn!(%log, %error, "a log is not taken along"),
                }
            }
            let mut revoked =
                known.as_ref().map_or_else(Vec::new, |known| known.body.revoked.clone());
            for entry in &revoked {
                let (device, epoch) = (entry.device, entry.epoch);
                if revoke.contains(&device) {
                    return Err(ClientError::RevokedBefore { device, epoch });
                }
            }
            revoked.extend(self.revocations(&logs, revoke, epoch).await?);
            full("logs of revoked devices", revoked.len(), REVOKED_MAX)?;
            let devices = self.remaining(&logs, &revoked);
            full("devices", devices.len(), DEVICES_MAX)?;

            for (log, revision, body) in &logs {
                let copying = self.copy_head(&next, (*log, *revision), body);
                self.step(points::EPOCH_COPY, copying).await?;
            }
            let record = next.record(
                &*self.entropy,
                NextRecord {
                    began: self.engine.now(),
                    previous: known.map_or(Hash([0; 32]), |known| known.hash),
                    devices: &devices,
                    revoked,
                },
            )?;
            let publishing = self.engine.publish_head(&record);
            let published = self.step(points::EPOCH_RECORD, publishing).await;
            if !published.reached() {
                return Err(match published.rival {
                    Some(_) => ClientError::Contended,
                    None => ClientError::NotRotated { epoch },
                });
            }
            self.take_epochs(&mut state, &record).await?;
            // What others published meanwhile is read where they published it.
            self.catch_up_locked(&mut state).await?;
            let pending = self.publish_locked(&mut state, true).await?.pending;
            let devices = devices.iter().map(|certificate| certificate.device).collect();
            Ok(Rotated { epoch, revoked: revoke.to_vec(), devices, pending })
        })
    }

    /// The entries of devices that are to be revoked.
    async fn revocations(
        &self,
        logs: &[(LogId, u64, HeadBody)],
        revoke: &[DeviceId],
        epoch: u32,
    ) -> Result<Vec<RevokedLog>, ClientError> {
        let own = self.keys.device();
        if revoke.contains(&own) {
            return Err(ClientError::OwnDevice { device: own });
        }
        let ends = self.catalog_call(|catalog| catalog.logs()).await?;
        let mut entries = Vec::new();
        for device in revoke {
            let before = entries.len();
            for (log, _, body) in
                logs.iter().filter(|(.., body)| body.certificate.device == *device)
            {
                // What was taken in here counts, also where the device put an older head since.
                let here = ends.iter().find(|end| end.log == *log);
                let here = here.filter(|end| end.sequence > body.sequence);
                let (sequence, hash) =
                    here.map_or((body.sequence, body.hash), |end| (end.sequence, end.hash));
                let log_key = body.certificate.log_key;
                entries.push(RevokedLog {
                    device: *device,
                    log_key,
                    log: *log,
                    sequence,
                    hash,
                    epoch,
                });
            }
            if entries.len() == before {
                return Err(ClientError::NoDevice { device: *device });
            }
        }
        Ok(entries)
    }

    /// The certificates of the devices that go on, each once.
    fn remaining(
        &self,
        logs: &[(LogId, u64, HeadBody)],
        revoked: &[RevokedLog],
    ) -> Vec<LogCertificate> {
        let mut devices = vec![self.keys.log_certificate().clone()];
        for (.., HeadBody { certificate, .. }) in logs {
            let known = devices.iter().any(|known| known.device == certificate.device);
            let out = revoked.iter().any(|entry| entry.device == certificate.device);
            if !known && !out {
                devices.push(certificate.clone());
            }
        }
        devices.sort_by_key(|certificate| certificate.device);
        devices
    }

    /// Copies a log's head to where it is read in the next epoch. An earlier attempt may have left
    /// one there.
    async fn copy_head(
        &self,
        next: &NextEpoch,
        (log, mut revision): (LogId, u64),
        body: &HeadBody,
    ) -> Result<(), ClientError> {
        let mut body = Cow::Borrowed(body);
        for _ in 0..TRIES {
            let head = next.seal_head(&*self.entropy, (log, revision), &body)?;
            let published = self.engine.publish_head(&head).await;
            if published.reached() {
                return Ok(());
            }
            let Some(rival) = published.rival else { return Err(ClientError::MayBeOld) };
            revision = rival.revision.saturating_add(1);
            // Never an older one in place of a newer one.
            if let Some(newer) =
                next.open_head(&rival).ok().filter(|it| it.sequence > body.sequence)
            {
                body = Cow::Owned(newer);
            }
        }
        Err(ClientError::Contended)
    }
}

fn full(what: &'static str, count: usize, bound: usize) -> Result<(), ClientError> {
    if count > bound { Err(ClientError::EpochFull { what, count, bound }) } else { Ok(()) }
}
