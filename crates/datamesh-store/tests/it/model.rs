//! Random work on a disk that fails on purpose, compared with a simple model.
//!
//! The model knows what was acknowledged. Whatever happens, an acknowledged shard, receipt or
//! lease is there; what was not acknowledged is there whole or not at all; nothing wrong is read;
//! and opening twice gives one state.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_core::lease::Renewal;
use datamesh_core::{Receipt, Scheme, SegmentId, Signature};
use datamesh_store::{
    LeaseState, ScrubCursor, Store, StoreConfig, StoreError, Usage, name_of, points,
};
use datamesh_testkit::{Crash, FaultyDisk, SeededEntropy};
use proptest::prelude::*;

use crate::sample::{OWNER, Segment, cases, grant, put_under};

const DISK_BYTES: u64 = 8 << 20;
const SEGMENTS: u64 = 12;

#[derive(Debug, Clone)]
enum Step {
    Put { segment: u64, shard: u8 },
    Together { first: u64 },
    Renew { segment: u64, expiry: u64 },
    NewReceipt { segment: u64, shard: u8 },
    Reopen,
    Kill,
    Crash,
    CrashAfter(u64),
    CrashAt { point: usize, time: u64 },
    FailSyncs(u64),
    Shrink(u64),
    Grow,
    TearTable { pack: u32, bit: u64 },
    Scrub,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..SEGMENTS, 0..6u8).prop_map(|(segment, shard)| Step::Put { segment, shard }),
        2 => (0..SEGMENTS - 4).prop_map(|first| Step::Together { first }),
        2 => (0..SEGMENTS, 1..1000u64).prop_map(|(segment, expiry)| Step::Renew { segment, expiry }),
        2 => (0..SEGMENTS, 0..6u8).prop_map(|(segment, shard)| Step::NewReceipt { segment, shard }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        1 => Just(Step::Crash),
        2 => (1..12u64).prop_map(Step::CrashAfter),
        2 => (0..points::ALL.len(), 0..9u64).prop_map(|(point, time)| Step::CrashAt { point, time }),
        1 => (1..3u64).prop_map(Step::FailSyncs),
        1 => (0..40_000u64).prop_map(Step::Shrink),
        1 => Just(Step::Grow),
        1 => (1..8u32, any::<u64>()).prop_map(|(pack, bit)| Step::TearTable { pack, bit }),
        1 => Just(Step::Scrub),
    ]
}

struct World {
    disk: FaultyDisk,
    store: Option<Arc<Store>>,
    pack_bytes: u64,
    segments: Vec<Segment>,
    /// Acknowledged shards and the newest acknowledged receipt of each.
    shards: BTreeMap<(SegmentId, u8), Receipt>,
    leases: BTreeMap<SegmentId, LeaseState>,
    epoch: u64,
    /// Nothing stands in the way of a write.
    healthy: bool,
    small: bool,
}

impl World {
    fn new(seed: u64, pack_bytes: u64) -> Self {
        // Sizes from two cells to forty, so that groups and packs end everywhere.
        let segment =
            |n| Segment::new(seed ^ (n << 32), Scheme::FOUR_TWO, 1024, 2 + (n * 7 % 39) as u32);
        let mut world = Self {
            disk: FaultyDisk::new(seed, DISK_BYTES),
            store: None,
            pack_bytes,
            segments: (0..SEGMENTS).map(segment).collect(),
            shards: BTreeMap::new(),
            leases: BTreeMap::new(),
            epoch: 0,
            healthy: true,
            small: false,
        };
        world.open();
        world
    }

    fn open_once(&self) -> Result<Arc<Store>, StoreError> {
        let config =
            StoreConfig { capacity: u64::MAX, reserve_min: 0, pack_bytes: self.pack_bytes };
        Store::open(self.disk.mount(), config, &OWNER, &SeededEntropy::new(1))
    }

    fn open(&mut self) {
        self.store = None;
        let store = self.open_once().unwrap();
        self.healthy = true;
        self.store = Some(store);
        self.check();
    }

