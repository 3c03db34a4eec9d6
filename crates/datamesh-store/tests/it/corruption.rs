//! Random corruptions of packs, one at a time, each judged for itself: every shard whose cells were
//! changed is found, no other is blamed, and no wrong byte is returned.

use std::collections::BTreeSet;
use std::ops::Range;

use datamesh_core::Scheme;
use datamesh_store::{ScrubCursor, Store, StoreError, name_of, number_of};
use datamesh_testkit::FaultyDisk;
use datamesh_testkit::random::Dice;

use crate::sample::{MIB, Segment, open, put};

/// Corruptions in the short form; `DATAMESH_CORRUPTIONS` asks for more.
const CORRUPTIONS: u64 = 1000;

/// Bytes of a block, the unit of misdirected writes.
const BLOCK: usize = 4096;

/// Where a shard lies in its pack.
struct Lies {
    segment: usize,
    pack: String,
    /// Its cells.
    cells: Range<usize>,
    /// From the end of the cells before it: whatever belongs to it is in here.
    all: Range<usize>,
}

fn find(disk: &FaultyDisk, segments: &[Segment]) -> Vec<Lies> {
    let mut found = Vec::new();
    for pack in disk.names().into_iter().filter(|name| number_of(name).is_some()) {
        let bytes = disk.contents(&pack).unwrap();
        let mut inside: Vec<(usize, Range<usize>)> = Vec::new();
        for (number, segment) in segments.iter().enumerate() {
            let cells = &segment.shards[0];
            let at = bytes.windows(64).position(|window| window == &cells[..64]);
            inside.extend(at.map(|at| (number, at..at + cells.len())));
        }
        inside.sort_by_key(|(_, cells)| cells.start);
        let mut before = 0;
        for (segment, cells) in inside {
            let all = before..cells.end;
            before = cells.end;
            found.push(Lies { segment, pack: pack.clone(), cells, all });
        }
    }
    found
}

/// Changes one pack in one of the ways in which disks do. Returns which.
fn corrupt(disk: &FaultyDisk, dice: &mut Dice, packs: &[String]) -> (String, &'static str) {
    let pick = |dice: &mut Dice| packs[dice.below(packs.len() as u64) as usize].clone();
    let pack = pick(dice);
    let bytes = disk.contents(&pack).unwrap();
    let at = dice.below(bytes.len() as u64) as usize;
    let block = |at: usize| at / BLOCK * BLOCK;
    let what = match dice.below(6) {
        0 => {
            disk.flip(&pack, 8 * at as u64 + dice.below(8));
            "a bit flipped"
        }
        1 => {
            let mut noise = vec![0; 1 + dice.below(600) as usize];
            dice.fill(&mut noise);
            noise.truncate(bytes.len() - at);
            disk.overwrite(&pack, at, &noise);
            "a range overwritten"
        }
        2 => {
            disk.place(&pack, &bytes[..at]);
            "truncated"
        }
        3 => {
            // A block of another place, perhaps of another pack: a misdirected write.
            let other = disk.contents(&pick(dice)).unwrap();
            let from = block(dice.below(other.len() as u64) as usize);
            let end = (from + BLOCK).min(other.len()).min(from + bytes.len() - block(at));
            disk.overwrite(&pack, block(at), &other[from..end]);
            "a misdirected block"
        }
        4 => {
            let other = block(dice.below(bytes.len() as u64) as usize);
            let (one, two) = (block(at).min(other), block(at).max(other));
            if two + BLOCK <= bytes.len() {
                disk.overwrite(&pack, one, &bytes[two..two + BLOCK]);
                disk.overwrite(&pack, two, &bytes[one..one + BLOCK]);
            }
            "two blocks swapped"
        }
        _ => {
            // As the file was before its last part was written.
            let stale = vec![0; bytes.len() - block(at)];
            disk.overwrite(&pack, block(at), &stale);
            "a stale end"
        }
    };
    (pack, what)
}

fn differs(one: &[u8], other: &[u8], part: &Range<usize>) -> bool {
    one.get(part.clone()) != other.get(part.clone())
}

/// What the store serves of a shard.
fn served(store: &Store, segment: &Segment) -> bool {
    match store.read_shard(segment.id(), 0) {
        Ok(stored) => {
            assert_eq!(stored.cells, segment.shards[0], "a wrong byte was returned");
            true
        }
        Err(StoreError::Damaged { .. } | StoreError::NotFound { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_corruption_is_found_and_no_healthy_shard_is_blamed() {
    let wished = std::env::var("DATAMESH_CORRUPTIONS").ok().and_then(|text| text.parse().ok());
    let corruptions = wished.unwrap_or(CORRUPTIONS);
    let disk = FaultyDisk::new(1, 64 * MIB);
    let mut dice = Dice::new(4711);
    let segments: Vec<Segment> = (0..20)
        .map(|seed| Segment::new(seed, Scheme::FOUR_TWO, 1024, 1 + (seed % 5) as u32))
        .collect();
    let store = open(disk.mount(), 32 * 1024).unwrap();
    for segment in &segments {
        put(&store, segment, 0).unwrap();
    }
    drop(store);
    // Opened once more, so that what opening itself writes is there.
    drop(open(disk.mount(), 32 * 1024).unwrap());
    let packs: Vec<String> =
        disk.names().into_iter().filter(|name| number_of(name).is_some()).collect();
    assert!(packs.len() >= 3 && packs.contains(&name_of(1)));
    let pristine: Vec<Vec<u8>> = packs.iter().map(|pack| disk.contents(pack).unwrap()).collect();
    let places = find(&disk, &segments);
    assert_eq!(places.len(), segments.len());
    let (mut hits, mut kinds) = (0, BTreeSet::new());
    for number in 0..corruptions {
        // Half of them while the store is open, half before.
        let open_before = number % 2 == 0;
        let early = open_before.then(|| open(disk.mount(), 32 * 1024).unwrap());
        let (pack, what) = corrupt(&disk, &mut dice, &packs);
        kinds.insert(what);
        let changed = disk.contents(&pack).unwrap();
        let before = &pristine[packs.iter().position(|name| *name == pack).unwrap()];
        let store = early.unwrap_or_else(|| open(disk.mount(), 32 * 1024).unwrap());
        if number % 4 < 2 {
            store.scrub_next(ScrubCursor::default(), u64::MAX).unwrap();
        }
        for place in &places {
            let held = store.held(segments[place.segment].id()) == 1;
            let whole = served(&store, &segments[place.segment]);
            let context = format!("corruption {number}, {what} in {pack}, shard {}", place.segment);
            if number % 4 < 2 {
                assert_eq!(held, whole, "{context}: the scrub saw it otherwise than the reader");
            }
            if place.pack != pack || !differs(before, &changed, &place.all) {
                assert!(whole, "{context}: a healthy shard is blamed");
            } else if differs(before, &changed, &place.cells) {
                assert!(!whole, "{context}: it was not found");
                hits += 1;
            }
        }
        drop(store);
        disk.kill();
        for (pack, bytes) in packs.iter().zip(&pristine) {
            let shown = disk.contents(pack).unwrap_or_default();
            if shown.len() != bytes.len() {
                disk.place(pack, bytes);
            } else if shown != *bytes {
                disk.overwrite(pack, 0, bytes);
            }
        }
        for name in disk.names() {
            if number_of(&name).is_some() && !packs.contains(&name) {
                disk.lose(&name);
            }
        }
    }
    assert_eq!(kinds.len(), 6);
    assert!(hits * 3 > corruptions, "{hits} of {corruptions} hit a shard");
}
