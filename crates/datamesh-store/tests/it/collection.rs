//! Releases, the trash, removal and compaction: by cases, and as random work on a disk that fails on
//! purpose beside a simple model.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_core::lease::{Release, Renewal};
use datamesh_core::{PublicKey, Scheme, SegmentId, Signature};
use datamesh_store::{
    AgreedClock, ClockError, Collection, CollectionTerms, Elsewhere, Kept, LeaseChange,
    LeaseOutcome, ShardState, Store, StoreError, points,
};
use datamesh_testkit::{Crash, FaultyDisk};
use proptest::prelude::*;

use crate::sample::{MIB, Segment, assert_whole, cases, open, put};

const DAY: u64 = 24 * 3600 * 1000;

pub(crate) fn release(segment: SegmentId, epoch: u64) -> LeaseChange {
    let release = Release { segment, epoch, signature: Signature([6; 64]) };
    LeaseChange::Release { release, lease_key: PublicKey([9; 32]) }
}

pub(crate) fn renewal(segment: SegmentId, epoch: u64, expiry: u64) -> LeaseChange {
    LeaseChange::Renew(Renewal { segment, epoch, expiry, signature: Signature([4; 64]) })
}

pub(crate) fn change(store: &Store, change: LeaseChange, now: u64) -> LeaseOutcome {
    store.change_leases(&[change], now).unwrap()[0]
}

pub(crate) fn at(now: u64) -> AgreedClock {
    AgreedClock::compare(now, &[now], 0, false).unwrap()
}

/// Another node was seen to have a shard.
fn seen(segment: SegmentId, shard: u8, seen: u64) -> Elsewhere {
    Elsewhere { segment, shard, seen }
}

fn collection(store: &Arc<Store>) -> Collection {
    store.collection(CollectionTerms::default()).unwrap()
}

#[test]
fn a_release_leads_through_the_trash_to_removal() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let (gone, kept) = (Segment::small(1), Segment::small(2));
    for segment in [&gone, &kept] {
        put(&store, segment, 0).unwrap();
        put(&store, segment, 3).unwrap();
    }
    let id = gone.id();
    assert_eq!(change(&store, release(id, 1), DAY), LeaseOutcome::Taken { shards: 0b1001 });
    assert_eq!(store.held(id), 0);
    assert_eq!(store.shard_state(id, 0), Some(ShardState::Trash));
    assert!(matches!(store.read_shard(id, 0), Err(StoreError::NotFound { .. })));
    let usage = store.usage().unwrap();
    assert_eq!((usage.trash, usage.trash_bytes, usage.trash_asked), (2, 4096, 1));
    // Whoever was away and still has it cannot bring it back.
    assert!(matches!(put(&store, &gone, 5), Err(StoreError::Released { .. })));

    let mut collection = collection(&store);
    assert!(store.collection(CollectionTerms::default()).is_none(), "the power is given once");
    let early = collection.judge(id, 0, &at(8 * DAY - 1));
    assert_eq!(early, Err(Kept::TooEarly { until: 8 * DAY }));
    assert_eq!(collection.judge(kept.id(), 0, &at(900 * DAY)), Err(Kept::NotInTrash));
    assert_eq!(collection.collect(&at(8 * DAY - 1)).unwrap().removed, 0);
    let done = collection.collect(&at(8 * DAY)).unwrap();
    assert_eq!((done.removed, done.removed_bytes), (2, 4096));
    assert_eq!(store.shard_state(id, 0), None);
    assert_eq!(store.usage().unwrap().grants[0].bytes, 4096);
    drop((collection, store));

    // The tombstone outlives the shards and a restart.
    let store = open(disk.mount(), MIB).unwrap();
    assert_eq!(store.tombstone(id).unwrap().unwrap().release.epoch, 1);
    assert!(matches!(put(&store, &gone, 0), Err(StoreError::Released { .. })));
    assert_eq!(change(&store, release(id, 1), DAY), LeaseOutcome::Taken { shards: 0 });
    assert_whole(&store, &kept, 3);
    // A renewal of its epoch lifts it: the segment may be stored again.
    assert_eq!(change(&store, renewal(id, 1, 0), DAY), LeaseOutcome::Taken { shards: 0 });
    put(&store, &gone, 0).unwrap();
}