    /// Puts the machine back into order after a failure.
    fn recover(&mut self) {
        self.store = None;
        self.disk.crash();
        self.open();
    }

    fn store(&self) -> &Arc<Store> {
        self.store.as_ref().unwrap()
    }

    fn failed(&mut self, error: &StoreError) {
        match error {
            StoreError::Full { .. } => assert!(self.small, "{error}"),
            StoreError::Disk(disk) if disk.is_full() => assert!(self.small, "{error}"),
            _ => assert!(!self.healthy, "a healthy disk failed: {error}"),
        }
        if self.disk.is_powerless() {
            self.recover();
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Put { segment, shard } => {
                let segment = &self.segments[segment as usize];
                let id = segment.id();
                match put_under(self.store(), segment, shard, &grant(1, u64::MAX)) {
                    Ok(receipt) => {
                        self.shards.insert((id, shard), receipt);
                    }
                    Err(error) => self.failed(&error),
                }
            }
            Step::Together { first } => self.together(first),
            Step::Renew { segment, expiry } => {
                let segment = self.segments[segment as usize].id();
                self.epoch += 1;
                let epoch = self.epoch;
                let renewal = Renewal { segment, epoch, expiry, signature: Signature([4; 64]) };
                let known = self.store().damaged_after(None, 1).is_empty()
                    && self.shards.keys().any(|(id, _)| *id == segment);
                match self.store().renew_lease(&renewal) {
                    Ok(()) => {
                        self.leases.insert(segment, LeaseState { epoch, expiry, released: false });
                    }
                    Err(StoreError::SegmentNotFound { .. }) => assert!(!known),
                    Err(error) => self.failed(&error),
                }
            }
            Step::NewReceipt { segment, shard } => {
                let segment = self.segments[segment as usize].id();
                let sign = |sequence| Receipt {
                    expiry: sequence,
                    ..crate::sample::receipt(segment, shard, sequence)
                };
                match self.store().renew_receipt(segment, shard, &sign) {
                    Ok(receipt) => {
                        self.shards.insert((segment, shard), receipt);
                    }
                    // A torn shard that nobody was told of counts as damaged.
                    Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => {
                        assert!(!self.shards.contains_key(&(segment, shard)));
                    }
                    Err(error) => self.failed(&error),
                }
            }
            Step::Reopen => {
                let before = self.snapshot();
                let healthy = self.healthy && !self.small;
                self.disk.kill();
                self.open();
                if healthy {
                    assert_eq!(before, self.snapshot(), "the fold is not what was known before");
                }
            }
            Step::Kill => {
                self.disk.kill();
                self.open();
            }
            Step::Crash => self.recover(),
            Step::CrashAfter(operations) => {
                self.healthy = false;
                self.disk.crash_after(operations);
            }
            Step::CrashAt { point, time } => {
                self.healthy = false;
                self.disk.crash_at(points::ALL[point], Crash::ALL[time as usize % 3], 1 + time / 3);
            }
            Step::FailSyncs(count) => {
                self.healthy = false;
                self.disk.fail_syncs(count);
            }
            Step::Shrink(room) => {
                self.small = true;
                self.disk.resize(self.disk.used() + room);
            }
            Step::Grow => {
                self.small = false;
                self.disk.resize(DISK_BYTES);
            }
            Step::TearTable { pack, bit } => {
                // The last blocks of a sealed pack are its table and end; of an open one they may
                // be records, which this model must not lose.
                let bytes = self.disk.contents(&name_of(pack)).unwrap_or_default();
                if self.disk.names().contains(&name_of(pack + 1)) && bytes.len() > 8192 {
                    let at = bytes.len() as u64 - 4096;
                    if bytes[at as usize + 4] == 242 {
                        self.disk.flip(&name_of(pack), 8 * at + bit % (8 * 100));
                    }
                }
            }
            Step::Scrub => {
                let report = self.store().scrub_next(ScrubCursor::default(), u64::MAX);
                match report {
                    Ok(report) => {
                        assert!(report.damaged.is_empty(), "{report:?}");
                        assert_eq!(report.damaged_records, 0);
                    }
                    Err(error) => self.failed(&error),
                }
            }
        }
    }

