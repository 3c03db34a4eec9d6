//! What a device holds of an account: subtrees of the key tree and its own certified log key.
//! It does not hold the words, nor the identity key that certifies devices.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use datamesh_core::catalog::{LogCertificate, WrappedKey};
use datamesh_core::head::{Head, HeadBody, Page, PageIndex, Pseudonym};
use datamesh_core::lease::{Release, Renewal, SegmentPin};
use datamesh_core::wire::{self, Decode, Encode, Reader, WireError, Writer};
use datamesh_core::{
    AccountId, ContentTag, Context, Descriptor, DeviceId, Entropy, Hash, LogId, MeshId, PublicKey,
    Signature, Signer, Timestamp, VersionId, seam,
};
use zeroize::Zeroizing;

use crate::Secret;
use crate::content::{self, CatalogKey, SealError, VersionKey};
use crate::epochs;
use crate::object::{self, ObjectKind};
use crate::signing::SigningKey;
use crate::tree::{self, label};
use crate::words::Words;
use crate::wrap::UnwrappingKey;

/// Most catalog epochs that a device keeps keys of.
const EPOCHS_MAX: usize = datamesh_core::epochs::EPOCH_MAX as usize + 1;

const CONTENT_SALT: &[u8] = b"datamesh content tag v1";
const LEASE_SALT: &[u8] = b"datamesh lease v1";
const EPOCH_LEASE_SALT: &[u8] = b"datamesh epoch lease v1";
const NOTE_SALT: &[u8] = b"datamesh device note v1";

/// The mesh id in signatures that are made outside any mesh.
const NO_MESH: MeshId = MeshId([0; 32]);

/// A device's keys.
pub struct DeviceKeys {
    account: AccountId,
    device: DeviceId,
    log_key: SigningKey,
    log_certificate: LogCertificate,
    authority: SigningKey,
    grant: SigningKey,
    /// Ordered by epoch; more come while the keys are in use.
    catalog: RwLock<Vec<Arc<CatalogKey>>>,
    head: Secret,
    lease: Secret,
    dedup: Secret,
    encapsulation: Secret,
}

impl std::fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceKeys({} of {})", self.device, self.account)
    }
}

impl DeviceKeys {
    /// Version of the encoding inside the keystore.
    const VERSION: u8 = 1;

    /// Sets up a fresh device of the account behind `words`.
    pub fn set_up(words: &Words, entropy: &dyn Entropy, now: Timestamp) -> Self {
        let branch = |label| tree::branch(words.entropy(), label);
        let identity = SigningKey::from_secret(&branch(label::IDENTITY));
        let (account, device) = (identity.account_id(), DeviceId(seam::random(entropy)));
        let log_key = SigningKey::draw(entropy);
        let public = log_key.public_key();
        let encapsulation = UnwrappingKey::of_device(&log_key.secret(), &device).public();
        let body = LogCertificate::signed_part(&account, &device, &public, &encapsulation, now);
        let log_certificate = LogCertificate {
            account,
            device,
            log_key: public,
            encapsulation,
            issued: now,
            signature: identity.sign(Context::LogCertificate, &NO_MESH, &body),
        };
        let first = CatalogKey::new(0, tree::catalog_branch(words.entropy(), 0));
        Self {
            account,
            device,
            log_key,
            log_certificate,
            authority: SigningKey::from_secret(&branch(label::AUTHORITY)),
            grant: SigningKey::from_secret(&branch(label::GRANT)),
            catalog: RwLock::new(vec![Arc::new(first)]),
            head: branch(label::HEAD),
            lease: branch(label::LEASE),
            dedup: branch(label::DEDUP),
            encapsulation: branch(label::ENCAPSULATION),
        }
    }

    /// The account.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The key that other devices check this one's operations with.
    pub fn log_certificate(&self) -> &LogCertificate {
        &self.log_certificate
    }

    /// The authority key of a mesh that this account founds.
    pub fn authority(&self) -> &SigningKey {
        &self.authority
    }

    /// The key that signs store tickets.
    pub fn grant(&self) -> &SigningKey {
        &self.grant
    }

    /// Signs the signed part of an operation of this device's log.
    pub fn sign_operation(&self, body: &[u8]) -> Signature {
        self.log_key.sign(Context::Operation, &NO_MESH, body)
    }

    /// Signs by this device's log key, in a mesh.
    pub(crate) fn sign_by_log(&self, context: Context, mesh: &MeshId, body: &[u8]) -> Signature {
        self.log_key.sign(context, mesh, body)
    }

