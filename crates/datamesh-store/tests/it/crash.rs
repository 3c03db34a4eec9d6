//! A crash before, in the middle of and after every named step of the store.
//!
//! One script does everything that a store does. It runs once undisturbed, and what the store knows
//! is noted after each of its operations. Then it runs again for each point, each kind of crash and
//! each time that the point is reached: what is found when the store is opened again is what was
//! known before the operation that was cut off or what was known after it, never anything between;
//! and the rest of the script comes to the same end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datamesh_core::lease::{Release, Renewal, SegmentPin};
use datamesh_core::{PublicKey, Receipt, Scheme, Signature};
use datamesh_store::record::Head;
use datamesh_store::{
    AgreedClock, Collection, CollectionTerms, LeaseChange, LeaseState, ShardState, Slot, Store,
    StoreError, points,
};
use datamesh_testkit::{Crash, FaultyDisk};

use crate::sample::{MIB, Segment, open, put, receipt};

const DAY: u64 = 24 * 3600 * 1000;

/// Small, so that packs end and are given back.
const PACK_BYTES: u64 = 96 << 10;

/// Disks that each kind of torn write is tried on: what it leaves is chance.
const TORN_SEEDS: u64 = 4;

#[derive(Debug, Clone, Copy)]
enum Op {
    Open,
    Put(usize, u8),
    Receipt(usize, u8, u64),
    Renew { segment: usize, epoch: u64, expiry: u64 },
    Release { segment: usize, epoch: u64, now: u64 },
    Head(u8, u64),
    Pin(usize, u64, u8),
    GiveUp(usize, u8),
    TakeBack(usize, u8),
    Collect { now: u64 },
    Compact { now: u64 },
}

/// Everything that a store does, with every point in it.
fn script() -> Vec<Op> {
    use Op::{Collect, Compact, Open, Put, Receipt, Release, Renew};
    let mut ops = vec![Open, Put(0, 0), Put(0, 3), Receipt(0, 0, 77), Op::Head(1, 1)];
    ops.extend([Put(1, 1), Renew { segment: 1, epoch: 0, expiry: 5 * DAY }, Put(2, 2)]);
    // Released and taken back, and once more.
    ops.extend([
        Release { segment: 0, epoch: 1, now: DAY },
        Renew { segment: 0, epoch: 1, expiry: 0 },
        Release { segment: 0, epoch: 2, now: 2 * DAY },
        Put(3, 0),
        Renew { segment: 0, epoch: 2, expiry: 0 },
        Op::Head(1, 2),
        Op::Head(2, 1),
        Op::Pin(1, 4, 9),
        Op::Pin(2, 1, 3),
        Op::Pin(2, 2, 0),
        Open,
    ]);
    ops.extend((4..12).map(|n| Put(n, n as u8 % 6)));
    ops.extend((4..9).map(|n| Release { segment: n, epoch: 1, now: 2 * DAY + 1000 * n as u64 }));
    ops.extend([Op::GiveUp(11, 5), Op::TakeBack(11, 5), Op::GiveUp(11, 5)]);
    // The clock is ahead for a while.
    ops.push(Release { segment: 10, epoch: 1, now: 20 * DAY });
    // What was ended goes, one at a time; what expired comes into the trash.
    ops.extend([Collect { now: 3 * DAY }, Open]);
    ops.extend((4..9).map(|n| Collect { now: 9 * DAY + 1000 * n as u64 }));
    ops.push(Collect { now: 11 * DAY });
    ops.extend([Compact { now: 12 * DAY }, Put(12, 0), Compact { now: 12 * DAY }]);
    ops.extend([Collect { now: 40 * DAY }, Open, Receipt(2, 2, 99), Put(13, 5)]);
    ops.extend([Renew { segment: 1, epoch: 3, expiry: 0 }, Compact { now: 300 * DAY }, Open]);
    ops
}

fn at(now: u64) -> AgreedClock {
    AgreedClock::compare(now, &[now], 0, false).unwrap()
}

/// What a store knows of a shard: how it is, since when it is in the trash, and its receipt's mark.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shard {
    state: ShardState,
    since: Option<u64>,
    receipt: Option<u64>,
}

/// What a store knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct View {
    shards: BTreeMap<(usize, u8), Shard>,
    leases: BTreeMap<usize, LeaseState>,
    heads: BTreeMap<Slot, Head>,
    pins: BTreeMap<usize, SegmentPin>,
}

