//! The mesh as somebody sees it who may look at every disk.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datamesh_core::head::Head;
use datamesh_core::{Advert, Grant, NodeId, SegmentId, wire};
use datamesh_engine::{Engine, quorum};
use datamesh_store::{ShardState, Slot, Store};
use datamesh_testkit::sim::World;
use tempfile::TempDir;

use super::member::Member;
use crate::cluster::{Founding, Seat, device_engine, folder, found, spread_over};

/// Small packs, so that there are several, and room is given back.
const PACK_BYTES: u64 = 2 << 20;

/// When a segment whose lease is over has gone: 30 days, 7 in the trash, and some between two looks.
const OVER_MS: u64 = 45 * 24 * 3600 * 1000;

/// A mesh and everything that is known of it from outside.
pub(super) struct Mesh {
    pub(super) world: World,
    pub(super) founding: Founding,
    pub(super) grant: Arc<Grant>,
    members: RefCell<Vec<Member>>,
    /// Hears of every node that ever was, by a clock that is right.
    observer: Arc<Engine>,
    /// Bytes that each node offers.
    capacity: u64,
    /// Devices whose clocks go with everybody's.
    pub(super) devices: Vec<NodeId>,
    folder: TempDir,
}

/// What one segment has on the disks.
#[derive(Debug, Clone, Default)]
pub(super) struct Copies {
    /// Shards of the scheme.
    pub(super) n: usize,
    pub(super) k: usize,
    /// Readable shards with their roots, and where they are.
    pub(super) shards: BTreeMap<u8, BTreeSet<NodeId>>,
}

/// What is on the disks.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) segments: BTreeMap<SegmentId, Copies>,
    /// Revisions of readable heads.
    pub(super) heads: BTreeMap<Slot, BTreeMap<NodeId, u64>>,
}

impl Census {
    fn count(&mut self, node: NodeId, store: &Store) {
        let mut after = None;
        loop {
            let page = store.segments_after(after, 1000);
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (segment, mask) in page {
                for shard in (0..32u8).filter(|shard| mask & (1 << shard) != 0) {
                    let Ok(read) = store.read_shard(segment, shard) else { continue };
                    let copies = self.segments.entry(segment).or_default();
                    copies.n = read.meta.descriptor.scheme.n();
                    copies.k = read.meta.descriptor.scheme.k();
                    copies.shards.entry(shard).or_default().insert(node);
                }
            }
        }
        for (slot, _) in store.heads_after(None, 1000) {
            let Ok(Some(kept)) = store.head(&slot) else { continue };
            let head: Head = wire::decode(&kept.head).unwrap();
            self.heads.entry(slot).or_default().insert(node, head.revision);
        }
    }
}

impl Mesh {
    /// Founds a mesh of so many nodes that know each other, whose leases are of so many days, or have no end.
    pub(super) fn new(world: &World, nodes: usize, capacity: u64, lease_days: u32) -> Self {
        let founding = found(&*world.entropy(NodeId([0xC1; 32])), lease_days);
        let observer = device_engine(world, NodeId([0x0B; 32]), &founding.genesis);
        let mesh = Self {
            world: world.clone(),
            observer: Arc::new(observer),
            grant: Arc::new(founding.grant.clone()),
            founding,
            members: RefCell::default(),
            capacity,
            devices: Vec::new(),
            folder: folder(),
        };
        for _ in 0..nodes {
            mesh.admit();
        }
        for number in 0..nodes {
            let id = mesh.members()[number].id();
            mesh.start(id);
        }
        mesh
    }

