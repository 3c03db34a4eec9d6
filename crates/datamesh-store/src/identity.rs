//! Whose shards these are: the file that tells a store's directory from any other.
//!
//! Without it an unmounted disk would look like an empty store, and a node that believes its
//! store to be empty reports every shard as lost. So the file is made in an empty directory only,
//! and whoever knows the store's id from before says so at opening.

use std::fmt;

use datamesh_core::wire::{Decode, Encode, Reader, WireError, Writer, decode};
use datamesh_core::{Entropy, Hash, NodeId, seam};

use crate::disk::{Disk, DiskError};
use crate::error::StoreError;
use crate::points::{self, step};

/// Name of the file.
pub const IDENTITY_FILE: &str = "identity";

/// Name it has until it is whole.
pub(crate) const IDENTITY_DRAFT_FILE: &str = "identity.draft";

/// BLAKE3 derive-key context of the file's hash.
const IDENTITY_CONTEXT: &str = "datamesh 2026 store identity v1";

/// First bytes of the file.
const IDENTITY_MAGIC: [u8; 4] = *b"DMSI";

/// Bytes of the file.
const IDENTITY_BYTES: usize = 4 + 1 + 16 + 32 + 32;

/// Names one store. Drawn at random and never sent: it keys the hashes of the store's records, so
/// that whoever chooses the bytes of a shard cannot make them look like a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreId(pub [u8; 16]);

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreId(…)")
    }
}

/// Who opens the store.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// The node.
    pub node: NodeId,
    /// The store that the node had before; none when it never had one.
    pub store: Option<StoreId>,
}

#[derive(Debug, PartialEq, Eq)]
struct Identity {
    store: StoreId,
    node: NodeId,
}

impl Identity {
    fn checked_part(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&IDENTITY_MAGIC).u8(1).raw(&self.store.0).raw(&self.node.0);
        out.into_vec()
    }
}

impl Encode for Identity {
    fn encode(&self, out: &mut Writer) {
        let part = self.checked_part();
        out.raw(&part).raw(&Hash::derive(IDENTITY_CONTEXT, &part).0);
    }
}

impl Decode for Identity {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        if from.array()? != IDENTITY_MAGIC {
            return Err(WireError::Invalid { field: "identity magic" });
        }
        from.version("identity", 1)?;
        let identity = Self { store: StoreId(from.array()?), node: NodeId(from.array()?) };
        if Hash::decode(from)? != Hash::derive(IDENTITY_CONTEXT, &identity.checked_part()) {
            return Err(WireError::Invalid { field: "identity hash" });
        }
        Ok(identity)
    }
}

/// Reads the identity, or gives one to an empty directory. `ignored` are files that any directory
/// may have.
pub(crate) fn open(
    disk: &dyn Disk,
    owner: &Owner,
    entropy: &dyn Entropy,
    ignored: &[&str],
) -> Result<StoreId, StoreError> {
    let names = disk.list()?;
    if names.iter().any(|name| name == IDENTITY_FILE) {
        return check(disk, owner);
    }
    if owner.store.is_some() {
        return Err(StoreError::IdentityMissing);
    }
    let stranger =
        names.iter().find(|name| *name != IDENTITY_DRAFT_FILE && !ignored.contains(&name.as_str()));
    if let Some(name) = stranger {
        return Err(if crate::pack::number_of(name).is_some() {
            StoreError::IdentityMissing
        } else {
            StoreError::DirectoryNotEmpty { name: name.clone() }
        });
    }
    let identity = Identity { store: StoreId(seam::random(entropy)), node: owner.node };
    create(disk, &identity)?;
    Ok(identity.store)
}

fn check(disk: &dyn Disk, owner: &Owner) -> Result<StoreId, StoreError> {
    let mut bytes = [0; IDENTITY_BYTES + 1];
    let length = disk.open(IDENTITY_FILE)?.read_at(0, &mut bytes)?;
    let identity: Identity = decode(&bytes[..length]).map_err(StoreError::IdentityDamaged)?;
    if identity.node != owner.node {
        return Err(StoreError::OtherNode { node: identity.node });
    }
    if owner.store.is_some_and(|store| store != identity.store) {
        return Err(StoreError::OtherStore);
    }
    Ok(identity.store)
}

fn create(disk: &dyn Disk, identity: &Identity) -> Result<(), DiskError> {
    match disk.remove(IDENTITY_DRAFT_FILE) {
        Ok(()) | Err(DiskError::Missing { .. }) => {}
        Err(error) => return Err(error),
    }
    step(disk, points::IDENTITY_WRITE, || {
        let file = disk.create(IDENTITY_DRAFT_FILE)?;
        file.write_at(0, &identity.to_bytes())?;
        file.sync_data()
    })?;
    step(disk, points::IDENTITY_NAME, || disk.rename(IDENTITY_DRAFT_FILE, IDENTITY_FILE))?;
    step(disk, points::IDENTITY_LIST, || disk.sync_directory())
}
