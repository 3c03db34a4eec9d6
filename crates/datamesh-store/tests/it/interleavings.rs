//! Eight nodes' stores and one segment, as owners, collectors, repairers and accidents meet in any
//! order.
//!
//! There is no network: a letter is delivered to one node at a time, in an order that chance
//! chooses, or is lost. The stores are real, on disks that can be put back from an old copy; the
//! rules between them are those of the engine (`collect.rs`, `leases.rs`, `repair`) and of the owner
//! (`datamesh-client`, `collect`) in a few lines.

use std::collections::BTreeSet;
use std::sync::Arc;

use datamesh_core::lease::{Release, Renewal};
use datamesh_core::{PublicKey, Signature};
use datamesh_store::{
    AgreedClock, Collection, CollectionTerms, Elsewhere, LeaseChange, LeaseOutcome, ShardState,
    Store, StoreError,
};
use datamesh_testkit::FaultyDisk;
use datamesh_testkit::numbers::{asked, each};
use datamesh_testkit::random::Dice;

use crate::sample::{MIB, Segment, assert_whole, grant, open, put_leased};

/// Interleavings in the short form; `DATAMESH_INTERLEAVINGS` asks for more, and
/// `DATAMESH_FIRST_INTERLEAVING` for others.
const INTERLEAVINGS: u64 = 10_000;

const NODES: usize = 8;
const PACK_BYTES: u64 = 64 << 10;
const DAY: u64 = 24 * 3600 * 1000;

/// A lease, where leases end: in one of three lives. With the times until its shards are gone it is shorter
/// than the longest absence of a node, so that nodes come back with leases that ended.
const TERM: u64 = 60 * DAY;

/// Longest time that a node is away.
const AWAY_DAYS_MAX: u64 = 200;

/// Shards that must be there, that a commit needs, and all.
const K: usize = 4;
const NEEDED: usize = 5;
const N: u8 = 6;

struct Node {
    disk: FaultyDisk,
    store: Arc<Store>,
    collection: Option<Collection>,
    /// It cannot be reached before this time.
    back: u64,
    image: Option<FaultyDisk>,
    /// It was away, or is younger than its word, and has not asked the others since.
    asks: bool,
}

impl Node {
    fn new(number: u64) -> Self {
        let disk = FaultyDisk::new(number, 2 * MIB);
        let store = open(disk.mount(), PACK_BYTES).unwrap();
        let collection = store.collection(CollectionTerms::default());
        Self { disk, store, collection, back: 0, image: None, asks: false }
    }

    /// Ends its process and starts it again on what is on the disk then.
    fn restart(&mut self, meanwhile: impl FnOnce(&FaultyDisk)) {
        self.collection = None;
        meanwhile(&self.disk);
        self.store = open(self.disk.mount(), PACK_BYTES).unwrap();
        self.collection = self.store.collection(CollectionTerms::default());
        self.asks = true;
    }
}

/// What an owner sends to all nodes, and what came of it so far.
struct Letter {
    change: LeaseChange,
    left: Vec<usize>,
    shards: u32,
    behind: Option<u64>,
    /// A reference that waits for the answers; one that is committed already renews once more.
    reference: Option<Reference>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reference {
    Wished,
    Committed,
}

struct Life {
    dice: Dice,
    segment: Segment,
    nodes: Vec<Node>,
    now: u64,
    /// Leases end.
    ends: bool,
    /// The end that the owner signed at the put.
    first_end: u64,
    /// References that are committed and not given up, and all that ever were.
    live: u64,
    ever: u64,
    letters: Vec<Letter>,
    /// One more than the highest epoch of a renewal that came to no reference, or late.
    abandoned: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut life = Self {
            dice: Dice::new(seed),
            segment: Segment::small(1),
            nodes: (0..NODES as u64).map(Node::new).collect(),
            now: 1000 * DAY,
            ends: seed % 3 == 2,
            first_end: 0,
            live: 0,
            ever: 0,
            letters: Vec::new(),
            abandoned: 0,
        };
        life.first_end = life.end_of_lease();
        for shard in 0..N {
            let lease = (0, life.first_end);
            life.put(usize::from(shard), shard, lease).unwrap();
        }
        (life.live, life.ever) = (1, 1);
        life
    }

