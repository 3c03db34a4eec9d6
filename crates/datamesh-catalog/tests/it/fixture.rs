//! An account with keys that never change, and changes to feed it.

use bytes::Bytes;
use datamesh_catalog::{AccountDb, Append, CatalogError, Owner};
use datamesh_core::catalog::{
    Change, Content, Delete, EncapsulationKey, EntryKind, LogCertificate, Operation, Protection,
    Put, WrappedKey,
};
use datamesh_core::share::{Share, ShareWith};
use datamesh_core::signature::signed_bytes;
use datamesh_core::{
    AccountId, Context, DeviceId, FileId, Hash, LogId, MeshId, MeshPath, PublicKey, Scheme,
    Signature, VersionId,
};
use ed25519_dalek::{Signer, SigningKey};
use tempfile::TempDir;

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn public(seed: u8) -> PublicKey {
    PublicKey(key(seed).verifying_key().to_bytes())
}

/// Signs as the key `seed` in a context, without a mesh.
pub(crate) fn sign(seed: u8, context: Context, body: &[u8]) -> Signature {
    Signature(key(seed).sign(&signed_bytes(context, &MeshId([0; 32]), body)).to_bytes())
}

/// The device whose log and log key both follow from `seed`.
pub(crate) fn owner(seed: u8) -> Owner {
    Owner { account: AccountId(public(100).0), log: LogId([seed; 16]), log_key: public(seed) }
}

/// The account's certificate for that device.
pub(crate) fn certificate(seed: u8) -> LogCertificate {
    let Owner { account, log_key, .. } = owner(seed);
    let device = DeviceId([seed; 16]);
    let encapsulation = EncapsulationKey(Box::new([seed; 1216]));
    let body = LogCertificate::signed_part(&account, &device, &log_key, &encapsulation, 5);
    let signature = sign(100, Context::LogCertificate, &body);
    LogCertificate { account, device, log_key, encapsulation, issued: 5, signature }
}

pub(crate) fn path(text: &str) -> MeshPath {
    text.parse().unwrap()
}

/// Sixteen bytes that follow from a name.
pub(crate) fn id(name: &str) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&Hash::of(name.as_bytes()).0[..16]);
    id
}

pub(crate) fn put(at: &str, version: &str) -> Put {
    Put {
        file: FileId(id(at)),
        version: VersionId(id(version)),
        replaces: VersionId([0; 16]),
        path: path(at),
        kind: EntryKind::File,
        mode: 0o644,
        modified: 1_700_000_000_000,
        created: 1_700_000_000_001,
        size: version.len() as u64,
        hash: Hash::of(version.as_bytes()),
        tags: Vec::new(),
        protection: Some(Protection { scheme: Scheme::FOUR_TWO, degraded: false, margin: 2 }),
        key: WrappedKey {
            suite: WrappedKey::SYMMETRIC,
            epoch: 1,
            bytes: Bytes::copy_from_slice(&[7; 60]),
        },
        content: Content::Manifest(Bytes::copy_from_slice(version.as_bytes())),
    }
}

/// A share of what is at a path, by the key of `seed`.
pub(crate) fn share(seed: u8, at: &str) -> Change {
    Change::Share(Box::new(Share {
        share: public(seed),
        file: FileId(id(at)),
        created: 5,
        expiry: 0,
        with: ShareWith::Link(None),
        secrets: put(at, "").key,
    }))
}

pub(crate) fn tagged(at: &str, version: &str, tags: &[&str]) -> Put {
    Put { tags: tags.iter().map(|&tag| tag.to_owned()).collect(), ..put(at, version) }
}

pub(crate) fn change(put: Put) -> Change {
    Change::Put(Box::new(put))
}

pub(crate) fn delete(at: &str, version: &str) -> Change {
    Change::Delete(Delete {
        file: FileId(id(at)),
        version: VersionId(id(version)),
        replaces: VersionId([0; 16]),
        path: path(at),
        created: 1_700_000_000_002,
    })
}

/// A catalog in a folder of its own, as the device `seed`.
pub(crate) struct Catalog {
    pub(crate) folder: TempDir,
    pub(crate) seed: u8,
    pub(crate) db: AccountDb,
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Self::of(1)
    }

    pub(crate) fn of(seed: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = AccountDb::open(&folder.path().join("catalog.db"), owner(seed)).unwrap();
        Self { folder, seed, db }
    }

    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("catalog.db")
    }

    /// Closes and opens again.
    pub(crate) fn reopened(self) -> Self {
        let Self { folder, seed, db } = self;
        drop(db);
        let db = AccountDb::open(&folder.path().join("catalog.db"), owner(seed)).unwrap();
        Self { folder, seed, db }
    }

    pub(crate) fn try_append(&self, changes: Vec<Change>) -> Result<Vec<Operation>, CatalogError> {
        append(&self.db, self.seed, changes)
    }

    pub(crate) fn append(&self, changes: Vec<Change>) -> Vec<Operation> {
        self.try_append(changes).unwrap()
    }
}

pub(crate) fn append(
    db: &AccountDb,
    seed: u8,
    changes: Vec<Change>,
) -> Result<Vec<Operation>, CatalogError> {
    let append = Append { changes, now: 1_700_000_000_000, ..Append::default() };
    db.append(append, |body| sign(seed, Context::Operation, body))
}
