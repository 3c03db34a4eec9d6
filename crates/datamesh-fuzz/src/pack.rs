//! A store opened over a pack that a disk or a stranger filled.

use std::sync::Arc;

use datamesh_core::{NodeId, SegmentId};
use datamesh_store::{IDENTITY_FILE, Owner, Store, StoreConfig, name_of};
use datamesh_testkit::{FaultyDisk, SeededEntropy};

/// Room of the disk.
const DISK_BYTES: u64 = 64 << 20;

/// Opens a store whose first pack has these bytes at a place that the first two choose, after a
/// shardless beginning of its own, and asks it everything.
pub(crate) fn pack(bytes: &[u8]) {
    let disk = FaultyDisk::new(1, DISK_BYTES);
    let node = NodeId([1; 32]);
    let config = || StoreConfig { capacity: DISK_BYTES / 2, reserve_min: 0, pack_bytes: 8 << 20 };
    let entropy = SeededEntropy::new(1);
    let first = Store::open(disk.mount(), config(), &Owner { node, store: None }, &entropy);
    let Ok(first) = first else { return };
    let id = first.id();
    drop(first);
    disk.place(&name_of(1), bytes);
    let owner = Owner { node, store: Some(id) };
    let Ok(store) = Store::open(disk.mount(), config(), &owner, &entropy) else { return };
    let store = Arc::new(store);
    // No record of these bytes has a hash under the store's secret key, so there is nothing in it.
    assert!(store.segments_after(None, 10).is_empty(), "a shard that nobody stored");
    assert!(store.heads_after(None, 10).is_empty(), "a head that nobody stored");
    assert!(store.read_shard(SegmentId([1; 32]), 0).is_err(), "a shard that nobody stored");
    let mut cursor = Default::default();
    for _ in 0..64 {
        let Ok(report) = store.scrub_next(cursor, 1 << 20) else { return };
        assert!(report.damaged.is_empty(), "damage of a shard that nobody stored");
        match report.next {
            Some(next) => cursor = next,
            None => return,
        }
    }
}

/// A store whose identity has these bytes.
pub(crate) fn identity(bytes: &[u8]) {
    let disk = FaultyDisk::new(1, DISK_BYTES);
    disk.place(IDENTITY_FILE, bytes);
    let config = StoreConfig { capacity: DISK_BYTES / 2, reserve_min: 0, pack_bytes: 8 << 20 };
    let owner = Owner { node: NodeId([1; 32]), store: None };
    let opened = Store::open(disk.mount(), config, &owner, &SeededEntropy::new(1));
    assert!(opened.is_err(), "an identity that nobody wrote");
}