    /// When a lease ends that is signed now; 0 where none does.
    fn end_of_lease(&self) -> u64 {
        if self.ends { self.now + TERM } else { 0 }
    }

    fn put(&self, node: usize, shard: u8, lease: (u64, u64)) -> Result<(), StoreError> {
        let store = &self.nodes[node].store;
        put_leased(store, &self.segment, shard, &grant(1, u64::MAX), lease).map(drop)
    }

    /// The lease with which a node hands a shard on: by the newest renewal that it knows.
    fn handed_on(&self, node: usize) -> (u64, u64) {
        let renewal = self.nodes[node].store.renewal(self.segment.id()).unwrap();
        let renewal = renewal.filter(|renewal| renewal.expiry != 0);
        renewal.map_or((0, self.first_end), |renewal| (renewal.epoch, renewal.expiry))
    }

    /// A device renews what is referred to, in time; whom it does not reach it tries again.
    fn renew_due(&mut self) {
        let due = |node: &Node| {
            let lease = node.store.lease(self.segment.id());
            lease.is_some_and(|lease| !lease.released && lease.expiry < self.now + TERM / 3)
        };
        let there = self.reachable();
        if !self.ends || self.live == 0 || !there.iter().any(|node| due(&self.nodes[*node])) {
            return;
        }
        let mut epoch = self.ever - 1;
        for _ in 0..16 {
            let renewal = self.renewal(epoch);
            let (mut shards, mut behind) = (0_u32, None);
            for node in &there {
                match self.change(*node, &renewal) {
                    LeaseOutcome::Taken { shards: taken } => shards |= taken,
                    LeaseOutcome::Behind { epoch } => behind = behind.max(Some(epoch)),
                    LeaseOutcome::NotHeld => {}
                }
            }
            match behind.filter(|_| (shards.count_ones() as usize) < NEEDED) {
                Some(higher) => epoch = higher,
                None => return,
            }
            self.abandoned = self.abandoned.max(epoch + 1);
        }
        panic!("no renewal of what is referred to counts");
    }

    /// Whether repair leaves the segment to the collector, as a node knows its lease.
    fn is_over(&self, node: usize) -> bool {
        let lease = self.nodes[node].store.lease(self.segment.id());
        let ended = self.now.saturating_sub(CollectionTerms::default().expired_ms);
        lease.is_some_and(|lease| lease.ended_before(ended))
    }

    fn reachable(&self) -> Vec<usize> {
        (0..NODES).filter(|node| self.nodes[*node].back <= self.now).collect()
    }

    fn draw(&mut self, nodes: &[usize]) -> Option<usize> {
        nodes.get(self.dice.below(nodes.len() as u64) as usize).copied()
    }

    fn held(&self, node: usize) -> u32 {
        self.nodes[node].store.held(self.segment.id())
    }

    /// Distinct shards that these nodes hold.
    fn distinct(&self, nodes: impl IntoIterator<Item = usize>) -> usize {
        let mask = nodes.into_iter().fold(0, |mask, node| mask | self.held(node));
        mask.count_ones() as usize
    }

    fn change(&self, node: usize, change: &LeaseChange) -> LeaseOutcome {
        self.nodes[node].store.change_leases(std::slice::from_ref(change), self.now).unwrap()[0]
    }

    fn release(&self, epoch: u64) -> LeaseChange {
        let (segment, signature) = (self.segment.id(), Signature([6; 64]));
        let release = Release { segment, epoch, signature };
        LeaseChange::Release { release, lease_key: PublicKey([9; 32]) }
    }

    fn renewal(&self, epoch: u64) -> LeaseChange {
        let (segment, signature) = (self.segment.id(), Signature([4; 64]));
        let expiry = self.end_of_lease();
        LeaseChange::Renew(Renewal { segment, epoch, expiry, signature })
    }

    fn send(&mut self, change: LeaseChange, reference: Option<Reference>) {
        let left = self.reachable();
        self.letters.push(Letter { change, left, shards: 0, behind: None, reference });
    }