    /// Four writers at once.
    fn together(&mut self, first: u64) {
        let store = self.store().clone();
        let segments = &self.segments;
        let results: Vec<_> = std::thread::scope(|scope| {
            let writers: Vec<_> = (first..first + 4)
                .map(|number| {
                    let (store, segment) = (&store, &segments[number as usize]);
                    scope.spawn(move || {
                        (segment.id(), put_under(store, segment, 0, &grant(2, u64::MAX)))
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        drop(store);
        let mut failure = None;
        for (segment, result) in results {
            match result {
                Ok(receipt) => {
                    self.shards.insert((segment, 0), receipt);
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            self.failed(&error);
        }
    }

    fn check(&self) {
        let store = self.store();
        for segment in &self.segments {
            let id = segment.id();
            for shard in 0..6 {
                let acknowledged = self.shards.get(&(id, shard));
                match store.read_shard(id, shard) {
                    Ok(stored) => {
                        assert_eq!(stored.cells, segment.shards[usize::from(shard)]);
                        assert_eq!(stored.meta.descriptor, segment.descriptor);
                    }
                    Err(error) => assert!(acknowledged.is_none(), "acknowledged, but {error}"),
                }
                if let Some(receipt) = acknowledged {
                    let stored = store.receipt(id, shard).unwrap().unwrap();
                    // A later one may have been written and never acknowledged.
                    assert!(stored.sequence >= receipt.sequence, "{stored:?} {receipt:?}");
                }
            }
            if let Some(lease) = self.leases.get(&id) {
                let stored = store.lease(id).unwrap();
                assert!(stored.epoch > lease.epoch || stored == *lease, "{stored:?} {lease:?}");
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let store = self.store();
        let leases = self.segments.iter().map(|segment| store.lease(segment.id())).collect();
        // Opening may seal a pack, which takes room.
        let mut usage = Usage { free: 0, used: 0, ..store.usage().unwrap() };
        usage.grants.sort_by_key(|grant| grant.grant);
        let receipts = self.shards.keys();
        let receipts = receipts.map(|(id, shard)| store.receipt(*id, *shard).unwrap().unwrap());
        Snapshot {
            held: store.segments_after(None, 100),
            leases,
            usage,
            receipts: receipts.collect(),
        }
    }
}

/// What a store knows.
#[derive(Debug, PartialEq)]
struct Snapshot {
    held: Vec<(SegmentId, u32)>,
    leases: Vec<Option<LeaseState>>,
    usage: Usage,
    receipts: Vec<Receipt>,
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn acknowledged_means_durable(
        seed: u64,
        pack_bytes in prop_oneof![Just(24 << 10), Just(100 << 10), Just(1 << 20)],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(seed, pack_bytes);
        for step in &steps {
            world.run(step);
        }
        world.disk.resize(DISK_BYTES);
        world.small = false;
        world.recover();
        let before = world.snapshot();
        world.open();
        prop_assert_eq!(before, world.snapshot());
        // And it goes on working.
        for shard in 0..6 {
            for segment in 0..SEGMENTS {
                world.run(&Step::Put { segment, shard });
            }
        }
        prop_assert_eq!(world.shards.len() as u64, 6 * SEGMENTS);
        world.open();
    }

    /// Power fails while the store is made for the first time.
    #[test]
    fn a_new_store_survives_a_crash_at_any_step(seed: u64, operations in 1u64..12) {
        let disk = FaultyDisk::new(seed, DISK_BYTES);
        disk.crash_after(operations);
        let first = crate::sample::open(disk.mount(), 1 << 20)
            .and_then(|store| crate::sample::put(&store, &Segment::small(1), 0));
        disk.crash();
        let store = crate::sample::open(disk.mount(), 1 << 20).unwrap();
        if first.is_ok() {
            crate::sample::assert_whole(&store, &Segment::small(1), 0);
        }
        crate::sample::put(&store, &Segment::small(2), 0).unwrap();
        crate::sample::assert_whole(&store, &Segment::small(2), 0);
    }
}