    /// The branch that the keys others wrap to follow from.
    pub(crate) fn encapsulation(&self) -> &Secret {
        &self.encapsulation
    }

    /// Wraps a version key under the newest epoch's catalog key.
    ///
    /// # Errors
    /// [`SealError::Seal`] where the cipher refuses.
    pub fn wrap(
        &self,
        entropy: &dyn Entropy,
        version: &VersionId,
        key: &VersionKey,
    ) -> Result<WrappedKey, SealError> {
        self.newest()?.wrap(entropy, version, key)
    }

    /// The catalog epochs that this device has the keys of, in order.
    pub fn epochs(&self) -> Vec<u32> {
        self.catalog_keys().iter().map(|key| key.epoch()).collect()
    }

    /// The newest catalog epoch that this device has the key of.
    pub fn epoch(&self) -> u32 {
        self.catalog_keys().last().map_or(0, |key| key.epoch())
    }

    pub(crate) fn catalog_keys(&self) -> Vec<Arc<CatalogKey>> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds catalog keys; those of epochs that are here stay.
    pub(crate) fn add_epochs(&self, keys: Vec<CatalogKey>) {
        let mut held = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if held.iter().all(|known| known.epoch() != key.epoch()) {
                held.push(Arc::new(key));
            }
        }
        held.sort_by_key(|key| key.epoch());
    }

    /// The catalog key of the newest epoch.
    pub(crate) fn newest(&self) -> Result<Arc<CatalogKey>, SealError> {
        let held = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        held.last().cloned().ok_or(SealError::Seal)
    }

    /// The key that others wrapped keys to for this device.
    pub(crate) fn unwrapping_key(&self) -> UnwrappingKey {
        UnwrappingKey::of_device(&self.log_key.secret(), &self.device)
    }

    /// The account as the nodes of a mesh know it in the newest epoch: nothing tells the pseudonyms
    /// of two meshes or epochs, or the account itself, from each other.
    ///
    /// # Errors
    /// [`SealError::Seal`] for keys without any epoch, which cannot be.
    pub fn pseudonym(&self, mesh: &MeshId) -> Result<Pseudonym, SealError> {
        Ok(epochs::head_signer(&*self.newest()?, &self.head, mesh).public_key())
    }

    /// The account's pseudonyms in the epochs before the newest, latest first.
    pub fn earlier_pseudonyms(&self, mesh: &MeshId) -> Vec<Pseudonym> {
        let keys = self.catalog_keys();
        let earlier = keys.iter().rev().skip(1);
        earlier.map(|key| epochs::head_signer(key, &self.head, mesh).public_key()).collect()
    }

    /// Seals and signs the head of a log in the newest epoch.
    ///
    /// # Errors
    /// [`SealError::Seal`] where the cipher refuses.
    pub fn seal_head(
        &self,
        entropy: &dyn Entropy,
        mesh: &MeshId,
        (log, revision): (LogId, u64),
        body: &HeadBody,
    ) -> Result<Head, SealError> {
        let key = self.newest()?;
        let signer = epochs::head_signer(&key, &self.head, mesh);
        let object = (ObjectKind::Head, log, revision);
        epochs::seal_head(&key, &signer, entropy, mesh, object, body)
    }

    /// Opens a head whose signature was checked.
    ///
    /// # Errors
    /// [`SealError`] where there is no key for it, it is damaged, or it is no head.
    pub fn open_head(&self, head: &Head) -> Result<HeadBody, SealError> {
        self.open_object((ObjectKind::Head, &head.log, head.revision), &head.sealed)
    }

    /// Seals a page of a log.
    ///
    /// # Errors
    /// [`SealError::Seal`] where the cipher refuses.
    pub fn seal_page(
        &self,
        entropy: &dyn Entropy,
        log: &LogId,
        page: &Page,
    ) -> Result<Vec<u8>, SealError> {
        let first = page.operations.first().map_or(0, |operation| operation.sequence);
        let plain = Zeroizing::new(page.to_bytes());
        object::seal(&*self.newest()?, entropy, (ObjectKind::Page, log, first), &plain)
    }

    /// Opens a page of a log that begins with the operation `first`.
    ///
    /// # Errors
    /// [`SealError`] where there is no key for it, it is damaged, or it is no such page.
    pub fn open_page(&self, log: &LogId, first: u64, sealed: &[u8]) -> Result<Page, SealError> {
        self.open_object((ObjectKind::Page, log, first), sealed)
    }

    /// Seals an index of pages, the last of which ends with the operation `last`.
    ///
    /// # Errors
    /// [`SealError::Seal`] where the cipher refuses.
    pub fn seal_index(
        &self,
        entropy: &dyn Entropy,
        log: &LogId,
        last: u64,
        index: &PageIndex,
    ) -> Result<Vec<u8>, SealError> {
        object::seal(&*self.newest()?, entropy, (ObjectKind::Index, log, last), &index.to_bytes())
    }

    /// Opens an index of pages that leads to the operation `last`.
    ///
    /// # Errors
    /// [`SealError`] where there is no key for it, it is damaged, or it is no such index.
    pub fn open_index(
        &self,
        log: &LogId,
        last: u64,
        sealed: &[u8],
    ) -> Result<PageIndex, SealError> {
        self.open_object((ObjectKind::Index, log, last), sealed)
    }

    pub(crate) fn open_object<T: Decode>(
        &self,
        object: (ObjectKind, &LogId, u64),
        sealed: &[u8],
    ) -> Result<T, SealError> {
        let plain = object::open(&self.catalog_keys(), object, sealed)?;
        wire::decode(&plain).map_err(|_| SealError::Open { what: object.0.name() })
    }

    /// Unwraps a version key of any epoch that this device has.
    ///
    /// # Errors
    /// [`SealError`] where there is no key for it or it is damaged.
    pub fn unwrap_key(
        &self,
        version: &VersionId,
        wrapped: &WrappedKey,
    ) -> Result<VersionKey, SealError> {
        let none = SealError::Wrap { suite: wrapped.suite, epoch: wrapped.epoch };
        let keys = self.catalog_keys();
        let key = keys.iter().find(|key| key.epoch() == wrapped.epoch).ok_or(none)?;
        key.unwrap_key(version, wrapped)
    }

    /// Seals a note of this device to itself, for instance a slice in the journal of transfers.
    ///
    /// # Errors
    /// [`SealError::Seal`] where the cipher refuses.
    pub fn seal_note(&self, entropy: &dyn Entropy, note: &[u8]) -> Result<Bytes, SealError> {
        content::seal_note(&self.note_key(), entropy, note)
    }

    /// Opens what [`seal_note`](Self::seal_note) made on this device.
    ///
    /// # Errors
    /// [`SealError::Open`] for anything else.
    pub fn open_note(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        content::open_note(&self.note_key(), sealed)
    }

    fn note_key(&self) -> Secret {
        tree::derive(NOTE_SALT, &*self.log_key.secret(), &[&self.device.0])
    }

    /// The lease key that the segment with these shard roots has if it was made in the epoch of this
    /// catalog key: in epoch 0 it comes from the tree's branch, later from the epoch's own key, so that
    /// a device that was revoked before cannot make it.
    fn lease_signer(&self, epoch: &CatalogKey, roots: &[Hash]) -> SigningKey {
        let root = match epoch.epoch() {
            0 => self.lease.clone(),
            _ => tree::derive(EPOCH_LEASE_SALT, &**epoch.secret(), &[]),
        };
        let parts: Vec<&[u8]> = roots.iter().map(|root| root.0.as_slice()).collect();
        SigningKey::from_secret(&tree::derive(LEASE_SALT, &*root, &parts))
    }

    /// The lease key that a segment's descriptor names, from whichever epoch it is. Where it is of none
    /// that this device has, another, whose signature nobody takes.
    fn lease_signer_of(&self, descriptor: &Descriptor) -> SigningKey {
        let epochs = self.catalog_keys();
        let signers = epochs.iter().rev().map(|epoch| self.lease_signer(epoch, &descriptor.roots));
        let found = signers.into_iter().find(|key| key.public_key() == descriptor.lease_key);
        found.unwrap_or_else(|| SigningKey::from_secret(&self.lease))
    }

    /// The tag of content that has this BLAKE3 hash and length: all devices of the account come to the
    /// same, and nobody else to any.
    pub fn content_tag(&self, hash: &Hash, length: u64) -> ContentTag {
        let key = tree::derive(CONTENT_SALT, &*self.dedup, &[&hash.0, &length.to_le_bytes()]);
        let mut tag = ContentTag([0; ContentTag::SIZE]);
        tag.0.copy_from_slice(&key[..ContentTag::SIZE]);
        tag
    }

    /// The public lease key for a descriptor with these shard roots, in the newest epoch.
    ///
    /// # Errors
    /// [`SealError::Seal`] for keys without any epoch, which cannot be.
    pub fn lease_key(&self, roots: &[Hash]) -> Result<PublicKey, SealError> {
        Ok(self.lease_signer(&*self.newest()?, roots).public_key())
    }

    /// Renews the lease of a segment.
    pub fn renew(
        &self,
        mesh: &MeshId,
        descriptor: &Descriptor,
        epoch: u64,
        expiry: Timestamp,
    ) -> Renewal {
        let segment = descriptor.id();
        let body = Renewal::signed_part(&segment, epoch, expiry);
        let signature = self.lease_signer_of(descriptor).sign(Context::LeaseRenewal, mesh, &body);
        Renewal { segment, epoch, expiry, signature }
    }

    /// Tells how much the account cares for a segment.
    pub fn pin_segment(
        &self,
        mesh: &MeshId,
        descriptor: &Descriptor,
        epoch: u64,
        (priority, until): (u8, Timestamp),
    ) -> SegmentPin {
        let segment = descriptor.id();
        let body = SegmentPin::signed_part(&segment, epoch, priority, until);
        let signature = self.lease_signer_of(descriptor).sign(Context::SegmentPin, mesh, &body);
        SegmentPin { segment, epoch, priority, until, signature }
    }

    /// Ends the lease of a segment.
    pub fn release(&self, mesh: &MeshId, descriptor: &Descriptor, epoch: u64) -> Release {
        let segment = descriptor.id();
        let body = Release::signed_part(&segment, epoch);
        let signature = self.lease_signer_of(descriptor).sign(Context::LeaseRelease, mesh, &body);
        Release { segment, epoch, signature }
    }

    /// The keys as bytes for the keystore.
    pub(crate) fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Writer::new();
        out.u8(Self::VERSION);
        self.log_certificate.encode(&mut out);
        out.raw(&*self.log_key.secret());
        out.raw(&*self.authority.secret()).raw(&*self.grant.secret());
        out.raw(&*self.head).raw(&*self.lease).raw(&*self.dedup).raw(&*self.encapsulation);
        let catalog = self.catalog_keys();
        out.u16(catalog.len() as u16);
        for key in &catalog {
            out.u32(key.epoch()).raw(&**key.secret());
        }
        Zeroizing::new(out.into_vec())
    }

    /// Reads what [`to_secret_bytes`](Self::to_secret_bytes) wrote.
    pub(crate) fn from_secret_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode::<Stored>(bytes).map(|stored| stored.0)
    }
}