impl View {
    /// The same where a shard that was never acknowledged is there and its receipt is not: then
    /// another is signed when the shard is stored again.
    fn is_without_receipt(&self, other: &Self, op: Op) -> bool {
        let Op::Put(segment, shard) = op else { return false };
        let mut seen = self.clone();
        let Some(found) = seen.shards.get_mut(&(segment, shard)) else { return false };
        found.receipt.replace(0).is_none() && seen == *other
    }
}

struct Run {
    disk: FaultyDisk,
    segments: Arc<Vec<Segment>>,
    store: Option<Arc<Store>>,
    collection: Option<Collection>,
}

impl Run {
    fn new(seed: u64, segments: &Arc<Vec<Segment>>) -> Self {
        let disk = FaultyDisk::new(seed, 16 * MIB);
        Self { disk, segments: Arc::clone(segments), store: None, collection: None }
    }

    fn open(&mut self) -> Result<(), StoreError> {
        (self.collection, self.store) = (None, None);
        let store = open(self.disk.mount(), PACK_BYTES)?;
        self.collection = store.collection(CollectionTerms::default());
        self.store = Some(store);
        Ok(())
    }

    fn do_op(&mut self, op: Op) -> Result<(), StoreError> {
        if let Op::Open = op {
            return self.open();
        }
        let store = Arc::clone(self.store.as_ref().unwrap());
        let id = |segment: usize| self.segments[segment].id();
        match op {
            Op::Open => Ok(()),
            Op::Put(segment, shard) => put(&store, &self.segments[segment], shard).map(drop),
            Op::Receipt(segment, shard, expiry) => {
                let id = id(segment);
                let sign = |sequence| Receipt { expiry, ..receipt(id, shard, sequence) };
                store.renew_receipt(id, shard, &sign).map(drop)
            }
            Op::Renew { segment, epoch, expiry } => {
                let segment = id(segment);
                let renewal = Renewal { segment, epoch, expiry, signature: Signature([4; 64]) };
                store.change_leases(&[LeaseChange::Renew(renewal)], 0).map(drop)
            }
            Op::Release { segment, epoch, now } => {
                let release =
                    Release { segment: id(segment), epoch, signature: Signature([6; 64]) };
                let change = LeaseChange::Release { release, lease_key: PublicKey([9; 32]) };
                store.change_leases(&[change], now).map(drop)
            }
            Op::Head(account, revision) => {
                let head = vec![revision as u8; 3000];
                let head = Head { account: [account; 32], log: [1; 16], revision, head };
                store.put_head(&head).map(drop)
            }
            Op::Pin(segment, epoch, priority) => {
                let signature = Signature([7; 64]);
                let segment = id(segment);
                store.pin(&[SegmentPin { segment, epoch, priority, until: 0, signature }]).map(drop)
            }
            Op::GiveUp(segment, shard) => store.give_up(id(segment), shard, DAY).map(drop),
            Op::TakeBack(segment, shard) => store.take_back(id(segment), 1 << shard, DAY).map(drop),
            Op::Collect { now } => self.collection.as_mut().unwrap().collect(&at(now)).map(drop),
            Op::Compact { now } => {
                let collection = self.collection.as_mut().unwrap();
                while collection.compact(&at(now))?.is_some() {}
                Ok(())
            }
        }
    }

    /// What the store knows. Bytes that it serves are those that were stored.
    fn view(&self) -> View {
        let Some(store) = &self.store else { return View::default() };
        let mut view = View::default();
        for (number, segment) in self.segments.iter().enumerate() {
            let id = segment.id();
            for shard in 0..6 {
                let Some(mut state) = store.shard_state(id, shard) else { continue };
                if state == ShardState::Held {
                    match store.read_shard(id, shard) {
                        Ok(stored) => {
                            assert_eq!(stored.cells, segment.shards[usize::from(shard)]);
                        }
                        Err(StoreError::Damaged { .. }) => state = ShardState::Damaged,
                        Err(error) => panic!("{error}"),
                    }
                }
                // Torn and never told of: as if it were not there.
                if state == ShardState::Damaged {
                    continue;
                }
                let receipt = store.receipt(id, shard).unwrap_or_default();
                let receipt = receipt.map(|receipt| receipt.expiry);
                let since = store.trashed_since(id, shard);
                view.shards.insert((number, shard), Shard { state, since, receipt });
            }
            if let Some(lease) = store.lease(id) {
                view.leases.insert(number, lease);
            }
            if let Some(pin) = store.kept_pin(id).unwrap() {
                assert_eq!(store.priority(id, 0), pin.priority);
                view.pins.insert(number, pin);
            }
        }
        for (slot, _) in store.heads_after(None, 100) {
            view.heads.insert(slot, store.head(&slot).unwrap().unwrap());
        }
        view
    }
}