    pub(super) fn members(&self) -> Ref<'_, Vec<Member>> {
        self.members.borrow()
    }

    fn members_mut(&self) -> RefMut<'_, Vec<Member>> {
        self.members.borrow_mut()
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Does something to one node.
    pub(super) fn with<T>(&self, id: NodeId, work: impl FnOnce(&mut Member) -> T) -> T {
        let mut members = self.members_mut();
        work(members.iter_mut().find(|member| member.id() == id).unwrap())
    }

    /// Makes a node that was never started.
    pub(super) fn admit(&self) -> NodeId {
        let number = self.members().len();
        let domain = format!("host-{number}");
        let mut seat = Seat::new(&self.world, &self.founding.issuing, number, &domain, PACK_BYTES);
        seat.capacity = self.capacity;
        let member = Member::new(seat, self.folder.path());
        let id = member.id();
        self.members_mut().push(member);
        id
    }

    /// Starts a node. One that was never started hears of the mesh from some that are up.
    pub(super) fn start(&self, id: NodeId) {
        let known = self.adverts(3);
        let (world, genesis) = (&self.world, &self.founding.genesis);
        self.with(id, |member| member.start(world, genesis, &known))
            .unwrap_or_else(|error| panic!("{id} does not start: {error}"));
    }

    /// Adverts of some nodes that are up, as a ticket has them.
    fn adverts(&self, count: usize) -> Vec<Advert> {
        let members = self.members();
        let up = members.iter().filter_map(|member| Some((member.id(), member.life.as_ref()?)));
        let own = up.filter_map(|(id, life)| {
            life.engine.peers().into_iter().map(|peer| peer.member.advert).find(|a| a.node() == id)
        });
        own.take(count).collect()
    }

    /// Nodes whose processes run.
    pub(super) fn up(&self) -> Vec<NodeId> {
        self.of(|member| member.life.is_some())
    }

    /// Nodes whose processes do not run, and will again.
    pub(super) fn down(&self) -> Vec<NodeId> {
        self.of(|member| member.life.is_none() && !member.lost)
    }

    /// Nodes that are not lost for good.
    pub(super) fn living(&self) -> Vec<NodeId> {
        self.of(|member| !member.lost)
    }

    fn of(&self, wanted: impl Fn(&Member) -> bool) -> Vec<NodeId> {
        self.members().iter().filter(|member| wanted(member)).map(Member::id).collect()
    }

    /// An engine for a device that comes up now and has heard of some nodes.
    pub(super) async fn device_engine(&self, id: NodeId) -> Arc<Engine> {
        let engine = Arc::new(device_engine(&self.world, id, &self.founding.genesis));
        for advert in self.adverts(3) {
            engine.learn_advert(advert);
        }
        let first: Vec<NodeId> =
            engine.peers().iter().map(|peer| peer.member.advert.node()).collect();
        engine.fetch_view(&first).await;
        engine
    }

    /// Reads and verifies all shards on the disks of all nodes that are not lost, whether they run or
    /// not, but for those `without`.
    pub(super) fn census(&self, without: &[NodeId]) -> Census {
        let mut census = Census::default();
        for member in self.members().iter().filter(|member| !member.lost) {
            if without.contains(&member.id()) {
                continue;
            }
            match &member.life {
                Some(life) => census.count(member.id(), &life.store),
                None => {
                    // Opened on a copy: opening syncs and seals.
                    let Some(store) = member.look(&self.world) else { continue };
                    census.count(member.id(), &store);
                }
            }
        }
        census
    }

    /// Whether the promise still holds when these nodes lose what they have: every segment that can
    /// be read now still can be, and every quorum of keepers has one with the newest head.
    pub(super) fn may_lose(&self, nodes: &[NodeId]) -> bool {
        let (before, after) = (self.census(&[]), self.census(nodes));
        let segments = before.segments.iter().all(|(segment, copies)| {
            let left = after.segments.get(segment).map_or(0, |copies| copies.shards.len());
            copies.shards.len() < copies.k || left >= copies.k
        });
        segments && self.heads_bear(&before, nodes)
    }

    fn heads_bear(&self, census: &Census, nodes: &[NodeId]) -> bool {
        self.epochs_bear(nodes)
            && census.heads.iter().all(|(slot, kept)| {
                let newest = kept.values().max().copied();
                let keepers = self.keepers(slot);
                let there = |id: &NodeId| !nodes.contains(id) && kept.get(id).copied() == newest;
                let answering = keepers
                    .iter()
                    .filter(|id| !nodes.contains(id) && self.living().contains(id))
                    .count();
                let needed = quorum(keepers.len());
                let having = keepers.iter().filter(|id| there(id)).count();
                answering >= needed && having > keepers.len() - needed
            })
    }

    /// Whether enough of those who would keep the record of a next epoch answer: without them nobody
    /// knows that there is none.
    fn epochs_bear(&self, nodes: &[NodeId]) -> bool {
        let (keys, mesh) = (&self.founding.keys, self.founding.genesis.mesh_id());
        let keepers = self.keepers_of(&keys.epochs_slot(&mesh).unwrap());
        let living = self.living();
        let answering = keepers.iter().filter(|id| !nodes.contains(id) && living.contains(id));
        answering.count() >= quorum(keepers.len())
    }

    /// Who keeps the heads of an account, among all nodes that ever were: those that were lost are
    /// not gone yet.
    pub(super) fn keepers(&self, slot: &Slot) -> Vec<NodeId> {
        self.keepers_of(&datamesh_core::PublicKey(slot.0))
    }

    fn keepers_of(&self, account: &datamesh_core::PublicKey) -> Vec<NodeId> {
        for member in self.members().iter() {
            for peer in member.life.iter().flat_map(|life| life.engine.peers()) {
                self.observer.learn_advert(peer.member.advert);
            }
        }
        self.observer.head_keepers(account)
    }

    /// What of `segments` does not have as many shards in domains of their own as there are living
    /// domains for.
    pub(super) fn lacking(&self, census: &Census, segments: &BTreeSet<SegmentId>) -> Vec<String> {
        let members = self.members();
        let domain = |id: &NodeId| -> &str {
            &members.iter().find(|member| member.id() == *id).unwrap().seat.domain
        };
        let domains = members.iter().filter(|member| member.life.is_some()).count();
        let mut lacking = Vec::new();
        for segment in segments {
            let copies = census.segments.get(segment).cloned().unwrap_or_default();
            let full = copies.n.min(domains);
            let spread = spread_over(&copies.shards, domain);
            if full == 0 || spread < full {
                lacking.push(format!("{segment}: {spread} of {full}: {:?}", copies.shards));
            }
        }
        lacking
    }

    /// What the nodes that have a segment know of it.
    pub(super) fn told_of(&self, segment: &SegmentId, copies: &Copies) -> Vec<String> {
        let members = self.members();
        let held =
            copies.shards.iter().flat_map(|(shard, nodes)| nodes.iter().map(|n| (*shard, n)));
        let told = held.filter_map(|(shard, node)| {
            let member = members.iter().find(|m| m.id() == *node)?;
            let life = member.life.as_ref()?;
            let stored = life.store.shard_meta(*segment, shard).map(|meta| meta.stored_at);
            let (lease, now) = (life.store.lease(*segment), life.engine.now());
            let id = member.id();
            Some(format!("{shard} of {id} stored {stored:?}, {lease:?}, now {now}"))
        });
        told.collect()
    }

    /// Who has something in the trash, and what its collector did.
    pub(super) fn trash(&self) -> Vec<String> {
        let members = self.members();
        let full = members.iter().filter_map(|member| {
            let life = member.life.as_ref()?;
            let (store, state) = (&life.store, life.collector.state());
            let told = |(segment, shard)| {
                let (lease, since) = (store.lease(segment), store.trashed_since(segment, shard));
                let state = store.shard_state(segment, shard);
                format!("{segment}:{shard} {state:?} since {since:?}, {lease:?}")
            };
            // What was moved waits there until its segment is whole, and what nobody renewed is not made
            // whole any more: it goes with the segment, when its lease is over for long enough.
            let (now, longest) = (life.engine.now(), life.engine.now().saturating_sub(OVER_MS));
            let waits = |(segment, shard): &(SegmentId, u8)| {
                let lease = store.lease(*segment);
                store.shard_state(*segment, *shard) == Some(ShardState::Moved)
                    && lease.is_some_and(|it| it.ended_before(now) && !it.ended_before(longest))
            };
            let left = store.trash_after(None, 1000).into_iter();
            let left: Vec<String> = left.filter(|it| !waits(it)).map(told).collect();
            (!left.is_empty()).then(|| format!("{}: {left:#?} {state:?}", member.id()))
        });
        full.collect()
    }

    /// Everybody's time goes on by so many days, and those that are up hear of each other.
    pub(super) async fn days(&self, mut days: i64) {
        const DAY_MS: i64 = 24 * 3600 * 1000;
        while days > 0 {
            let step = days.min(20);
            days -= step;
            let ids = self.of(|_| true);
            for id in ids.into_iter().chain(self.devices.iter().copied()) {
                self.world.jump_clock(id, step * DAY_MS);
            }
            let engines: Vec<Arc<Engine>> = {
                let members = self.members();
                members.iter().filter_map(|m| Some(Arc::clone(&m.life.as_ref()?.engine))).collect()
            };
            for engine in engines {
                engine.look_around().await;
            }
            tokio::time::sleep(Duration::from_secs(180)).await;
        }
    }
}
