//! Catalog epochs: their keys, the record that hands one out, and who can open it.
//!
//! The key of epoch e is a branch of the words' tree. Devices get it from the [record](Epochs), wrapped
//! to each; from epoch 1 on the key that signs heads follows from it, so that a device without it
//! can publish nowhere where others look. The record itself is sealed under the key of epoch 0,
//! which every device has, and signed by the account's identity, blinded for the mesh.

use bytes::Bytes;
use datamesh_core::catalog::LogCertificate;
use datamesh_core::epochs::{DeviceWrap, EPOCHS_LOG, Epochs, RevokedLog};
use datamesh_core::head::{Head, HeadBody, Pseudonym};
use datamesh_core::wire::{self, Encode};
use datamesh_core::{
    AccountId, Context, DeviceId, Entropy, Hash, LogId, MeshId, Signer, Timestamp,
};
use zeroize::Zeroizing;

use crate::Secret;
use crate::account::DeviceKeys;
use crate::blind::{self, BlindedKey};
use crate::content::{self, CatalogKey, SealError};
use crate::object::{self, ObjectKind};
use crate::signing::SigningKey;
use crate::tree::{self, label};
use crate::words::Words;
use crate::wrap;

const PURPOSE: &[u8] = b"datamesh epoch key v1";
const HEAD_SALT: &[u8] = b"datamesh pseudonym v1";
const EPOCH_HEAD_SALT: &[u8] = b"datamesh epoch head v1";

/// What the key of an epoch is wrapped with, so that it opens as this alone.
fn context(account: &AccountId, device: &DeviceId, epoch: u32) -> Vec<u8> {
    [&account.0[..], &device.0, &epoch.to_le_bytes()].concat()
}

/// The key that signs an epoch's heads in a mesh; `head` is the tree's branch, used in epoch 0.
pub(crate) fn head_signer(key: &CatalogKey, head: &Secret, mesh: &MeshId) -> SigningKey {
    let secret = match key.epoch() {
        0 => head.clone(),
        _ => tree::derive(EPOCH_HEAD_SALT, &**key.secret(), &[]),
    };
    SigningKey::from_secret(&tree::derive(HEAD_SALT, &*secret, &[&mesh.0]))
}

/// Seals a head's body under an epoch's key and signs it.
pub(crate) fn seal_head(
    key: &CatalogKey,
    signer: &dyn Signer,
    entropy: &dyn Entropy,
    mesh: &MeshId,
    (kind, log, revision): (ObjectKind, LogId, u64),
    body: &impl Encode,
) -> Result<Head, SealError> {
    let plain = Zeroizing::new(body.to_bytes());
    let sealed = Bytes::from(object::seal(key, entropy, (kind, &log, revision), &plain)?);
    if sealed.len() > datamesh_core::head::HEAD_SEALED_BYTES_MAX {
        return Err(SealError::Seal);
    }
    let account = signer.public_key();
    let body = Head::signed_part(&account, &log, revision, &sealed);
    let signature = signer.sign(Context::Head, mesh, &body);
    Ok(Head { account, log, revision, expiry: 0, ended: false, sealed, signature })
}

/// What the record of a next epoch says beside keys.
#[derive(Debug)]
pub struct NextRecord<'a> {
    /// When it begins.
    pub began: Timestamp,
    /// Hash of the record's head before; zero for the first.
    pub previous: Hash,
    /// The devices that go on.
    pub devices: &'a [LogCertificate],
    /// Logs of devices that were revoked, in any order.
    pub revoked: Vec<RevokedLog>,
}

/// An epoch that is about to begin, for whoever has the words.
pub struct NextEpoch {
    account: AccountId,
    mesh: MeshId,
    keys: Vec<CatalogKey>,
    newest: CatalogKey,
    record_signer: BlindedKey,
    head_signer: SigningKey,
}

impl NextEpoch {
    /// The epoch with this number, from 1 on, of the account behind `words`.
    pub fn new(words: &Words, mesh: &MeshId, epoch: u32) -> Self {
        let branch = |label| tree::branch(words.entropy(), label);
        let key = |epoch| CatalogKey::new(epoch, tree::catalog_branch(words.entropy(), epoch));
        let identity = branch(label::IDENTITY);
        let newest = key(epoch);
        Self {
            account: SigningKey::from_secret(&identity).account_id(),
            mesh: *mesh,
            keys: (0..epoch).map(key).collect(),
            record_signer: BlindedKey::new(&identity, mesh),
            head_signer: head_signer(&newest, &branch(label::HEAD), mesh),
            newest,
        }
    }

    /// The account whose words were given.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The account as nodes know it in this epoch.
    pub fn pseudonym(&self) -> Pseudonym {
        self.head_signer.public_key()
    }

    /// Seals and signs the head of a log for this epoch.
    ///
    /// # Errors
    /// [`SealError::Seal`] where the cipher refuses.
    pub fn seal_head(
        &self,
        entropy: &dyn Entropy,
        (log, revision): (LogId, u64),
        body: &HeadBody,
    ) -> Result<Head, SealError> {
        let object = (ObjectKind::Head, log, revision);
        seal_head(&self.newest, &self.head_signer, entropy, &self.mesh, object, body)
    }