#[test]
fn a_renewal_revives_and_wins_at_the_same_epoch() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let segment = Segment::small(1);
    let id = segment.id();
    assert_eq!(change(&store, release(id, 1), 0), LeaseOutcome::NotHeld);
    assert_eq!(change(&store, renewal(id, 1, 0), 0), LeaseOutcome::NotHeld);
    put(&store, &segment, 2).unwrap();
    assert_eq!(change(&store, release(id, 0), 0), LeaseOutcome::Behind { epoch: 0 });
    assert_eq!(change(&store, release(id, 5), 0), LeaseOutcome::Taken { shards: 0b100 });
    assert_eq!(change(&store, renewal(id, 4, 0), 0), LeaseOutcome::Behind { epoch: 5 });
    assert_eq!(change(&store, renewal(id, 5, 0), 0), LeaseOutcome::Taken { shards: 0b100 });
    assert_whole(&store, &segment, 2);
    assert_eq!(change(&store, release(id, 5), 0), LeaseOutcome::Behind { epoch: 5 });
    let mut collection = collection(&store);
    assert_eq!(collection.collect(&at(900 * DAY)).unwrap(), Default::default());
    assert_whole(&store, &segment, 2);

    // What was judged and then renewed stays.
    change(&store, release(id, 6), 0);
    let removal = collection.judge(id, 2, &at(9 * DAY)).unwrap();
    change(&store, renewal(id, 6, 0), 9 * DAY);
    assert_eq!(collection.remove(&[removal], &at(9 * DAY)).unwrap().removed, 0);
    drop((collection, store));
    assert_whole(&open(disk.mount(), MIB).unwrap(), &segment, 2);
}

#[test]
fn an_expired_lease_has_its_grace_and_then_the_trash() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let segment = Segment::small(1);
    put(&store, &segment, 2).unwrap();
    change(&store, renewal(segment.id(), 1, 10 * DAY), 0);
    let mut collection = collection(&store);
    assert_eq!(collection.collect(&at(40 * DAY - 1)).unwrap(), Default::default());
    assert_whole(&store, &segment, 2);
    assert_eq!(collection.collect(&at(40 * DAY)).unwrap().trashed, 1);
    assert_eq!(collection.collect(&at(47 * DAY - 1)).unwrap(), Default::default());
    assert_eq!(collection.collect(&at(47 * DAY)).unwrap().removed, 1);
    // No owner ended it, so it may be stored again.
    put(&store, &segment, 2).unwrap();
}

#[test]
fn what_clocks_that_were_ahead_put_into_the_trash_is_held_again() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let (kept, ended) = (Segment::small(1), Segment::small(2));
    for segment in [&kept, &ended] {
        put(&store, segment, 2).unwrap();
        change(&store, renewal(segment.id(), 1, 100 * DAY), 0);
    }
    let mut collection = collection(&store);
    assert_eq!(collection.collect(&at(365 * DAY)).unwrap().trashed, 2);
    change(&store, release(ended.id(), 2), DAY);
    assert_eq!(collection.collect(&at(DAY)).unwrap(), Default::default());
    assert_whole(&store, &kept, 2);
    // What its owner ended stays there, and has its time from now on.
    assert_eq!(store.shard_state(ended.id(), 2), Some(ShardState::Trash));
    assert_eq!(collection.collect(&at(9 * DAY)).unwrap().removed, 1);
    drop((collection, store));
    assert_whole(&open(disk.mount(), MIB).unwrap(), &kept, 2);
}

#[test]
fn who_sends_an_old_renewal_again_neither_shortens_a_lease_nor_empties_the_trash() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let segment = Segment::small(1);
    let id = segment.id();
    put(&store, &segment, 2).unwrap();
    let kept = LeaseOutcome::Taken { shards: 0b100 };
    assert_eq!(change(&store, renewal(id, 1, 10 * DAY), 0), kept);
    assert_eq!(change(&store, renewal(id, 1, 20 * DAY), DAY), kept);
    assert_eq!(change(&store, renewal(id, 1, 10 * DAY), 2 * DAY), kept, "it counts as it did");
    assert_eq!(store.lease(id).unwrap().expiry, 20 * DAY);
    drop(store);
    let store = open(disk.mount(), MIB).unwrap();
    assert_eq!(store.lease(id).unwrap().expiry, 20 * DAY);

    let mut power = collection(&store);
    assert_eq!(power.collect(&at(50 * DAY)).unwrap().trashed, 1);
    for end in [10, 20] {
        let outcome = change(&store, renewal(id, 1, end * DAY), 51 * DAY);
        assert_eq!(outcome, LeaseOutcome::Taken { shards: 0 }, "it keeps nothing any more");
        assert_eq!(store.shard_state(id, 2), Some(ShardState::Trash));
    }
    // A fresh one does, and the shard is served again.
    assert_eq!(change(&store, renewal(id, 1, 60 * DAY), 52 * DAY), kept);
    assert_whole(&store, &segment, 2);
    // A release still ends what was revived.
    assert_eq!(change(&store, release(id, 2), 53 * DAY), kept);
    assert_eq!(power.collect(&at(60 * DAY)).unwrap().removed, 1);
}

