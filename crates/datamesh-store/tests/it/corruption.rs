//! Random corruptions of packs, one at a time, each judged for itself: every shard whose cells were
//! changed is found, no other is blamed, and no wrong byte is returned; the same for heads. Packs hold
//! the tables that the index comes from: where one is damaged or gone, the index is what it was.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datamesh_core::Scheme;
use datamesh_store::record::Head;
use datamesh_store::{Damage, ScrubCursor, Slot, Store, StoreError, name_of, number_of};
use datamesh_testkit::FaultyDisk;
use datamesh_testkit::numbers::{corruptions, each};
use datamesh_testkit::random::Dice;

use crate::sample::{MIB, Segment, open, put};

const PACK_BYTES: u64 = 32 * 1024;

/// Bytes of a block, the unit of misdirected writes.
const BLOCK: usize = 4096;

/// What is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Shard(usize),
    Head(usize),
}

/// Where a thing lies in its pack.
struct Lies {
    thing: Thing,
    pack: String,
    /// Its cells, or the head.
    bytes: Range<usize>,
    /// From the end of what lies before it: whatever belongs to it is in here.
    all: Range<usize>,
}

fn find(disk: &FaultyDisk, things: &BTreeMap<Thing, Vec<u8>>) -> Vec<Lies> {
    let mut found = Vec::new();
    for pack in disk.names().into_iter().filter(|name| number_of(name).is_some()) {
        let all = disk.contents(&pack).unwrap();
        let mut inside: Vec<(Thing, Range<usize>)> = Vec::new();
        for (thing, bytes) in things {
            let at = all.windows(64).position(|window| window == &bytes[..64]);
            inside.extend(at.map(|at| (*thing, at..at + bytes.len())));
        }
        inside.sort_by_key(|(_, bytes)| bytes.start);
        let mut before = 0;
        for (thing, bytes) in inside {
            let all = before..bytes.end;
            before = bytes.end;
            found.push(Lies { thing, pack: pack.clone(), bytes, all });
        }
    }
    found
}

/// Changes one pack in one of the ways in which disks do. Returns which.
fn corrupt(world: &World, dice: &mut Dice) -> (String, &'static str) {
    let disk = &world.disk;
    let pick = |dice: &mut Dice| {
        let number = dice.below(world.pristine.len() as u64) as usize;
        world.pristine.iter().nth(number).map(|(name, bytes)| (name.clone(), bytes)).unwrap()
    };
    let (pack, bytes) = pick(dice);
    let at = dice.below(bytes.len() as u64) as usize;
    let block = |at: usize| at / BLOCK * BLOCK;
    let last = block(bytes.len() - 1);
    let older = world.older.get(&pack);
    let what = match dice.below(10) {
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
            let (_, other) = pick(dice);
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
        5 => {
            // As the file was before its last part was written.
            let stale = vec![0; bytes.len() - block(at)];
            disk.overwrite(&pack, block(at), &stale);
            "a stale end"
        }
        6 => {
            // What was there before, or nothing.
            let mut stale = vec![0; BLOCK.min(bytes.len() - block(at))];
            if let Some(old) = older.and_then(|older| older.get(block(at)..block(at) + stale.len()))
            {
                stale.copy_from_slice(old);
            }
            disk.overwrite(&pack, block(at), &stale);
            "a stale block"
        }
        7 => {
            if let Some(older) = older {
                disk.place(&pack, older);
            }
            "an older copy"
        }
        8 => {
            // The end of a sealed pack leads to the table of its records, which lies before it.
            let from = last.saturating_sub(BLOCK);
            let at = from as u64 + dice.below((bytes.len() - from) as u64);
            disk.flip(&pack, 8 * at + dice.below(8));
            "a bit of a table flipped"
        }
        _ => {
            disk.place(&pack, &bytes[..last]);
            "the end cut off"
        }
    };
    (pack, what)
}

fn differs(one: &[u8], other: &[u8], part: &Range<usize>) -> bool {
    one.get(part.clone()) != other.get(part.clone())
}

/// A store, and what its packs were and are without corruption.
struct World {
    disk: FaultyDisk,
    segments: Vec<Segment>,
    heads: Vec<Head>,
    places: Vec<Lies>,
    /// The packs when half was stored.
    older: BTreeMap<String, Vec<u8>>,
    pristine: BTreeMap<String, Vec<u8>>,
}

/// Accounts whose heads are kept, each in several revisions.
const ACCOUNTS: u8 = 3;

impl World {
    fn new() -> Self {
        let disk = FaultyDisk::new(1, 64 * MIB);
        let segments: Vec<Segment> = (0..20)
            .map(|seed| Segment::new(seed, Scheme::FOUR_TWO, 1024, 1 + (seed % 5) as u32))
            .collect();
        let heads: Vec<Head> = (0..4 * u64::from(ACCOUNTS))
            .map(|number| {
                let mut head = vec![0; 300 + 200 * number as usize];
                Dice::new(1000 + number).fill(&mut head);
                let account = [(number % u64::from(ACCOUNTS)) as u8; 32];
                Head { account, log: [1; 16], revision: 1 + number, head }
            })
            .collect();
        let packs = || {
            let names = disk.names().into_iter().filter(|name| number_of(name).is_some());
            names.map(|name| (name.clone(), disk.contents(&name).unwrap())).collect()
        };
        let store = open(disk.mount(), PACK_BYTES).unwrap();
        let mut older = BTreeMap::new();
        for (number, segment) in segments.iter().enumerate() {
            put(&store, segment, 0).unwrap();
            if let Some(head) = heads.get(number) {
                store.put_head(head).unwrap();
            }
            if number == segments.len() / 2 {
                older = packs();
            }
        }
        drop(store);
        // Opened once more, so that what opening itself writes is there.
        drop(open(disk.mount(), PACK_BYTES).unwrap());
        let pristine: BTreeMap<String, Vec<u8>> = packs();
        assert!(pristine.len() >= 3 && pristine.contains_key(&name_of(1)));
        let shards = segments.iter().enumerate();
        let shards = shards.map(|(n, segment)| (Thing::Shard(n), segment.shards[0].to_vec()));
        let kept = heads.iter().enumerate().map(|(n, head)| (Thing::Head(n), head.head.clone()));
        let things: BTreeMap<Thing, Vec<u8>> = shards.chain(kept).collect();
        let places = find(&disk, &things);
        assert_eq!(places.len(), things.len());
        Self { disk, segments, heads, places, older, pristine }
    }