    /// Opens a head that [`seal_head`](Self::seal_head) made, or a device in this epoch.
    ///
    /// # Errors
    /// [`SealError`] where it was sealed in another epoch or is damaged.
    pub fn open_head(&self, head: &Head) -> Result<HeadBody, SealError> {
        let kind = ObjectKind::Head;
        let plain = object::open(&[&self.newest], (kind, &head.log, head.revision), &head.sealed)?;
        wire::decode(&plain).map_err(|_| SealError::Open { what: kind.name() })
    }

    /// The record with which this epoch begins.
    ///
    /// # Errors
    /// [`SealError::Seal`] where the cipher refuses, a device's key is none, or there is too much for
    /// a record.
    pub fn record(&self, entropy: &dyn Entropy, next: NextRecord<'_>) -> Result<Head, SealError> {
        let epoch = self.newest.epoch();
        let mut earlier = Zeroizing::new(Vec::with_capacity(32 * self.keys.len()));
        for key in &self.keys {
            earlier.extend_from_slice(&**key.secret());
        }
        let earlier = content::seal_earlier(self.newest.secret(), epoch, entropy, &earlier)?;
        let mut devices = Vec::with_capacity(next.devices.len());
        for certificate in next.devices {
            let device = certificate.device;
            let context = context(&self.account, &device, epoch);
            let to = &certificate.encapsulation;
            let wrapped = wrap::wrap(to, entropy, PURPOSE, &context, self.newest.secret())?;
            devices.push(DeviceWrap { device, wrapped });
        }
        devices.sort_by_key(|wrap| wrap.device);
        devices.dedup_by_key(|wrap| wrap.device);
        let mut revoked = next.revoked;
        revoked.sort_by_key(|entry| (entry.device, entry.log));
        let (began, previous) = (next.began, next.previous);
        let body = Epochs { epoch, began, previous, earlier, devices, revoked };
        if wire::encode_readable("epochs record", &body).is_err() {
            return Err(SealError::Seal);
        }
        let first = self.keys.first().ok_or(SealError::Seal)?;
        let object = (ObjectKind::Epochs, EPOCHS_LOG, u64::from(epoch));
        seal_head(first, &self.record_signer, entropy, &self.mesh, object, &body)
    }
}

/// What an epochs record means for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has the keys of the record's epoch.
    Member,
    /// It was revoked.
    Revoked,
    /// Nobody wrapped the key to it: it had published nothing when the epoch began.
    Unknown,
}

impl DeviceKeys {
    /// Where the account's epochs record lies in a mesh.
    ///
    /// # Errors
    /// [`SealError::Seal`] where the account's id is no key, which cannot be.
    pub fn epochs_slot(&self, mesh: &MeshId) -> Result<Pseudonym, SealError> {
        blind::blinded_public(&self.account(), mesh).ok_or(SealError::Seal)
    }

    /// Opens an epochs record, whose signature and account were checked.
    ///
    /// # Errors
    /// [`SealError`] where it is damaged or is none.
    pub fn open_epochs(&self, head: &Head) -> Result<Epochs, SealError> {
        let what = ObjectKind::Epochs.name();
        let body: Epochs =
            self.open_object((ObjectKind::Epochs, &head.log, head.revision), &head.sealed)?;
        if head.log != EPOCHS_LOG || u64::from(body.epoch) != head.revision {
            return Err(SealError::Open { what });
        }
        Ok(body)
    }

    /// Takes the keys out of a record that are for this device. Keys that it has stay.
    ///
    /// # Errors
    /// [`SealError`] where what is for this device does not open.
    pub fn take_epochs(&self, epochs: &Epochs) -> Result<Standing, SealError> {
        if epochs.is_revoked(&self.device()) {
            return Ok(Standing::Revoked);
        }
        if self.epochs().contains(&epochs.epoch) {
            return Ok(Standing::Member);
        }
        let device = self.device();
        let Some(wrap) = epochs.devices.iter().find(|wrap| wrap.device == device) else {
            return Ok(Standing::Unknown);
        };
        let context = context(&self.account(), &device, epochs.epoch);
        let newest = self.unwrapping_key().unwrap_key(PURPOSE, &context, &wrap.wrapped)?;
        let earlier = content::open_earlier(&newest, epochs.epoch, &epochs.earlier)?;
        let what = "list of earlier epochs";
        if earlier.len() != 32 * epochs.epoch as usize {
            return Err(SealError::Open { what });
        }
        let mut keys = Vec::with_capacity(epochs.epoch as usize + 1);
        for (epoch, secret) in (0..).zip(earlier.chunks_exact(32)) {
            let secret = secret.try_into().map_err(|_| SealError::Open { what })?;
            keys.push(CatalogKey::new(epoch, Secret::new(secret)));
        }
        keys.push(CatalogKey::new(epochs.epoch, newest));
        self.add_epochs(keys);
        Ok(Standing::Member)
    }

    /// Takes the keys of all epochs up to one from the words.
    pub fn derive_epochs(&self, words: &Words, newest: u32) {
        let key = |epoch| CatalogKey::new(epoch, tree::catalog_branch(words.entropy(), epoch));
        self.add_epochs((0..=newest).map(key).collect());
    }
}