#[test]
fn a_moved_shard_goes_only_where_another_node_was_just_seen_to_have_it() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let segment = Segment::small(1);
    let id = segment.id();
    put(&store, &segment, 0).unwrap();
    put(&store, &segment, 3).unwrap();
    assert!(!store.give_up(id, 5, DAY).unwrap(), "nothing is here that could be given up");
    assert!(store.give_up(id, 3, DAY).unwrap());
    assert!(!store.give_up(id, 3, 2 * DAY).unwrap(), "it is given up once");
    // Not held, and served to whoever remembers it, without an alarm.
    assert_eq!((store.held(id), store.shard_state(id, 3)), (0b1, Some(ShardState::Moved)));
    assert_eq!(store.read_shard(id, 3).unwrap().cells, segment.shards[3]);
    let usage = store.usage().unwrap();
    let counted = (usage.shards, usage.moved, usage.moved_bytes, usage.trash, usage.trash_asked);
    assert_eq!(counted, (1, 1, 2048, 0, 0));

    let mut power = collection(&store);
    let now = 8 * DAY;
    assert_eq!(power.moved_after(None, 9, &at(now - 1)), []);
    assert_eq!(power.moved_after(None, 9, &at(now)), [(id, 3)]);
    assert_eq!(
        power.judge_moved(seen(id, 3, now), &at(now - 1)),
        Err(Kept::TooEarly { until: now })
    );
    // Time alone is no reason, and neither is what was seen long ago or will be.
    assert_eq!(power.judge(id, 3, &at(900 * DAY)), Err(Kept::Moved));
    assert_eq!(power.collect(&at(900 * DAY)).unwrap(), Default::default());
    assert_eq!(power.judge_moved(seen(id, 3, DAY), &at(now)), Err(Kept::Moved));
    assert_eq!(power.judge_moved(seen(id, 3, now + DAY), &at(now)), Err(Kept::Moved));
    assert_eq!(power.judge_moved(seen(id, 0, now), &at(now)), Err(Kept::NotInTrash));
    // One that is taken back between judging and removing stays.
    let removal = power.judge_moved(seen(id, 3, now), &at(now)).unwrap();
    assert_eq!(store.take_back(id, 0b1001, now).unwrap(), 0b1001);
    assert_eq!(power.remove(&[removal], &at(now)).unwrap().removed, 0);
    drop((power, store));
    let store = open(disk.mount(), MIB).unwrap();
    assert_whole(&store, &segment, 3);

    // And the whole way.
    assert!(store.give_up(id, 3, now).unwrap());
    let mut power = collection(&store);
    let later = now + 7 * DAY;
    let removal = power.judge_moved(seen(id, 3, later), &at(later)).unwrap();
    assert_eq!(power.remove(&[removal], &at(later)).unwrap().removed, 1);
    assert_eq!((store.held(id), store.shard_state(id, 3)), (0b1, None));
    assert_eq!(store.take_back(id, 0b1000, later).unwrap(), 0);
    drop((power, store));
    let store = open(disk.mount(), MIB).unwrap();
    assert_eq!((store.held(id), store.shard_state(id, 3)), (0b1, None));
    // Nobody released it: it may come again.
    put(&store, &segment, 3).unwrap();
    assert_whole(&store, &segment, 3);
}