    /// One letter reaches one node, or is lost on the way.
    fn deliver(&mut self) {
        let count = self.letters.len() as u64;
        if count == 0 {
            return;
        }
        let at = self.dice.below(count) as usize;
        let pick = self.dice.below(self.letters[at].left.len() as u64) as usize;
        let node = self.letters[at].left.swap_remove(pick);
        if self.dice.below(16) > 0 {
            let outcome = self.change(node, &self.letters[at].change);
            let letter = &mut self.letters[at];
            match outcome {
                LeaseOutcome::Taken { shards } => letter.shards |= shards,
                LeaseOutcome::Behind { epoch } => letter.behind = letter.behind.max(Some(epoch)),
                LeaseOutcome::NotHeld => {}
            }
        }
        if self.letters[at].left.is_empty() {
            let letter = self.letters.swap_remove(at);
            self.answered(&letter);
        }
    }

    /// All have answered who ever will.
    fn answered(&mut self, letter: &Letter) {
        let (Some(reference), LeaseChange::Renew(renewal)) = (letter.reference, &letter.change)
        else {
            return;
        };
        let enough = letter.shards.count_ones() as usize >= NEEDED;
        if !enough && letter.behind.is_some_and(|behind| behind > renewal.epoch) {
            // What it meets may be the release of its own reference, given up meanwhile.
            let behind = letter.behind.unwrap();
            self.abandoned = self.abandoned.max(behind + 1);
            let again = self.renewal(behind);
            self.send(again, Some(reference));
        } else if enough && reference == Reference::Wished {
            let known = renewal.epoch;
            (self.live, self.ever) = (self.live + 1, self.ever + 1);
            if self.ever > known + 1 {
                // Others referred to it meanwhile.
                let again = self.renewal(self.ever - 1);
                self.send(again, Some(Reference::Committed));
            }
        } else if !enough && reference == Reference::Wished {
            self.abandoned = self.abandoned.max(renewal.epoch + 1);
        } else if !enough {
            // Its owner is told and tries again.
            let again = self.renewal(renewal.epoch);
            self.send(again, Some(reference));
        }
    }

    /// The owners' work under way ends, as it does within minutes.
    fn finish(&mut self) {
        for _ in 0..1000 {
            if self.letters.is_empty() {
                return;
            }
            self.deliver();
        }
        panic!("owners go on for ever");
    }

    /// A node asks the others what was released, and tells them of a renewal that they missed.
    fn reconcile(&mut self, node: usize) {
        let others: Vec<usize> =
            self.reachable().into_iter().filter(|other| *other != node).collect();
        self.nodes[node].asks &= 2 * others.len() < NODES - 1;
        if self.held(node) == 0 {
            return;
        }
        let id = self.segment.id();
        let told = |other: &usize| self.nodes[*other].store.tombstone(id).unwrap();
        let newest = others.iter().filter_map(told).map(|told| told.release.epoch).max();
        let Some(epoch) = newest else { return };
        let behind = self.change(node, &self.release(epoch));
        let renewal = self.nodes[node].store.renewal(id).unwrap();
        if let (LeaseOutcome::Behind { .. }, Some(renewal)) = (behind, renewal) {
            for other in others {
                self.change(other, &LeaseChange::Renew(renewal.clone()));
            }
        }
    }

    /// A holder that is reachable, as there are k, places what is missing where nobody has a shard
    /// that is needed, and passes on a renewal that it knows.
    fn repair(&mut self) {
        let there = self.reachable();
        if self.distinct(there.iter().copied()) < K {
            return;
        }
        let holders: Vec<usize> = there.iter().copied().filter(|n| self.held(*n) != 0).collect();
        let Some(actor) = self.draw(&holders) else { return };
        if self.nodes[actor].asks {
            self.reconcile(actor);
        }
        if self.held(actor) == 0 || self.is_over(actor) {
            return;
        }
        let lease = self.handed_on(actor);
        let mut settled = BTreeSet::new();
        let mut missing = Vec::new();
        // What was moved is asked for first.
        for shard in (0..N).filter(|shard| self.having(&there, *shard).is_empty()) {
            for node in &there {
                self.take_back(*node, shard);
            }
        }
        for shard in 0..N {
            let has =
                |node: &&usize| self.held(**node) & 1 << shard != 0 && !settled.contains(*node);
            match there.iter().find(has) {
                Some(node) => drop(settled.insert(*node)),
                None => missing.push(shard),
            }
        }
        for shard in missing {
            for node in &there {
                if !settled.contains(node) && self.put(*node, shard, lease).is_ok() {
                    settled.insert(*node);
                    break;
                }
            }
        }
        if let Some(renewal) = self.nodes[actor].store.renewal(self.segment.id()).unwrap() {
            for node in there {
                self.change(node, &LeaseChange::Renew(renewal.clone()));
            }
        }
    }