/// What the store knows before each operation of the script, and in the end.
fn undisturbed(segments: &Arc<Vec<Segment>>, ops: &[Op]) -> Vec<View> {
    let mut run = Run::new(0, segments);
    let mut views = vec![View::default()];
    for op in ops {
        run.do_op(*op).unwrap();
        views.push(run.view());
    }
    views
}

/// Runs the script with one crash. False where the point was not reached so often.
fn crashed(
    run: &mut Run,
    ops: &[Op],
    views: &[View],
    (point, crash, time): (&'static str, Crash, u64),
    power: bool,
) -> bool {
    run.disk.crash_at(point, crash, time);
    let mut happened = false;
    let mut number = 0;
    while let Some(op) = ops.get(number) {
        let done = run.do_op(*op);
        if !run.disk.is_powerless() {
            let context = format!("{point} {crash:?} {time}: {op:?}");
            done.unwrap_or_else(|error| panic!("{context}: {error}"));
            number += 1;
            continue;
        }
        happened = true;
        (run.collection, run.store) = (None, None);
        match power {
            true => run.disk.crash(),
            false => run.disk.kill(),
        }
        run.open().unwrap();
        let (found, context) = (run.view(), format!("{point} {crash:?} {time}, power {power}"));
        let (old, new) = (&views[number], &views[number + 1]);
        // An acknowledged operation stands: the power may go when nobody is told any more.
        if found == *new {
            number += 1;
        } else if done.is_ok() || !(found == *old || found.is_without_receipt(new, *op)) {
            panic!("{context}: {op:?} was cut off\nfound {found:#?}\nold {old:#?}\nnew {new:#?}");
        }
    }
    if happened {
        let end = views.last().unwrap();
        assert_eq!(run.view(), *end, "{point} {crash:?} {time}: another end");
        run.open().unwrap();
        assert_eq!(run.view(), *end, "{point} {crash:?} {time}: another end when it is opened");
    }
    happened
}

fn segments() -> Arc<Vec<Segment>> {
    let rows = |n: u64| 2 + (n * 7 % 19) as u32;
    Arc::new((0..14).map(|n| Segment::new(n, Scheme::FOUR_TWO, 1024, rows(n))).collect())
}

#[test]
#[expect(clippy::print_stdout, reason = "how many there are is what is asked of it")]
fn a_crash_at_any_point_leaves_the_old_or_the_new() {
    let (ops, segments) = (script(), segments());
    let views = undisturbed(&segments, &ops);
    assert_eq!(views.iter().filter(|view| view.shards.is_empty()).count(), 2);
    let (mut crashes, mut reached) = (0, BTreeSet::new());
    for point in points::ALL {
        for crash in Crash::ALL {
            let seeds = if crash == Crash::Torn { TORN_SEEDS } else { 1 };
            for time in 1.. {
                let mut happened = false;
                for (seed, power) in (0..seeds).flat_map(|seed| [(seed, true), (seed, false)]) {
                    let mut run = Run::new(seed, &segments);
                    happened |= crashed(&mut run, &ops, &views, (point, crash, time), power);
                    crashes += u64::from(happened);
                }
                if !happened {
                    break;
                }
                reached.insert((point, crash));
            }
        }
    }
    let missed: Vec<_> = points::ALL
        .iter()
        .flat_map(|point| Crash::ALL.map(|crash| (*point, crash)))
        .filter(|at| !reached.contains(at))
        .collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
    println!("{} points of the store, {crashes} crashes", points::ALL.len());
}

#[test]
fn a_group_that_is_torn_between_a_lease_and_its_marks_is_whole() {
    let segments = segments();
    let ops = [
        Op::Open,
        Op::Put(0, 0),
        Op::Put(0, 1),
        Op::Put(0, 2),
        Op::Release { segment: 0, epoch: 1, now: DAY },
        Op::Renew { segment: 0, epoch: 1, expiry: 0 },
    ];
    let views = undisturbed(&segments, &ops);
    for point in [points::LEASE_RELEASE, points::LEASE_RENEW, points::SHARD_STORE] {
        for seed in 0..64 {
            let mut run = Run::new(seed, &segments);
            let time = 1 + seed % 3;
            crashed(&mut run, &ops, &views, (point, Crash::Torn, time), true);
        }
    }
}