#[test]
fn leases_count_for_a_moved_shard_as_for_one_that_is_not_here() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let segment = Segment::small(1);
    let id = segment.id();
    put(&store, &segment, 2).unwrap();
    assert!(store.give_up(id, 2, DAY).unwrap());
    // A renewal does not bring it back: what the owner keeps is elsewhere.
    assert_eq!(change(&store, renewal(id, 1, 0), 2 * DAY), LeaseOutcome::Taken { shards: 0 });
    assert_eq!(store.shard_state(id, 2), Some(ShardState::Moved));
    // A release begins its time in the trash anew, and then nobody need be asked.
    assert_eq!(change(&store, release(id, 2), 3 * DAY), LeaseOutcome::Taken { shards: 0b100 });
    assert_eq!(store.shard_state(id, 2), Some(ShardState::Trash));
    assert_eq!(store.take_back(id, 0b100, 3 * DAY).unwrap(), 0, "its owner gave it up");
    let mut power = collection(&store);
    assert_eq!(power.collect(&at(10 * DAY - 1)).unwrap().removed, 0);
    // What is renewed after that is held, wherever it was before.
    assert_eq!(change(&store, renewal(id, 2, 0), 4 * DAY), LeaseOutcome::Taken { shards: 0b100 });
    assert_whole(&store, &segment, 2);
    assert!(store.give_up(id, 2, 5 * DAY).unwrap());
    // The end of the lease makes it what every other shard of the segment is then.
    change(&store, renewal(id, 3, 20 * DAY), 5 * DAY);
    assert_eq!(power.collect(&at(50 * DAY)).unwrap().trashed, 1);
    assert_eq!(store.shard_state(id, 2), Some(ShardState::Trash));
    assert_eq!(power.collect(&at(57 * DAY)).unwrap().removed, 1);
}

#[test]
fn a_moved_shard_that_rots_is_not_taken_back() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), MIB).unwrap();
    let segment = Segment::small(1);
    put(&store, &segment, 2).unwrap();
    assert!(store.give_up(segment.id(), 2, DAY).unwrap());
    let pack = disk.contents(&datamesh_store::name_of(1)).unwrap();
    let cells = &segment.shards[2][..64];
    let at_byte = pack.windows(64).position(|window| window == cells).unwrap();
    disk.flip(&datamesh_store::name_of(1), 8 * (at_byte as u64 + 900));
    assert_eq!(store.take_back(segment.id(), 0b100, DAY).unwrap(), 0);
    assert_eq!(store.shard_state(segment.id(), 2), Some(ShardState::Damaged));
}

#[test]
fn a_clock_that_differs_from_its_peers_removes_nothing() {
    let compare = |peers: &[u64]| AgreedClock::compare(100 * DAY, peers, DAY, false);
    assert_eq!(compare(&[]), Err(ClockError::NoPeer));
    let differs = Err(ClockError::Differs { difference_ms: 90 * DAY });
    assert_eq!(compare(&[10 * DAY, 10 * DAY, 100 * DAY]), differs);
    // One liar changes nothing, and the earlier time counts.
    let agreed = compare(&[99 * DAY, 100 * DAY, 5]).unwrap();
    assert_eq!(agreed.now(), 99 * DAY);
    assert_eq!(AgreedClock::compare(7, &[], DAY, true).unwrap().now(), 7);
}

#[test]
fn compaction_gives_back_the_room_of_what_was_removed() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), 256 << 10).unwrap();
    let segments: Vec<Segment> =
        (0..100).map(|seed| Segment::new(seed, Scheme::FOUR_TWO, 1024, 20)).collect();
    for segment in &segments {
        put(&store, segment, 1).unwrap();
    }
    let full = store.usage().unwrap().used;
    for segment in segments.iter().filter(|segment| segment.id() != segments[50].id()) {
        change(&store, release(segment.id(), 1), 0);
    }
    let mut collection = collection(&store);
    assert_eq!(collection.collect(&at(7 * DAY)).unwrap().removed, 99);
    let mut returned = 0;
    while let Some(pack) = collection.compact(&at(7 * DAY)).unwrap() {
        returned += pack.bytes - pack.copied;
        assert_whole(&store, &segments[50], 1);
    }
    let usage = store.usage().unwrap();
    assert!(usage.used < full / 4, "{} of {full} bytes are left", usage.used);
    assert!(returned > full / 2);
    let held: u64 = disk
        .names()
        .iter()
        .filter(|name| name.starts_with("pack-"))
        .map(|name| disk.contents(name).unwrap().len() as u64)
        .sum();
    assert_eq!(held, usage.used, "what is counted is what is there");
    drop((collection, store));
    let store = open(disk.mount(), 256 << 10).unwrap();
    assert_whole(&store, &segments[50], 1);
    assert!(store.receipt(segments[50].id(), 1).unwrap().is_some());
    for segment in segments.iter().filter(|segment| segment.id() != segments[50].id()) {
        assert_eq!(store.shard_state(segment.id(), 1), None);
        assert!(matches!(put(&store, segment, 1), Err(StoreError::Released { .. })));
    }
}