    /// Nodes of these that hold a shard.
    fn having(&self, nodes: &[usize], shard: u8) -> Vec<usize> {
        nodes.iter().copied().filter(|node| self.held(*node) & 1 << shard != 0).collect()
    }

    fn take_back(&self, node: usize, shard: u8) {
        let store = &self.nodes[node].store;
        store.take_back(self.segment.id(), 1 << shard, self.now).unwrap();
    }

    /// A node gives one of its shards to another one, or finds that another has it already. All are
    /// asked first, and the new holder proves it.
    fn hand_over(&mut self, node: usize) {
        let there = self.reachable();
        if !there.contains(&node) || self.distinct(there.iter().copied()) < usize::from(N) {
            return;
        }
        let held = self.held(node);
        let Some(shard) = (0..N).find(|shard| held & 1 << shard != 0) else { return };
        let others: Vec<usize> = there.into_iter().filter(|other| *other != node).collect();
        let free: Vec<usize> = others.iter().copied().filter(|n| self.held(*n) == 0).collect();
        if self.having(&others, shard).is_empty() {
            let Some(to) = self.draw(&free) else { return };
            if self.put(to, shard, self.handed_on(node)).is_err() {
                return;
            }
        }
        // The others must have all of it, each shard on a node of its own.
        if self.spread(&others) == usize::from(N) {
            self.nodes[node].store.give_up(self.segment.id(), shard, self.now).unwrap();
        }
    }

    /// Shards that can be chosen on nodes of their own.
    fn spread(&self, nodes: &[usize]) -> usize {
        fn place(
            life: &Life,
            nodes: &[usize],
            shard: u8,
            of: &mut [Option<u8>],
            seen: &mut u32,
        ) -> bool {
            for node in life.having(nodes, shard) {
                if *seen & 1 << node != 0 {
                    continue;
                }
                *seen |= 1 << node;
                let other = of[node];
                if other.is_none_or(|other| place(life, nodes, other, of, seen)) {
                    of[node] = Some(shard);
                    return true;
                }
            }
            false
        }
        let mut of = [None; NODES];
        (0..N).filter(|shard| place(self, nodes, *shard, &mut of, &mut 0)).count()
    }

    /// What was moved from a node long ago goes where another is seen to have it, and comes back
    /// where nobody is.
    fn collect_moved(&mut self, node: usize, clock: &AgreedClock) {
        let power = self.nodes[node].collection.as_ref().unwrap();
        let ripe = power.moved_after(None, 100, clock);
        if ripe.is_empty() {
            return;
        }
        self.reconcile(node);
        let others: Vec<usize> =
            self.reachable().into_iter().filter(|other| *other != node).collect();
        for (segment, shard) in ripe {
            if self.having(&others, shard).is_empty() {
                self.take_back(node, shard);
            } else if self.distinct(others.iter().copied()) == usize::from(N) {
                let elsewhere = Elsewhere { segment, shard, seen: self.now };
                let power = self.nodes[node].collection.as_mut().unwrap();
                let judged = power.judge_moved(elsewhere, clock);
                power.remove(&judged.into_iter().collect::<Vec<_>>(), clock).unwrap();
            }
        }
    }

    fn collect(&mut self, node: usize) {
        if self.nodes[node].back > self.now {
            return;
        }
        if self.nodes[node].asks {
            self.reconcile(node);
        }
        let clock = AgreedClock::compare(self.now, &[self.now], 0, false).unwrap();
        self.nodes[node].collection.as_mut().unwrap().collect(&clock).unwrap();
        self.collect_moved(node, &clock);
        let collection = self.nodes[node].collection.as_mut().unwrap();
        while collection.compact(&clock).unwrap().is_some() {}
    }

