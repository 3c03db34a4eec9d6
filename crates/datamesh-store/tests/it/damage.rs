//! Damage is found, named and never served, and costs nobody else anything.

use datamesh_core::Scheme;
use datamesh_store::record::{Kind, encode_record};
use datamesh_store::{Damage, ScrubCursor, ShardState, StoreError, name_of};
use datamesh_testkit::FaultyDisk;
use datamesh_testkit::random::Dice;
use proptest::prelude::*;

use crate::sample::{MIB, Segment, assert_whole, cases, open, put};

/// Where a shard's cells are in the first pack.
fn find(disk: &FaultyDisk, pack: u32, cells: &[u8]) -> usize {
    let bytes = disk.contents(&name_of(pack)).unwrap();
    bytes.windows(64).position(|window| window == &cells[..64]).unwrap()
}

#[test]
fn rotten_cells_are_found_by_reading_and_the_shard_can_be_stored_again() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let (rotten, healthy) = (Segment::small(1), Segment::small(2));
    put(&store, &rotten, 0).unwrap();
    put(&store, &healthy, 0).unwrap();
    let at = find(&disk, 1, &rotten.shards[0]);
    disk.flip(&name_of(1), 8 * (at as u64 + 1500) + 3);
    let error = store.read_shard(rotten.id(), 0).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { damage: Damage::Cells, .. }), "{error}");
    let error = store.read_cells(rotten.id(), 0, 0, 1).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { damage: Damage::Known, .. }), "{error}");
    assert_eq!(store.held(rotten.id()), 0);
    assert_eq!(store.shard_state(rotten.id(), 0), Some(ShardState::Damaged));
    let damaged = store.damaged_after(None, 10);
    assert_eq!((damaged[0].segment, damaged[0].shard, damaged.len()), (rotten.id(), 0, 1));
    assert_whole(&store, &healthy, 0);
    put(&store, &rotten, 0).unwrap();
    assert_whole(&store, &rotten, 0);
    assert_eq!(store.usage().unwrap().grants[0].bytes, 2 * 2048);
    assert!(!store.report_damage(rotten.id(), 0).unwrap());
}

#[test]
fn storing_a_shard_that_rotted_unnoticed_writes_it_again() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let segment = Segment::small(1);
    let first = put(&store, &segment, 0).unwrap();
    disk.flip(&name_of(1), 8 * find(&disk, 1, &segment.shards[0]) as u64);
    let second = put(&store, &segment, 0).unwrap();
    assert!(second.sequence > first.sequence);
    assert_whole(&store, &segment, 0);
    drop(store);
    assert_whole(&open(disk.mount(), MIB).unwrap(), &segment, 0);
}

#[test]
fn scrub_names_what_is_damaged_and_nothing_else() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), 32 * 1024).unwrap();
    let segments: Vec<Segment> = (0..30).map(Segment::small).collect();
    for segment in &segments {
        put(&store, segment, 0).unwrap();
    }
    let mut expected = Vec::new();
    for segment in segments.iter().step_by(4) {
        let pack = (1..100).find(|pack| {
            let bytes = disk.contents(&name_of(*pack)).unwrap_or_default();
            bytes.windows(64).any(|window| window == &segment.shards[0][..64])
        });
        let at = find(&disk, pack.unwrap(), &segment.shards[0]);
        disk.flip(&name_of(pack.unwrap()), 8 * (at as u64 + 100));
        expected.push((segment.id(), 0, Damage::Cells));
    }
    let report = store.scrub_next(ScrubCursor::default(), u64::MAX).unwrap();
    assert_eq!((report.damaged, report.shards), (expected.clone(), 30));
    for (number, segment) in segments.iter().enumerate() {
        if number % 4 == 0 {
            assert_eq!(store.held(segment.id()), 0);
        } else {
            assert_whole(&store, segment, 0);
        }
    }
    let again = store.scrub_next(ScrubCursor::default(), u64::MAX).unwrap();
    assert_eq!((again.damaged.len(), again.shards), (0, 30 - expected.len() as u64));
}

#[test]
fn an_unreadable_block_costs_only_the_shards_in_it() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let segments: Vec<Segment> = (0..10).map(Segment::small).collect();
    let store = open(disk.mount(), MIB).unwrap();
    for segment in &segments {
        put(&store, segment, 0).unwrap();
    }
    disk.break_block(&name_of(1), find(&disk, 1, &segments[4].shards[0]) as u64);
    let error = store.read_shard(segments[4].id(), 0).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { damage: Damage::Unreadable, .. }), "{error}");
    drop(store);
    // The pack is not sealed, so it is scanned over the hole.
    let store = open(disk.mount(), MIB).unwrap();
    for (number, segment) in segments.iter().enumerate() {
        if number == 4 {
            assert_eq!(store.held(segment.id()), 0);
        } else {
            assert_whole(&store, segment, 0);
        }
    }
}

#[test]
fn a_lost_pack_is_damage_of_its_shards_only() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let segments: Vec<Segment> = (0..30).map(Segment::small).collect();
    let store = open(disk.mount(), 32 * 1024).unwrap();
    for segment in &segments {
        put(&store, segment, 0).unwrap();
    }
    drop(store);
    let store = open(disk.mount(), 32 * 1024).unwrap();
    disk.lose(&name_of(2));
    let whole = segments.iter().filter(|s| store.read_shard(s.id(), 0).is_ok()).count();
    assert!((20..30).contains(&whole), "{whole}");
    assert_eq!(store.damaged_after(None, 100).len(), 30 - whole);
}