#[test]
fn a_pack_with_a_damaged_live_shard_is_left_for_repair() {
    let disk = FaultyDisk::new(1, 64 * MIB);
    let store = open(disk.mount(), 128 << 10).unwrap();
    let segments: Vec<Segment> =
        (0..8).map(|seed| Segment::new(seed, Scheme::FOUR_TWO, 1024, 20)).collect();
    for segment in &segments {
        put(&store, segment, 1).unwrap();
    }
    for segment in &segments[1..] {
        change(&store, release(segment.id(), 1), 0);
    }
    let pack = disk.contents(&datamesh_store::name_of(1)).unwrap();
    let cells = &segments[0].shards[1][..64];
    let at_byte = pack.windows(64).position(|window| window == cells).unwrap();
    disk.flip(&datamesh_store::name_of(1), 8 * (at_byte as u64 + 9_000));
    let mut collection = collection(&store);
    collection.collect(&at(7 * DAY)).unwrap();
    while collection.compact(&at(7 * DAY)).unwrap().is_some() {}
    assert!(collection.stuck().contains(&1));
    assert!(disk.contents(&datamesh_store::name_of(1)).is_some());
    assert_eq!(store.shard_state(segments[0].id(), 1), Some(ShardState::Damaged));
    // Once it is stored again the pack goes.
    put(&store, &segments[0], 1).unwrap();
    while collection.compact(&at(7 * DAY)).unwrap().is_some() {}
    assert!(disk.contents(&datamesh_store::name_of(1)).is_none());
    assert_whole(&store, &segments[0], 1);
}

const SEGMENTS: u64 = 10;

#[derive(Debug, Clone)]
enum Step {
    Put(u64),
    Release(u64),
    Renew(u64),
    GiveUp(u64),
    TakeBack(u64),
    Wait(u64),
    Collect,
    CollectMoved,
    Compact,
    Reopen,
    Crash,
    CrashAfter(u64),
    CrashAt { point: usize, time: u64 },
    FailSyncs(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..SEGMENTS).prop_map(Step::Put),
        5 => (0..SEGMENTS).prop_map(Step::Release),
        3 => (0..SEGMENTS).prop_map(Step::Renew),
        4 => (0..SEGMENTS).prop_map(Step::GiveUp),
        1 => (0..SEGMENTS).prop_map(Step::TakeBack),
        3 => Just(Step::CollectMoved),
        4 => (1..200u64).prop_map(Step::Wait),
        4 => Just(Step::Collect),
        4 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        2 => (1..16u64).prop_map(Step::CrashAfter),
        3 => (0..points::ALL.len(), 0..9u64).prop_map(|(point, time)| Step::CrashAt { point, time }),
        1 => (1..3u64).prop_map(Step::FailSyncs),
    ]
}

/// How a segment's only shard is, and its lease's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Absent,
    Live,
    Trash,
    Moved,
    Gone,
}

struct Model {
    disk: FaultyDisk,
    store: Option<Arc<Store>>,
    collection: Option<Collection>,
    segments: Vec<Segment>,
    states: BTreeMap<u64, (State, u64)>,
    /// When each came into the trash.
    since: BTreeMap<u64, u64>,
    /// What a failed step may have come to.
    perhaps: BTreeMap<u64, (State, u64)>,
    now: u64,
    healthy: bool,
}

impl Model {
    fn new(seed: u64) -> Self {
        let segment =
            |n| Segment::new(seed ^ (n << 32), Scheme::FOUR_TWO, 1024, 2 + (n * 7 % 19) as u32);
        let mut model = Self {
            disk: FaultyDisk::new(seed, 16 * MIB),
            store: None,
            collection: None,
            segments: (0..SEGMENTS).map(segment).collect(),
            states: (0..SEGMENTS).map(|n| (n, (State::Absent, 0))).collect(),
            since: BTreeMap::new(),
            perhaps: BTreeMap::new(),
            now: 1000 * DAY,
            healthy: true,
        };
        model.open();
        model
    }

