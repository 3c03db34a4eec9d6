//! What the store does on a disk that works.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use datamesh_core::lease::{Renewal, SegmentPin};
use datamesh_core::{Scheme, SegmentId, Signature};
use datamesh_store::{
    GrantUsage, LeaseOutcome, LeaseState, ScrubCursor, ShardState, Store, StoreConfig, StoreError,
    Usage,
};
use datamesh_testkit::{FaultyDisk, SeededEntropy};

use crate::sample::{
    MIB, OWNER, Segment, assert_whole, config, grant, open, put, put_under, receipt,
};

#[test]
fn a_shard_reads_back_whole_and_in_cells_also_after_opening_again() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let segment = Segment::new(1, Scheme::FOUR_TWO, 4096, 5);
    let given = {
        let store = open(disk.mount(), MIB).unwrap();
        put(&store, &segment, 2).unwrap()
    };
    let store = open(disk.mount(), MIB).unwrap();
    assert_whole(&store, &segment, 2);
    let id = segment.id();
    assert_eq!(store.read_cells(id, 2, 1, 3).unwrap(), segment.shards[2].slice(4096..3 * 4096));
    assert_eq!(store.read_shard_unverified(id, 2).unwrap().cells, segment.shards[2]);
    assert_eq!(store.descriptor(id).unwrap(), segment.descriptor);
    assert_eq!(store.held(id), 0b100);
    assert_eq!(store.receipt(id, 2).unwrap(), Some(given));
    for (first, end) in [(0, 6), (3, 3), (4, 2), (u32::MAX, u32::MAX)] {
        let error = store.read_cells(id, 2, first, end).unwrap_err();
        assert!(matches!(error, StoreError::Range { cells: 5, .. }), "{error}");
    }
    assert!(matches!(store.read_shard(id, 1), Err(StoreError::NotFound { .. })));
    let stranger = SegmentId([0; 32]);
    assert!(matches!(store.descriptor(stranger), Err(StoreError::SegmentNotFound { .. })));
}

#[test]
fn storing_a_held_shard_again_writes_nothing_and_returns_the_same_receipt() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let segment = Segment::small(1);
    let first = put(&store, &segment, 0).unwrap();
    let used = disk.used();
    assert_eq!(put(&store, &segment, 0).unwrap(), first);
    assert_eq!(disk.used(), used);
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let mut wrong = Segment::small(1);
    wrong.shards[0] = wrong.shards[0].slice(1..);
    assert!(matches!(put(&store, &wrong, 0), Err(StoreError::Inconsistent { .. })));
    let mut wrong = Segment::small(1);
    wrong.descriptor.roots.pop();
    assert!(matches!(put(&store, &wrong, 0), Err(StoreError::Inconsistent { .. })));
    let mut wrong = Segment::small(1);
    wrong.shards.push(wrong.shards[0].clone());
    assert!(matches!(put(&store, &wrong, 6), Err(StoreError::Inconsistent { .. })));
    assert_eq!(store.usage().unwrap().shards, 0);
}

#[test]
fn full_packs_are_sealed_and_the_index_is_the_same_from_their_tables() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let segments: Vec<Segment> = (0..40).map(Segment::small).collect();
    let store = open(disk.mount(), 32 * 1024).unwrap();
    for segment in &segments {
        put(&store, segment, 1).unwrap();
        put(&store, segment, 4).unwrap();
    }
    let usage = store.usage().unwrap();
    assert!(usage.packs > 5, "{usage:?}");
    assert_eq!((usage.shards, usage.shard_bytes), (80, 80 * 2048));
    drop(store);
    let store = open(disk.mount(), 32 * 1024).unwrap();
    assert_eq!(Usage { free: usage.free, ..store.usage().unwrap() }, usage);
    for segment in &segments {
        assert_eq!(store.held(segment.id()), 0b10010);
        assert_whole(&store, segment, 1);
        assert_whole(&store, segment, 4);
    }
    let mut page = store.segments_after(None, 7);
    let mut all = page.clone();
    while let Some((last, _)) = page.last() {
        page = store.segments_after(Some(*last), 7);
        all.extend_from_slice(&page);
    }
    let mut expected: Vec<_> = segments.iter().map(|s| (s.id(), 0b10010)).collect();
    expected.sort_unstable();
    assert_eq!(all, expected);
}

#[test]
fn a_grant_bounds_what_is_kept_under_it_and_others_are_not_touched() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let (mine, theirs) = (grant(1, 3 * 2048 + 100), grant(2, 2048));
    let store = open(disk.mount(), MIB).unwrap();
    for seed in 0..3 {
        put_under(&store, &Segment::small(seed), 0, &mine).unwrap();
    }
    let check = |store: &Store| {
        let error = put_under(store, &Segment::small(9), 0, &mine).unwrap_err();
        assert!(matches!(error, StoreError::GrantUsedUp { used: 6144, .. }), "{error}");
        put_under(store, &Segment::small(0), 0, &mine).unwrap();
        put_under(store, &Segment::small(7), 0, &theirs).unwrap();
        assert_eq!(store.grant(&mine.id()).unwrap(), mine);
        assert_eq!(store.grant(&theirs.id()).unwrap(), theirs);
        let grants = store.usage().unwrap().grants;
        assert!(grants.contains(&GrantUsage { grant: mine.id(), bytes: 6144 }));
        assert!(grants.contains(&GrantUsage { grant: theirs.id(), bytes: 2048 }));
    };
    check(&store);
    drop(store);
    check(&open(disk.mount(), MIB).unwrap());
}