/// The encoding inside the keystore; private, because decoding must not be a public door.
struct Stored(DeviceKeys);

impl Decode for Stored {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("device keys", DeviceKeys::VERSION)?;
        let log_certificate = LogCertificate::decode(from)?;
        let mut secret = || from.array().map(Secret::new);
        let (log_key, authority, grant) = (secret()?, secret()?, secret()?);
        let (head, lease, dedup, encapsulation) = (secret()?, secret()?, secret()?, secret()?);
        let count = from.u16()? as usize;
        if count == 0 || count > EPOCHS_MAX {
            return Err(WireError::Invalid { field: "catalog epochs" });
        }
        let mut catalog: Vec<Arc<CatalogKey>> = Vec::with_capacity(count);
        for _ in 0..count {
            let epoch = from.u32()?;
            if catalog.last().is_some_and(|last| last.epoch() >= epoch) {
                return Err(WireError::Invalid { field: "catalog epochs" });
            }
            catalog.push(Arc::new(CatalogKey::new(epoch, Secret::new(from.array()?))));
        }
        let log_key = SigningKey::from_secret(&log_key);
        let unwrapping = UnwrappingKey::of_device(&log_key.secret(), &log_certificate.device);
        let intact = log_certificate.verify().is_ok()
            && log_certificate.log_key == log_key.public_key()
            && log_certificate.encapsulation == unwrapping.public();
        if !intact {
            return Err(WireError::Invalid { field: "log certificate" });
        }
        Ok(Self(DeviceKeys {
            account: log_certificate.account,
            device: log_certificate.device,
            log_key,
            log_certificate,
            authority: SigningKey::from_secret(&authority),
            grant: SigningKey::from_secret(&grant),
            catalog: RwLock::new(catalog),
            head,
            lease,
            dedup,
            encapsulation,
        }))
    }
}