    fn shard(n: u64) -> u8 {
        (n % 6) as u8
    }

    fn actual(&self, n: u64) -> (State, u64) {
        let store = self.store.as_ref().unwrap();
        let id = self.segments[n as usize].id();
        let lease = store.lease(id);
        let state = match store.shard_state(id, Self::shard(n)) {
            Some(ShardState::Held) => State::Live,
            Some(ShardState::Trash) => State::Trash,
            Some(ShardState::Moved) => State::Moved,
            // Torn and never acknowledged.
            Some(ShardState::Damaged) => State::Absent,
            None if lease.is_some_and(|lease| lease.released) => State::Gone,
            None => State::Absent,
        };
        (state, lease.map_or(0, |lease| lease.epoch))
    }

    fn open(&mut self) {
        self.collection = None;
        self.store = None;
        let store = open(self.disk.mount(), 48 << 10).unwrap();
        self.collection = Some(collection(&store));
        self.store = Some(store);
        self.healthy = true;
        self.compare();
    }

    /// Everything is as the model says, or as a step that failed would have made it.
    fn compare(&mut self) {
        for n in 0..SEGMENTS {
            let actual = self.actual(n);
            let expected = self.states[&n];
            if actual != expected {
                assert_eq!(Some(&actual), self.perhaps.get(&n), "segment {n}, not {expected:?}");
                self.states.insert(n, actual);
            }
            let (store, segment) = (self.store.as_ref().unwrap(), &self.segments[n as usize]);
            match actual.0 {
                State::Live => assert_whole(store, segment, Self::shard(n)),
                State::Trash | State::Moved => {
                    let read = store.read_shard(segment.id(), Self::shard(n));
                    assert_eq!(read.is_ok(), actual.0 == State::Moved, "{read:?}");
                    let since = store.trashed_since(segment.id(), Self::shard(n)).unwrap();
                    self.since.insert(n, since);
                }
                State::Absent | State::Gone => {
                    assert!(store.read_shard(segment.id(), Self::shard(n)).is_err());
                }
            }
        }
        self.perhaps.clear();
    }

    fn recover(&mut self) {
        self.collection = None;
        self.store = None;
        self.disk.crash();
        self.open();
    }

    /// Notes what a step came to: what it was to do, or either where it failed.
    fn done(&mut self, result: Result<(), StoreError>, wanted: BTreeMap<u64, (State, u64)>) {
        match result {
            Ok(()) => {
                for (n, state) in wanted {
                    let new = self.states[&n].0 != state.0;
                    if new && matches!(state.0, State::Trash | State::Moved) {
                        self.since.insert(n, self.now);
                    }
                    self.states.insert(n, state);
                }
            }
            Err(error) => {
                assert!(!self.healthy, "a healthy disk failed: {error}");
                self.perhaps.extend(wanted);
                self.recover();
            }
        }
    }