    /// Whether a node may lose what it has: the promise holds without it.
    fn spare(&self, node: usize) -> bool {
        self.live == 0 || self.distinct((0..NODES).filter(|other| *other != node)) > K
    }

    fn step(&mut self) {
        let there = self.reachable();
        let node = self.dice.below(NODES as u64) as usize;
        match self.dice.below(100) {
            0..40 => self.deliver(),
            40..45 => self.hand_over(node),
            45..52 if self.live > 0 && self.ever < 20 => {
                let renewal = self.renewal(self.ever);
                self.send(renewal, Some(Reference::Wished));
            }
            52..62 if self.live > 0 => {
                self.live -= 1;
                if self.live == 0 {
                    let release = self.release(self.ever);
                    self.send(release, None);
                }
            }
            62..70 => self.collect(node),
            70..77 => self.repair(),
            77..83 => {
                self.finish();
                self.pass(self.dice.clone().below(12) + 1);
            }
            83..87 if there.len() > NODES - 2 => {
                self.finish();
                let days = 1 + self.dice.below(AWAY_DAYS_MAX);
                self.nodes[node].back = self.now + days * DAY;
                self.nodes[node].asks = true;
            }
            87..90 => self.nodes[node].restart(FaultyDisk::kill),
            90..93 => {
                let power = self.dice.below(2) == 0;
                self.nodes[node].restart(|disk| if power { disk.crash() } else { disk.kill() });
            }
            93..97 => self.nodes[node].image = Some(self.nodes[node].disk.image()),
            _ => {
                self.finish();
                let Some(image) = self.nodes[node].image.take() else { return };
                if self.spare(node) {
                    self.nodes[node].restart(|disk| disk.put_back(&image));
                }
            }
        }
    }

    /// Days go by, in which every node that is there collects and somebody repairs.
    fn pass(&mut self, days: u64) {
        for _ in 0..days {
            self.now += DAY;
            self.renew_due();
            for node in 0..NODES {
                self.nodes[node].asks = true;
                self.collect(node);
            }
            self.repair();
        }
    }

    /// What is referred to can be read, or taken out of the trash by the renewal that is under way.
    fn check(&self) {
        if self.live > 0 {
            let id = self.segment.id();
            let kept = |shard: &u8| {
                let state = |node: &Node| node.store.shard_state(id, *shard);
                let kept = [ShardState::Held, ShardState::Trash, ShardState::Moved].map(Some);
                self.nodes.iter().any(|node| kept.contains(&state(node)))
            };
            let left = (0..N).filter(kept).count();
            assert!(left >= K, "{left} shards are left of what is referred to");
        }
    }

    fn end(&mut self) {
        self.finish();
        self.now += (AWAY_DAYS_MAX + 1) * DAY;
        if self.live == 0 {
            // Its owner gives it up once more, as `cleanup` does with what it finds. A renewal that came
            // to no reference keeps it until then: docs/collection.md says so.
            let release = self.release(self.ever.max(self.abandoned));
            for node in 0..NODES {
                self.change(node, &release);
            }
        }
        self.pass(18);
        self.check();
        let left = self.distinct(0..NODES);
        let id = self.segment.id();
        if self.live > 0 {
            assert_eq!(left, usize::from(N), "it is not whole again");
            for (shard, node) in (0..N).flat_map(|s| self.nodes.iter().map(move |n| (s, n))) {
                if node.store.held(id) & 1 << shard != 0 {
                    assert_whole(&node.store, &self.segment, shard);
                }
            }
        } else {
            let states = self.nodes.iter().map(|node| node.store.usage().unwrap());
            let garbage: u64 = states.map(|usage| usage.shards + usage.trash + usage.moved).sum();
            assert_eq!((left, garbage), (0, 0), "what was given up is still there");
        }
    }
}

#[test]
fn in_any_order_nothing_live_is_removed_and_nothing_dead_comes_back() {
    let asked = asked("DATAMESH_FIRST_INTERLEAVING", "DATAMESH_INTERLEAVINGS", INTERLEAVINGS);
    let live = |(): &mut (), seed: u64| {
        let mut life = Life::new(seed);
        for _ in 0..60 {
            life.step();
            life.check();
        }
        life.end();
    };
    each(&asked.collect::<Vec<u64>>(), || (), live);
}