/// Copies the block group at one place of a pack over another: a misdirected or swapped write.
#[test]
fn a_record_in_another_place_is_not_a_record() {
    for reopen in [false, true] {
        let disk = FaultyDisk::new(1, 64 * MIB);
        let store = open(disk.mount(), 32 * 1024).unwrap();
        let segments: Vec<Segment> = (0..20).map(Segment::small).collect();
        for segment in &segments {
            put(&store, segment, 0).unwrap();
        }
        // Groups of one shard each: block 4096 of each pack has the first.
        let (one, two) = (disk.contents(&name_of(1)).unwrap(), disk.contents(&name_of(2)).unwrap());
        disk.overwrite(&name_of(1), 4096, &two[4096..8192]);
        disk.overwrite(&name_of(2), 4096, &one[8192..12288]);
        disk.overwrite(&name_of(2), 8192, &two[4096..8192]);
        let store = if reopen {
            drop(store);
            open(disk.mount(), 32 * 1024).unwrap()
        } else {
            store
        };
        let mut lost = 0;
        for segment in &segments {
            match store.read_shard(segment.id(), 0) {
                Ok(stored) => assert_eq!(stored.cells, segment.shards[0]),
                Err(StoreError::Damaged { damage: Damage::Record, .. }) => lost += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(lost, 3);
    }
}

/// The first block of a shard reached the disk and the rest did not: its header, whole, promises
/// more bytes than there are. What is appended next must not be taken for part of it.
#[test]
fn what_follows_a_torn_shard_is_found_again() {
    let torn = Segment::new(1, Scheme::FOUR_TWO, 1024, 40);
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    put(&store, &torn, 0).unwrap();
    drop(store);
    let whole = disk.contents(&name_of(1)).unwrap();
    for blocks in 2..whole.len() / 4096 {
        let disk = FaultyDisk::new(1, 64 * MIB);
        drop(open(disk.mount(), MIB).unwrap());
        disk.place(&name_of(1), &whole[..blocks * 4096]);
        let next = Segment::small(2);
        put(&open(disk.mount(), MIB).unwrap(), &next, 0).unwrap();
        disk.kill();
        let store = open(disk.mount(), MIB).unwrap();
        assert_eq!(store.held(torn.id()), 0);
        assert_whole(&store, &next, 0);
        put(&store, &torn, 0).unwrap();
        disk.kill();
        let store = open(disk.mount(), MIB).unwrap();
        assert_whole(&store, &torn, 0);
        assert_whole(&store, &next, 0);
    }
}

/// Whoever stores a shard chooses its cells: they must not become records where a scan meets them.
#[test]
fn cells_that_look_like_records_are_not() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let victim = Segment::small(1);
    put(&store, &victim, 0).unwrap();
    let mut forged = Segment::small(2);
    let mark = [victim.id().0.as_slice(), &[0], &7u64.to_le_bytes()].concat();
    let removed = (Kind::Removed as u8, 1);
    // The forger knows everything but the store's id, down to the place of each slot.
    let cells: Vec<u8> = (0..16)
        .flat_map(|slot| {
            let stranger = datamesh_store::StoreId([0; 16]);
            encode_record(&stranger, (1, 8192 + 64 * slot), removed, u64::MAX >> 1, &mark, &[])
        })
        .collect();
    forged.shards[0] = bytes::Bytes::from(cells);
    forged.descriptor.roots[0] = datamesh_core::Hash::of(&forged.shards[0]);
    put(&store, &forged, 0).unwrap();
    drop(store);
    // The forger's own record loses its header, so the scan walks through the cells.
    disk.overwrite(&name_of(1), 8192, &[0; 64]);
    let store = open(disk.mount(), MIB).unwrap();
    assert_eq!(store.held(forged.id()), 0);
    assert_whole(&store, &victim, 0);
}

proptest! {
    #![proptest_config(cases(120))]

    /// Bits rot anywhere, in sealed and open packs: nothing wrong is served, and no more shards
    /// are lost than bits flipped.
    #[test]
    fn rot_is_never_served_and_blames_nobody_else(seed: u64, flips in 1usize..12, reopen: bool) {
        let disk = FaultyDisk::new(seed, 64 * MIB);
        let mut dice = Dice::new(seed);
        let segments: Vec<Segment> = (0..24).map(|n| Segment::small(seed ^ n)).collect();
        let store = open(disk.mount(), 32 * 1024).unwrap();
        for segment in &segments {
            put(&store, segment, 0).unwrap();
        }
        let packs: Vec<String> =
            disk.names().into_iter().filter(|name| name.starts_with("pack-")).collect();
        for _ in 0..flips {
            let pack = &packs[dice.below(packs.len() as u64) as usize];
            let bits = 8 * disk.contents(pack).unwrap().len() as u64;
            disk.flip(pack, dice.below(bits));
        }
        let store = if reopen { drop(store); open(disk.mount(), 32 * 1024).unwrap() } else { store };
        let report = store.scrub_next(ScrubCursor::default(), u64::MAX).unwrap();
        prop_assert!(report.damaged.len() <= flips);
        let mut lost = 0;
        for segment in &segments {
            if store.held(segment.id()) == 1 {
                let stored = store.read_shard(segment.id(), 0).unwrap();
                prop_assert_eq!(&stored.cells, &segment.shards[0]);
            } else {
                lost += 1;
            }
        }
        prop_assert!(lost <= flips, "{} lost by {} flips", lost, flips);
        for segment in &segments {
            put(&store, segment, 0).unwrap();
            assert_whole(&store, segment, 0);
        }
    }
}