    fn run(&mut self, step: &Step) {
        let store = Arc::clone(self.store.as_ref().unwrap());
        let clock = at(self.now);
        match *step {
            Step::Put(n) => {
                let (state, epoch) = self.states[&n];
                match put(&store, &self.segments[n as usize], Self::shard(n)) {
                    Err(StoreError::Released { .. }) => {
                        assert!(matches!(state, State::Trash | State::Gone), "{state:?}");
                    }
                    result => {
                        let free = matches!(state, State::Absent | State::Live | State::Moved);
                        assert!(result.is_err() || free, "{state:?}");
                        drop(store);
                        self.done(result.map(drop), [(n, (State::Live, epoch))].into());
                    }
                }
            }
            Step::Release(n) => {
                let (state, epoch) = self.states[&n];
                let id = self.segments[n as usize].id();
                // A shard that is damaged and was never acknowledged goes to the trash, too.
                let any = store.shard_state(id, Self::shard(n)).is_some();
                if state == State::Absent && any {
                    // Torn and never acknowledged: of no interest here.
                    return;
                }
                let result = store.change_leases(&[release(id, epoch + 1)], self.now);
                drop(store);
                if any {
                    let wanted = [(n, (State::Trash, epoch + 1))].into();
                    self.done(result.map(drop), wanted);
                } else {
                    match result.map(|outcomes| outcomes[0]) {
                        Ok(outcome) => assert_eq!(outcome, LeaseOutcome::NotHeld),
                        Err(error) => self.done(Err(error), BTreeMap::new()),
                    }
                }
            }
            Step::Renew(n) => {
                let (state, epoch) = self.states[&n];
                let id = self.segments[n as usize].id();
                let any = store.shard_state(id, Self::shard(n)).is_some();
                let result = store.change_leases(&[renewal(id, epoch, 0)], self.now);
                drop(store);
                let wanted = match state {
                    State::Moved => State::Moved,
                    State::Live | State::Trash => State::Live,
                    State::Absent | State::Gone => State::Absent,
                };
                match result {
                    Ok(outcomes) if state == State::Absent && !any => {
                        assert_eq!(outcomes[0], LeaseOutcome::NotHeld);
                    }
                    result => self.done(result.map(drop), [(n, (wanted, epoch))].into()),
                }
            }
            Step::GiveUp(n) => {
                let (state, epoch) = self.states[&n];
                let id = self.segments[n as usize].id();
                let result = store.give_up(id, Self::shard(n), self.now);
                drop(store);
                if let Ok(given_up) = result {
                    assert_eq!(given_up, state == State::Live);
                }
                let wanted = (state == State::Live).then_some((n, (State::Moved, epoch)));
                self.done(result.map(drop), wanted.into_iter().collect());
            }
            Step::TakeBack(n) => {
                let (state, epoch) = self.states[&n];
                let id = self.segments[n as usize].id();
                let result = store.take_back(id, u32::MAX, self.now);
                drop(store);
                let wanted = (state == State::Moved).then_some((n, (State::Live, epoch)));
                self.done(result.map(drop), wanted.into_iter().collect());
            }
            Step::CollectMoved => {
                let power = self.collection.as_mut().unwrap();
                let ripe = power.moved_after(None, 100, &clock);
                let number = |id| self.segments.iter().position(|segment| segment.id() == id);
                let due: BTreeMap<_, _> = ripe
                    .iter()
                    .map(|(id, _)| number(*id).unwrap() as u64)
                    .map(|n| (n, (State::Absent, self.states[&n].1)))
                    .collect();
                for n in due.keys() {
                    assert_eq!(self.states[n].0, State::Moved);
                    assert!(self.since[n] + 7 * DAY <= self.now);
                }
                let judged: Vec<_> = ripe
                    .iter()
                    .map(|(id, shard)| {
                        power.judge_moved(seen(*id, *shard, self.now), &clock).unwrap()
                    })
                    .collect();
                let result = power.remove(&judged, &clock);
                drop(store);
                self.done(result.map(drop), due);
            }
            Step::Wait(hours) => self.now += hours * 3_600_000,
            Step::Collect => {
                let due: BTreeMap<_, _> = self
                    .states
                    .iter()
                    .filter(|(n, (state, _))| {
                        *state == State::Trash && self.since[n] + 7 * DAY <= self.now
                    })
                    .map(|(n, (_, epoch))| (*n, (State::Gone, *epoch)))
                    .collect();
                let result = self.collection.as_mut().unwrap().collect(&clock);
                drop(store);
                self.done(result.map(drop), due);
            }
            Step::Compact => {
                let result = self.collection.as_mut().unwrap().compact(&clock);
                drop(store);
                self.done(result.map(drop), BTreeMap::new());
                self.compare();
            }
            Step::Reopen => {
                drop(store);
                self.disk.kill();
                self.open();
            }
            Step::Crash => {
                drop(store);
                self.recover();
            }
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
        }
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn only_what_was_released_goes_and_nothing_comes_back(
        seed: u64,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut model = Model::new(seed);
        for step in &steps {
            model.run(step);
        }
        model.recover();
        // In the end everything that was released is gone, and so is its room.
        model.now += 8 * DAY;
        model.run(&Step::Collect);
        model.run(&Step::CollectMoved);
        let clock = at(model.now);
        while model.collection.as_mut().unwrap().compact(&clock).unwrap().is_some() {}
        model.compare();
        let trash = [State::Trash, State::Moved];
        prop_assert!(model.states.values().all(|(state, _)| !trash.contains(state)));
        model.open();
        let usage = model.store.as_ref().unwrap().usage().unwrap();
        // Live bytes, as much again, and per pack its head, table, fill, and what is dead in the open one.
        let bound = 2 * usage.shard_bytes + MIB + (64 << 10) * usage.packs + (64 << 10);
        prop_assert!(usage.used <= bound, "{usage:?}");
    }
}

/// One step on one shard, and what a lease is to be after it.
#[derive(Debug, Clone, Copy)]
enum Small {
    Put,
    Release(u64),
    Renew(u64),
    GiveUp,
    TakeBack,
    Collect,
    Compact,
    Reopen,
}

/// What there is to know of one shard: the rules of leases in a few lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rules {
    state: State,
    epoch: u64,
    released: bool,
}