#[test]
fn parallel_writers_never_pass_a_grant_and_share_groups() {
    let disk = FaultyDisk::new(1, 256 * MIB);
    let store = open(disk.mount(), 256 * 1024).unwrap();
    let bound = grant(1, 50 * 2048);
    let segments: Vec<Segment> = (0..100).map(Segment::small).collect();
    let start = Barrier::new(8);
    let stored: usize = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (store, segments, bound, start) = (&store, &segments, &bound, &start);
                scope.spawn(move || {
                    start.wait();
                    // Two writers offer each segment, so the same shard is stored twice at once.
                    let mine = segments.iter().skip(writer / 2).step_by(4);
                    mine.filter(|segment| match put_under(store, segment, 3, bound) {
                        Ok(_) => true,
                        Err(StoreError::GrantUsedUp { .. }) => false,
                        Err(error) => panic!("{error}"),
                    })
                    .count()
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    assert!(stored >= 50, "each stored shard was acknowledged at least once: {stored}");
    let usage = store.usage().unwrap();
    assert_eq!((usage.shards, usage.grants[0].bytes), (50, 50 * 2048));
    let held = segments.iter().filter(|segment| store.held(segment.id()) != 0);
    assert_eq!(held.map(|segment| assert_whole(&store, segment, 3)).count(), 50);
}

/// A reader that looks at the index twice with a writer between the two waited for that writer, which
/// waited for the reader.
#[test]
fn readers_and_writers_at_once_do_not_wait_for_each_other() {
    let disk = FaultyDisk::new(1, 256 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let (read, written) = (Segment::small(0), Segment::small(1));
    put(&store, &read, 0).unwrap();
    put(&store, &written, 0).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = || {
            while !done.load(Ordering::Relaxed) {
                assert_whole(&store, &read, 0);
            }
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        for epoch in 1..=5_000 {
            let segment = written.id();
            let renewal = Renewal { segment, epoch, expiry: 0, signature: Signature([4; 64]) };
            store.renew_lease(&renewal).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(store.lease(written.id()).unwrap().epoch, 5_000);
}

#[test]
fn at_its_capacity_the_store_refuses_shards_and_goes_on_answering() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let bounded = StoreConfig { capacity: 100_000, ..config(32 * 1024) };
    let store = Store::open(disk.mount(), bounded, &OWNER, &SeededEntropy::new(42)).unwrap();
    let mut stored = Vec::new();
    let error = loop {
        let segment = Segment::small(stored.len() as u64);
        match put(&store, &segment, 0) {
            Ok(_) => stored.push(segment),
            Err(error) => break error,
        }
        assert!(stored.len() < 100);
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    let usage = store.usage().unwrap();
    assert!(
        stored.len() > 5 && disk.used() <= 101_000,
        "{} {} {usage:?}",
        stored.len(),
        disk.used()
    );
    for segment in &stored {
        assert_whole(&store, segment, 0);
        put(&store, segment, 0).unwrap();
    }
    store.renew_lease(&renewal(stored[0].id(), 1, 5_000)).unwrap();
    assert!(store.usage().unwrap().read_only.is_none());
}

#[test]
fn the_reserve_of_the_file_system_is_left_alone() {
    let disk = FaultyDisk::new(1, 10 * MIB);
    let bounded = StoreConfig { reserve_min: 9 * MIB, ..config(MIB) };
    let store = Store::open(disk.mount(), bounded, &OWNER, &SeededEntropy::new(42)).unwrap();
    let mut count = 0;
    while put(&store, &Segment::new(count, Scheme::FOUR_TWO, 16 * 1024, 4), 0).is_ok() {
        count += 1;
        assert!(count < 100);
    }
    assert!(count > 5 && disk.used() <= MIB, "{count} {}", disk.used());
    disk.resize(20 * MIB);
    put(&store, &Segment::small(1_000), 0).unwrap();
    assert_eq!(StoreConfig::new(1).reserve(1 << 50), (1 << 50) / 100);
    assert_eq!(StoreConfig::new(1).reserve(1 << 20), 1 << 30);
}

fn renewal(segment: SegmentId, epoch: u64, expiry: u64) -> Renewal {
    Renewal { segment, epoch, expiry, signature: Signature([4; 64]) }
}

#[test]
fn the_pin_of_the_highest_epoch_counts_until_it_ends_and_survives() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let (segment, stranger) = (Segment::small(1), Segment::small(2));
    put(&store, &segment, 0).unwrap();
    let pin = |segment, epoch, priority, until| SegmentPin {
        segment,
        epoch,
        priority,
        until,
        signature: Signature([4; 64]),
    };
    let id = segment.id();
    assert_eq!(store.priority(id, 50), 0);
    let outcomes = store.pin(&[pin(id, 5, 8, 100), pin(stranger.id(), 1, 1, 0)]).unwrap();
    assert_eq!(outcomes, [LeaseOutcome::Taken { shards: 1 }, LeaseOutcome::NotHeld]);
    let behind = store.pin(&[pin(id, 4, 10, 0)]).unwrap();
    assert_eq!(behind, [LeaseOutcome::Behind { epoch: 5 }]);
    let used = disk.used();
    assert_eq!(store.pin(&[pin(id, 5, 8, 100)]).unwrap(), [LeaseOutcome::Taken { shards: 1 }]);
    assert_eq!(disk.used(), used, "what is known takes no room again");
    drop(store);
    let store = open(disk.mount(), MIB).unwrap();
    assert_eq!((store.priority(id, 99), store.priority(id, 100)), (8, 0));
    assert_eq!(store.kept_pin(id).unwrap(), Some(pin(id, 5, 8, 100)));
    assert_eq!(store.priority(stranger.id(), 0), 0);
    store.pin(&[pin(id, 6, 0, 0)]).unwrap();
    assert_eq!(store.priority(id, 50), 0);
    let many: Vec<_> = (0..513).map(|epoch| pin(id, epoch, 1, 0)).collect();
    assert!(matches!(store.pin(&many), Err(StoreError::TooMany { .. })));
}

#[test]
fn the_lease_of_the_highest_epoch_counts_and_survives() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let (segment, stranger) = (Segment::small(1), Segment::small(2));
    put(&store, &segment, 0).unwrap();
    let id = segment.id();
    assert_eq!(store.lease(id), None);
    store.renew_lease(&renewal(id, 5, 100)).unwrap();
    store.renew_lease(&renewal(id, 4, 900)).unwrap();
    store.renew_lease(&renewal(id, 5, 50)).unwrap();
    // Of one epoch the later end counts: nobody shortens a lease by sending an old renewal again.
    let expected = Some(LeaseState { epoch: 5, expiry: 100, released: false });
    assert_eq!(store.lease(id), expected);
    let refused = store.renew_lease(&renewal(stranger.id(), 1, 1));
    assert!(matches!(refused, Err(StoreError::SegmentNotFound { .. })));
    drop(store);
    assert_eq!(open(disk.mount(), MIB).unwrap().lease(id), expected);
}

#[test]
fn a_renewed_receipt_takes_the_place_of_the_first() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let segment = Segment::small(1);
    let first = put(&store, &segment, 0).unwrap();
    let sign =
        |sequence| datamesh_core::Receipt { expiry: 77, ..receipt(segment.id(), 0, sequence) };
    let second = store.renew_receipt(segment.id(), 0, &sign).unwrap();
    assert!(second.sequence > first.sequence && second.expiry == 77);
    assert_eq!(put(&store, &segment, 0).unwrap(), second);
    drop(store);
    let store = open(disk.mount(), MIB).unwrap();
    assert_eq!(store.receipt(segment.id(), 0).unwrap(), Some(second));
    assert!(matches!(
        store.renew_receipt(segment.id(), 1, &sign),
        Err(StoreError::NotFound { .. })
    ));
}

#[test]
fn a_scrub_reads_everything_once_within_its_budget() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), 32 * 1024).unwrap();
    for seed in 0..30 {
        put(&store, &Segment::small(seed), 0).unwrap();
    }
    let (mut shards, mut steps, mut cursor) = (0, 0, Some(ScrubCursor::default()));
    while let Some(from) = cursor {
        let report = store.scrub_next(from, 8_000).unwrap();
        assert!(report.bytes < 8_000 + 4_000 && report.damaged.is_empty());
        assert_eq!((report.damaged_records, report.damaged_tables.len()), (0, 0));
        shards += report.shards;
        steps += 1;
        cursor = report.next;
    }
    assert_eq!(shards, 30);
    assert!(steps > 5);
    assert_eq!(store.shard_state(Segment::small(3).id(), 0), Some(ShardState::Held));
}

#[test]
fn a_panic_while_signing_leaves_no_claim_behind() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let segment = Segment::small(1);
    let grant = grant(1, 2048);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.put_shard(datamesh_store::ShardWrite {
            descriptor: segment.descriptor.clone(),
            shard: 0,
            ticket: datamesh_core::StoreTicket {
                segment: segment.id(),
                shard_length: 2048,
                lease_end: 0,
                signature: Signature([5; 64]),
            },
            grant: grant.clone(),
            grant_bound: grant.bytes_per_node,
            cells: segment.shards[0].clone(),
            stored_at: 0,
            lease_epoch: 0,
            lease_expiry: 0,
            sign_receipt: &|_| panic!("no key"),
        })
    }));
    assert!(panicked.is_err());
    put_under(&store, &segment, 0, &grant).unwrap();
}
