//! Segments, grants and stores for the other tests.

use std::sync::Arc;

use bytes::Bytes;
use datamesh_core::certificate::Issuer;
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::{
    Descriptor, Grant, Hash, NodeId, PublicKey, Receipt, Scheme, SegmentId, Signature, StoreTicket,
};
use datamesh_store::{Disk, Owner, ShardWrite, Store, StoreConfig, StoreError};
use datamesh_testkit::random::{Dice, SeededEntropy};
use proptest::prelude::ProptestConfig;

pub(crate) const NODE: NodeId = NodeId([7; 32]);
pub(crate) const OWNER: Owner = Owner { node: NODE, store: None };
pub(crate) const MIB: u64 = 1 << 20;

/// A segment whose shards are random cells; no code relates them, which the store cannot see.
pub(crate) struct Segment {
    pub(crate) descriptor: Descriptor,
    pub(crate) shards: Vec<Bytes>,
}

impl Segment {
    pub(crate) fn new(seed: u64, scheme: Scheme, cell: u32, rows: u32) -> Self {
        let mut dice = Dice::new(seed);
        let shards: Vec<Bytes> = (0..scheme.n())
            .map(|_| {
                let mut cells = vec![0; (cell * rows) as usize];
                dice.fill(&mut cells);
                Bytes::from(cells)
            })
            .collect();
        let descriptor = Descriptor {
            suite: SUITE_AES256GCM_BLAKE3_RS,
            scheme,
            cell,
            length: cell * rows * scheme.k() as u32,
            roots: shards.iter().map(|cells| Hash::of(cells)).collect(),
            lease_key: PublicKey([9; 32]),
        };
        Self { descriptor, shards }
    }

    /// A 4+2 segment of two cells of 1 KiB a shard.
    pub(crate) fn small(seed: u64) -> Self {
        Self::new(seed, Scheme::FOUR_TWO, 1024, 2)
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.descriptor.id()
    }
}

pub(crate) fn grant(seed: u8, bytes_per_node: u64) -> Grant {
    Grant {
        key: PublicKey([seed; 32]),
        bytes_per_node,
        serial: 1,
        expiry: 0,
        issuer: Issuer::Authority,
        signature: Signature([seed; 64]),
    }
}

pub(crate) fn receipt(segment: SegmentId, shard: u8, sequence: u64) -> Receipt {
    Receipt { segment, shard, node: NODE, sequence, expiry: 0, signature: Signature([3; 64]) }
}

pub(crate) fn put_under(
    store: &Store,
    segment: &Segment,
    shard: u8,
    grant: &Grant,
) -> Result<Receipt, StoreError> {
    put_leased(store, segment, shard, grant, (0, 0))
}

/// The same with a lease of that epoch and end.
pub(crate) fn put_leased(
    store: &Store,
    segment: &Segment,
    shard: u8,
    grant: &Grant,
    (lease_epoch, lease_expiry): (u64, u64),
) -> Result<Receipt, StoreError> {
    let id = segment.id();
    let cells = segment.shards[usize::from(shard)].clone();
    store.put_shard(ShardWrite {
        descriptor: segment.descriptor.clone(),
        shard,
        ticket: StoreTicket {
            segment: id,
            shard_length: cells.len() as u32,
            lease_end: 0,
            signature: Signature([5; 64]),
        },
        grant: grant.clone(),
        grant_bound: grant.bytes_per_node,
        cells,
        stored_at: 1_000,
        lease_epoch,
        lease_expiry,
        sign_receipt: &|sequence| receipt(id, shard, sequence),
    })
}

pub(crate) fn put(store: &Store, segment: &Segment, shard: u8) -> Result<Receipt, StoreError> {
    put_under(store, segment, shard, &grant(1, u64::MAX))
}

/// Bounds for tests: packs of that many bytes, no reserve beyond one percent.
pub(crate) fn config(pack_bytes: u64) -> StoreConfig {
    StoreConfig { capacity: u64::MAX, reserve_min: 0, pack_bytes }
}

pub(crate) fn open(disk: Arc<dyn Disk>, pack_bytes: u64) -> Result<Arc<Store>, StoreError> {
    Store::open(disk, config(pack_bytes), &OWNER, &SeededEntropy::new(42))
}

/// Checks that a shard reads back as it was stored.
pub(crate) fn assert_whole(store: &Store, segment: &Segment, shard: u8) {
    let stored = store.read_shard(segment.id(), shard).unwrap();
    assert_eq!(stored.cells, segment.shards[usize::from(shard)]);
    assert_eq!(stored.meta.descriptor, segment.descriptor);
    assert_eq!(stored.meta.shard, shard);
}

/// Settings of a property test: that many cases, or as many as `PROPTEST_CASES` says.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    let wished = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: wished.unwrap_or(cases),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