impl Rules {
    fn step(&mut self, step: Small) {
        let here = matches!(self.state, State::Live | State::Trash | State::Moved);
        match step {
            Small::Put if !self.released => self.state = State::Live,
            Small::Release(epoch) if here && epoch > self.epoch => {
                *self = Self { state: State::Trash, epoch, released: true };
            }
            Small::Renew(epoch) if epoch >= self.epoch && (here || self.released) => {
                let state = match self.state {
                    State::Moved => State::Moved,
                    _ if here => State::Live,
                    _ => State::Absent,
                };
                *self = Self { state, epoch, released: false };
            }
            Small::GiveUp if self.state == State::Live => self.state = State::Moved,
            Small::TakeBack if self.state == State::Moved => self.state = State::Live,
            Small::Collect if self.state == State::Trash => self.state = State::Gone,
            Small::Collect if self.state == State::Moved => self.state = State::Absent,
            _ => {}
        }
    }
}

/// All sequences of five steps, each from nothing.
#[test]
fn every_short_life_of_a_shard_is_as_the_rules_say() {
    const STEPS: [Small; 10] = [
        Small::Put,
        Small::Release(1),
        Small::Release(2),
        Small::Renew(1),
        Small::Renew(2),
        Small::GiveUp,
        Small::TakeBack,
        Small::Collect,
        Small::Compact,
        Small::Reopen,
    ];
    let segment = Segment::small(1);
    let id = segment.id();
    let mut lives = 0;
    for life in 0..STEPS.len().pow(5) {
        let disk = FaultyDisk::new(1, 2 * MIB);
        let mut store = open(disk.mount(), 64 << 10).unwrap();
        let mut power = Some(collection(&store));
        let mut rules = Rules { state: State::Absent, epoch: 0, released: false };
        let mut now = DAY;
        let mut rest = life;
        for _ in 0..5 {
            let step = STEPS[rest % STEPS.len()];
            rest /= STEPS.len();
            match step {
                Small::Put => {
                    assert_eq!(put(&store, &segment, 0).is_ok(), !rules.released);
                }
                Small::Release(epoch) => drop(change(&store, release(id, epoch), now)),
                Small::Renew(epoch) => drop(change(&store, renewal(id, epoch, 0), now)),
                Small::GiveUp => drop(store.give_up(id, 0, now).unwrap()),
                Small::TakeBack => drop(store.take_back(id, 1, now).unwrap()),
                Small::Collect => {
                    now += 8 * DAY;
                    let power = power.as_mut().unwrap();
                    power.collect(&at(now)).unwrap();
                    let judged = power.judge_moved(seen(id, 0, now), &at(now));
                    power.remove(&judged.into_iter().collect::<Vec<_>>(), &at(now)).unwrap();
                }
                Small::Compact => {
                    while power.as_mut().unwrap().compact(&at(now)).unwrap().is_some() {}
                }
                Small::Reopen => {
                    drop(power.take());
                    drop(store);
                    store = open(disk.mount(), 64 << 10).unwrap();
                    power = Some(collection(&store));
                }
            }
            rules.step(step);
            let state = match store.shard_state(id, 0) {
                Some(ShardState::Held) => State::Live,
                Some(ShardState::Trash) => State::Trash,
                Some(ShardState::Moved) => State::Moved,
                Some(ShardState::Damaged) => panic!("nothing is damaged"),
                None if rules.released => State::Gone,
                None => State::Absent,
            };
            let lease = store.lease(id);
            let seen = Rules {
                state,
                epoch: lease.map_or(0, |lease| lease.epoch),
                released: lease.is_some_and(|lease| lease.released),
            };
            assert_eq!(seen, rules, "life {life} after {step:?}");
            if state == State::Live {
                assert_whole(&store, &segment, 0);
            }
        }
        lives += 1;
    }
    assert_eq!(lives, 100_000);
}
