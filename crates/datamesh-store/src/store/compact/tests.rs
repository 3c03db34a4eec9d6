//! Writers that meet a compaction: their threads are held at the places where it matters.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::disallowed_methods, reason = "threads meet here on purpose")]

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::Duration;

use datamesh_core::certificate::Issuer;
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::seam::Moment;
use datamesh_core::{
    Descriptor, Entropy, Grant, NodeId, PublicKey, Receipt, Scheme, Signature, StoreTicket,
};

use super::*;
use crate::disk::{Directory, Disk, DiskLock, Space};
use crate::{CollectionTerms, Owner, ShardWrite, StoreConfig};

type Hook = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// A disk on which something is done once when its directory is read, and once when a shard was
/// written.
#[derive(Default)]
struct Hooks {
    listed: Hook,
    stored: Hook,
}

impl Hooks {
    fn call(hook: &Hook) {
        let hook = hook.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
    }
}

struct Hooked(Directory, Arc<Hooks>);

impl std::fmt::Debug for Hooked {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

impl Disk for Hooked {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        Hooks::call(&self.1.listed);
        self.0.list()
    }
    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.0.open(name)
    }
    fn open_append(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.0.open_append(name)
    }
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.0.create(name)
    }
    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.0.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.0.rename(from, to)
    }
    fn sync_directory(&self) -> Result<(), DiskError> {
        self.0.sync_directory()
    }
    fn lock(&self, name: &str) -> Result<Box<dyn DiskLock>, DiskError> {
        self.0.lock(name)
    }
    fn space(&self) -> Result<Space, DiskError> {
        self.0.space()
    }
    fn reached(&self, point: &'static str, moment: Moment) -> Result<(), DiskError> {
        if (point, moment) == (points::SHARD_STORE, Moment::After) {
            Hooks::call(&self.1.stored);
        }
        Ok(())
    }
}

struct Counting;

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        (0u8..).zip(bytes).for_each(|(number, byte)| *byte = number);
    }
}

const CELL: u32 = 64 << 10;

/// Stores a shard of one cell.
fn put(store: &Store) -> SegmentId {
    let cells = Bytes::from(vec![7; CELL as usize]);
    let scheme = Scheme::FOUR_TWO;
    let descriptor = Descriptor {
        suite: SUITE_AES256GCM_BLAKE3_RS,
        scheme,
        cell: CELL,
        length: CELL * scheme.k() as u32,
        roots: vec![Hash::of(&cells); scheme.n()],
        lease_key: PublicKey([9; 32]),
    };
    let (segment, signature) = (descriptor.id(), Signature([3; 64]));
    let sign_receipt = |sequence| {
        let node = NodeId([7; 32]);
        Receipt { segment, shard: 0, node, sequence, expiry: 0, signature }
    };
    let write = ShardWrite {
        descriptor,
        shard: 0,
        ticket: StoreTicket { segment, shard_length: CELL, lease_end: 0, signature },
        grant: Grant {
            key: PublicKey([1; 32]),
            bytes_per_node: u64::MAX,
            serial: 1,
            expiry: 0,
            issuer: Issuer::Authority,
            signature,
        },
        grant_bound: u64::MAX,
        cells,
        stored_at: 1,
        lease_epoch: 0,
        lease_expiry: 0,
        sign_receipt: &sign_receipt,
    };
    store.put_shard(write).unwrap();
    segment
}

/// A writer begins a pack and has written into it; nothing knows of it yet. All the time that it takes
/// to make it known the queue is held.
#[test]
fn a_pack_that_was_just_begun_does_not_count_as_dead() {
    let (folder, hooks) = (tempfile::tempdir().unwrap(), Arc::<Hooks>::default());
    let disk = Hooked(Directory::open(folder.path()).unwrap(), Arc::clone(&hooks));
    let owner = Owner { node: NodeId([7; 32]), store: None };
    let config = StoreConfig { capacity: u64::MAX, reserve_min: 0, pack_bytes: 1 << 20 };
    let store = Store::open(Arc::new(disk), config, &owner, &Counting).unwrap();
    let mut collection = store.collection(CollectionTerms::default()).unwrap();

    let (written, is_written) = channel();
    let (go, goes) = channel();
    *hooks.stored.lock().unwrap() = Some(Box::new(move || {
        written.send(()).unwrap();
        goes.recv().unwrap();
    }));
    let (began, threads) = channel();
    let writes = Arc::clone(&store);
    *hooks.listed.lock().unwrap() = Some(Box::new(move || {
        let holds = Arc::clone(&writes);
        let writer = spawn(move || put(&writes));
        is_written.recv().unwrap();
        let (locked, is_locked) = channel();
        let holder = spawn(move || {
            let _queue = holds.commit.lock();
            locked.send(()).unwrap();
            sleep(Duration::from_millis(300));
        });
        is_locked.recv().unwrap();
        go.send(()).unwrap();
        began.send((writer, holder)).unwrap();
    }));
    let clock = AgreedClock::compare(1, &[], 1, true).unwrap();
    assert_eq!(collection.compact(&clock).unwrap(), None);
    let (writer, holder) = threads.recv().unwrap();
    let segment = writer.join().unwrap();
    holder.join().unwrap();
    assert_eq!(store.read_shard(segment, 0).unwrap().cells.len(), CELL as usize);
}