    fn open(&self) -> Arc<Store> {
        open(self.disk.mount(), PACK_BYTES).unwrap()
    }

    /// Takes the corruption back.
    fn restore(&self) {
        self.disk.kill();
        for (pack, bytes) in &self.pristine {
            let shown = self.disk.contents(pack).unwrap_or_default();
            if shown.len() != bytes.len() {
                self.disk.place(pack, bytes);
            } else if shown != *bytes {
                self.disk.overwrite(pack, 0, bytes);
            }
        }
        for name in self.disk.names() {
            if number_of(&name).is_some() && !self.pristine.contains_key(&name) {
                self.disk.lose(&name);
            }
        }
    }

    /// Whether a shard is served, and served right.
    fn serves_shard(&self, store: &Store, segment: usize) -> bool {
        let segment = &self.segments[segment];
        match store.read_shard(segment.id(), 0) {
            Ok(stored) => {
                assert_eq!(stored.cells, segment.shards[0], "a wrong byte was returned");
                true
            }
            Err(StoreError::Damaged { .. } | StoreError::NotFound { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether a head is served, and served right: what is older may come back where a newer one is
    /// lost, which the other nodes that keep it make up for.
    fn serves_head(&self, store: &Store, number: usize) -> bool {
        let slot: Slot = (self.heads[number].account, self.heads[number].log);
        match store.head(&slot) {
            Ok(Some(head)) => {
                assert!(self.heads.contains(&head), "a head that never was");
                head == self.heads[number]
            }
            Ok(None) | Err(StoreError::RecordDamaged { damage: Damage::Record, .. }) => false,
            Err(StoreError::RecordDamaged { damage: Damage::Missing, .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether no newer head is in its place.
    fn is_newest(&self, number: usize) -> bool {
        number + usize::from(ACCOUNTS) >= self.heads.len()
    }
}

/// Strikes once and looks at everything. Returns how many things were hit.
fn struck(world: &World, number: u64) -> u64 {
    let mut hits = 0;
    let mut dice = Dice::new(4711 + number);
    // Half of them while the store is open, half before.
    let early = (dice.one_in(2)).then(|| world.open());
    let (pack, what) = corrupt(world, &mut dice);
    let changed = world.disk.contents(&pack).unwrap();
    let before = &world.pristine[&pack];
    let store = early.unwrap_or_else(|| world.open());
    let scrubbed = dice.one_in(2);
    if scrubbed {
        store.scrub_next(ScrubCursor::default(), u64::MAX).unwrap();
    }
    for place in &world.places {
        let context = format!("corruption {number}, {what} in {pack}, {:?}", place.thing);
        let whole = match place.thing {
            Thing::Shard(segment) => {
                let held = store.held(world.segments[segment].id()) == 1;
                let whole = world.serves_shard(&store, segment);
                if scrubbed {
                    assert_eq!(
                        held, whole,
                        "{context}: the scrub saw it otherwise than the reader"
                    );
                }
                whole
            }
            Thing::Head(number) if world.is_newest(number) => world.serves_head(&store, number),
            Thing::Head(_) => continue,
        };
        if place.pack != pack || !differs(before, &changed, &place.all) {
            assert!(whole, "{context}: a healthy one is blamed");
        } else if differs(before, &changed, &place.bytes) {
            assert!(!whole, "{context}: it was not found");
            hits += 1;
        }
    }
    drop(store);
    world.restore();
    hits
}

#[test]
fn every_corruption_is_found_and_no_healthy_shard_is_blamed() {
    let (numbers, hits) = (corruptions(0..5), AtomicU64::new(0));
    each(&numbers, World::new, |world, number| {
        hits.fetch_add(struck(world, number), Ordering::Relaxed);
    });
    let hits = hits.into_inner();
    // Many strike room that nothing lives in; enough must strike what does.
    // It is a quarter in the mean, so that few of a hundred may be a little less.
    assert!(hits > numbers.len() as u64 / 8 || numbers.len() < 100, "{hits} things were hit");
}

/// The index is the fold of what the packs hold: without the tables that it is read from it is the
/// same.
#[test]
fn without_any_table_the_index_is_the_same() {
    let world = World::new();
    let known = |store: &Store| {
        let mut usage = store.usage().unwrap();
        (usage.free, usage.used) = (0, 0);
        let receipts: Vec<_> =
            world.segments.iter().map(|segment| store.receipt(segment.id(), 0).unwrap()).collect();
        (store.segments_after(None, 100), store.heads_after(None, 100), usage, receipts)
    };
    let store = world.open();
    let before = known(&store);
    drop(store);
    for (pack, bytes) in &world.pristine {
        // Two blocks at most: so few records have a table in the block before the end.
        let all = world.places.iter().filter(|place| place.pack == *pack);
        let end = all.map(|place| place.bytes.end).max().unwrap_or(0).next_multiple_of(BLOCK);
        world.disk.place(pack, &bytes[..end.min(bytes.len())]);
    }
    let store = world.open();
    assert_eq!(known(&store), before);
}
