//! Shards into a store, each acknowledged after its sync, and out of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use datamesh_core::certificate::Issuer;
use datamesh_core::descriptor::SUITE_AES256GCM_BLAKE3_RS;
use datamesh_core::{
    Descriptor, Entropy, Grant, Hash, NodeId, PublicKey, Receipt, Scheme, SegmentId, Signature,
    StoreTicket,
};
use datamesh_store::{Directory, Disk, Owner, ShardWrite, Store, StoreConfig};

use crate::accounting::{Meter, own_seconds};
use crate::report::{Report, Row};

const NODE: NodeId = NodeId([7; 32]);

/// A store's id in a measurement is no secret.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(1);
    }
}

fn put(store: &Store, cells: &Bytes, number: u64) -> SegmentId {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.to_le_bytes());
    let descriptor = Descriptor {
        suite: SUITE_AES256GCM_BLAKE3_RS,
        scheme: Scheme::FOUR_TWO,
        cell: 64 * 1024,
        length: 4 * cells.len() as u32,
        roots: vec![Hash([1; 32]); 6],
        // Makes each segment another one.
        lease_key: PublicKey(key),
    };
    let segment = descriptor.id();
    let ticket = StoreTicket {
        segment,
        shard_length: cells.len() as u32,
        lease_end: 0,
        signature: Signature([5; 64]),
    };
    let grant = Grant {
        key: PublicKey([1; 32]),
        bytes_per_node: u64::MAX,
        serial: 1,
        expiry: 0,
        issuer: Issuer::Authority,
        signature: Signature([1; 64]),
    };
    let sign = |sequence| Receipt {
        segment,
        shard: 0,
        node: NODE,
        sequence,
        expiry: 0,
        signature: Signature([3; 64]),
    };
    store
        .put_shard(ShardWrite {
            descriptor,
            shard: 0,
            ticket,
            grant,
            grant_bound: u64::MAX,
            cells: cells.clone(),
            stored_at: 0,
            lease_epoch: 0,
            lease_expiry: 0,
            sign_receipt: &sign,
        })
        .unwrap();
    segment
}

pub(super) fn measure(folder: &Path, report: &mut Report) {
    let folder = tempfile::Builder::new().prefix("datamesh-bench-").tempdir_in(folder).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(Directory::open(folder.path()).unwrap());
    let owner = Owner { node: NODE, store: None };
    let store = Store::open(disk, StoreConfig::new(1 << 40), &owner, &Fixed).unwrap();
    let numbers = AtomicU64::new(0);
    for (shard, total) in [(1 << 20, 512 << 20), (64 << 10, 64 << 20)] {
        for threads in [1, 8] {
            let count = total / shard as u64;
            append(&store, shard, threads, count, &numbers, report);
        }
    }
    let cells = Bytes::from(vec![0xA5; 1 << 20]);
    let segments: Vec<SegmentId> =
        (0..64).map(|_| put(&store, &cells, numbers.fetch_add(1, Ordering::Relaxed))).collect();
    let mut next = segments.iter().cycle();
    crate::limits::repeat("read 1 MiB shards back", 1 << 20, report, || {
        let segment = next.next().unwrap();
        std::hint::black_box(store.read_shard_unverified(*segment, 0).unwrap());
    });
}

fn append(
    store: &Store,
    shard: usize,
    threads: u64,
    count: u64,
    numbers: &AtomicU64,
    report: &mut Report,
) {
    let cells = Bytes::from(vec![0xA5; shard]);
    // The first writes make the buffers and the pack.
    for _ in 0..4 {
        put(store, &cells, numbers.fetch_add(1, Ordering::Relaxed));
    }
    let left = AtomicU64::new(count);
    let meter = Meter::own();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let take = |left: u64| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    put(store, &cells, numbers.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
    });
    let (seconds, cpu) = meter.read(own_seconds());
    let total = (count * shard as u64) as f64;
    let row = Row::of(format!("append {} KiB shards, {threads} at once", shard / 1024));
    let row = row.with(total / 1e6 / seconds, "MB/s").with(count as f64 / seconds, "shards/s");
    report.row(&row.with(cpu * 1e9 / total, "CPU s/GB"));
}
