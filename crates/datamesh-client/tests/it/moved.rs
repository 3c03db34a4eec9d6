//! Shards that were moved and lie in the trash: removed only where another node proves them, taken
//! back where they are needed.

use std::time::Duration;

use datamesh_core::{NodeId, Receipt, SegmentId};
use datamesh_engine::{Collector, CollectorConfig};
use datamesh_store::{CollectionTerms, ShardState, ShardWrite};
use datamesh_testkit::sim::{self, World};

use crate::cluster::{CLIENT, Cluster, single};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// A cluster with one file, of which a shard was moved to the seventh node.
struct Moved {
    cluster: Cluster,
    segment: SegmentId,
    shard: u8,
    /// The node that gave it, and the one that has it.
    from: usize,
    to: usize,
}

impl Moved {
    async fn new(world: &World) -> Self {
        let cluster = Cluster::seven(world);
        cluster.put(&single(3_000_000)).await;
        let segments = |node: &crate::cluster::Node| {
            let page = node.store.segments_after(None, 100);
            let held = page.into_iter().filter(|(id, _)| {
                // Pages of the catalog have other schemes.
                node.store.descriptor(*id).unwrap().scheme.k() == 4
            });
            held.map(|(id, mask)| (id, mask.trailing_zeros() as u8)).collect::<Vec<_>>()
        };
        let from = (0..7).find(|n| !segments(&cluster.nodes[*n]).is_empty()).unwrap();
        let (segment, shard) = segments(&cluster.nodes[from])[0];
        let to = (0..7).find(|n| cluster.nodes[*n].store.held(segment) == 0).unwrap();
        let moved = Self { cluster, segment, shard, from, to };
        moved.copy();
        let now = moved.cluster.nodes[from].engine.now();
        assert!(moved.cluster.nodes[from].store.give_up(segment, shard, now).unwrap());
        moved
    }

    /// The seventh node gets the shard, as by a Restore.
    fn copy(&self) {
        let (from, to) = (&self.cluster.nodes[self.from], &self.cluster.nodes[self.to]);
        let (segment, shard) = (self.segment, self.shard);
        let stored = from.store.read_shard(segment, shard).unwrap();
        let mesh = self.cluster.genesis.mesh_id();
        let sign = |sequence| Receipt::issue(&*to.signer, &mesh, segment, shard, sequence, 0);
        let write = ShardWrite {
            descriptor: stored.meta.descriptor,
            shard,
            ticket: stored.meta.ticket,
            grant: from.store.grant(&stored.meta.grant).unwrap(),
            grant_bound: u64::MAX,
            cells: stored.cells,
            stored_at: to.engine.now(),
            lease_epoch: 0,
            lease_expiry: 0,
            sign_receipt: &sign,
        };
        to.store.put_shard(write).unwrap();
    }

    fn state(&self) -> Option<ShardState> {
        self.cluster.nodes[self.from].store.shard_state(self.segment, self.shard)
    }

    /// Eight days pass and the node that gave the shard collects.
    async fn collect(&self) -> datamesh_engine::CollectorState {
        let world = &self.cluster.world;
        for id in self.cluster.nodes.iter().map(|node| node.id).chain([CLIENT]) {
            world.jump_clock(id, 8 * DAY_MS);
        }
        let node = &self.cluster.nodes[self.from];
        node.engine.look_around().await;
        let config = CollectorConfig { clock_bound_ms: 600_000, reconcile_ms: 86_400_000 };
        let power = node.store.collection(CollectionTerms::default()).unwrap();
        let collector = Collector::new(node.engine.clone(), power, config);
        collector.pass().await.unwrap();
        collector.state()
    }

    fn others(&self) -> Vec<NodeId> {
        let other = |n: &usize| *n != self.from && *n != self.to;
        (0..7).filter(other).map(|n| self.cluster.nodes[n].id).collect()
    }

    fn alarms(&self) -> u64 {
        let asked = |node: &crate::cluster::Node| node.store.usage().unwrap().trash_asked;
        self.cluster.nodes.iter().map(asked).sum()
    }
}

#[test]
fn it_goes_where_another_node_proves_it() {
    sim::run(1, |world| async move {
        let moved = Moved::new(&world).await;
        let done = moved.collect().await;
        assert_eq!((done.removed, done.taken_back), (1, 0));
        assert_eq!(moved.state(), None);
        moved.cluster.assert_intact(&single(3_000_000)).await;
    });
}

#[test]
fn it_comes_back_where_the_node_that_got_it_is_gone() {
    sim::run(2, |world| async move {
        let moved = Moved::new(&world).await;
        world.kill(moved.cluster.nodes[moved.to].id);
        let done = moved.collect().await;
        assert_eq!((done.removed, done.taken_back), (0, 1));
        assert_eq!(moved.state(), Some(ShardState::Held));
    });
}

#[test]
fn it_comes_back_where_the_node_that_got_it_only_says_that_it_has_it() {
    sim::run(3, |world| async move {
        let moved = Moved::new(&world).await;
        // It claims it still, and what it reads is rotten.
        let to = &moved.cluster.nodes[moved.to];
        let pack = datamesh_store::name_of(1);
        let bytes = to.disk.contents(&pack).unwrap();
        let stored = to.store.read_shard(moved.segment, moved.shard).unwrap();
        let cells = &stored.cells[..64];
        let at = bytes.windows(64).position(|window| window == cells).unwrap();
        for cell in 0..stored.cells.len() / 512 {
            to.disk.flip(&pack, 8 * (at + cell * 512) as u64);
        }
        assert_ne!(to.store.held(moved.segment), 0);
        let done = moved.collect().await;
        assert_eq!((done.removed, done.taken_back), (0, 1));
        assert_eq!(moved.state(), Some(ShardState::Held));
    });
}

#[test]
fn it_waits_while_another_shard_is_missing() {
    sim::run(4, |world| async move {
        let moved = Moved::new(&world).await;
        world.kill(moved.others()[0]);
        let done = moved.collect().await;
        assert_eq!((done.removed, done.taken_back), (0, 0));
        assert_eq!(moved.state(), Some(ShardState::Moved));
    });
}

#[test]
fn nothing_is_removed_and_nothing_taken_back_by_a_node_that_is_cut_off() {
    sim::run(5, |world| async move {
        let moved = Moved::new(&world).await;
        world.partition(&[&[moved.cluster.nodes[moved.from].id]]);
        for id in moved.cluster.nodes.iter().map(|node| node.id) {
            world.jump_clock(id, 8 * DAY_MS);
        }
        let node = &moved.cluster.nodes[moved.from];
        let config = CollectorConfig { clock_bound_ms: 600_000, reconcile_ms: 86_400_000 };
        let power = node.store.collection(CollectionTerms::default()).unwrap();
        let collector = Collector::new(node.engine.clone(), power, config);
        assert!(collector.pass().await.is_err());
        assert_eq!(moved.state(), Some(ShardState::Moved));
    });
}

#[test]
fn a_reader_that_needs_it_gets_it_and_it_is_held_again_without_an_alarm() {
    sim::run(6, |world| async move {
        let moved = Moved::new(&world).await;
        world.kill(moved.cluster.nodes[moved.to].id);
        // Three others are left: one shard too few without it.
        for other in &moved.others()[..2] {
            world.kill(*other);
        }
        let reader = moved.cluster.forgetful(0xC2);
        reader.engine().look_around().await;
        let files = single(3_000_000);
        let mut sink = crate::streams::Collected::default();
        let report =
            reader.get(datamesh_client::Wanted::Below(None), &mut sink, None).await.unwrap();
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        assert!(sink.files == files);
        assert_eq!(moved.state(), Some(ShardState::Held));
        assert_eq!(moved.alarms(), 0);
    });
}

#[test]
fn a_repair_takes_it_back_before_it_rebuilds() {
    sim::run(7, |world| async move {
        let moved = Moved::new(&world).await;
        world.kill(moved.cluster.nodes[moved.to].id);
        let engine = moved.cluster.client.engine();
        engine.look_around().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let checked = engine.repair_now(moved.segment, false, 100).await.unwrap();
        assert_eq!((checked.margin, checked.missing), (2, vec![]));
        assert!(checked.mended.is_none(), "{:?}", checked.mended);
        assert_eq!(moved.state(), Some(ShardState::Held));
        assert_eq!(moved.alarms(), 0);
    });
}

#[test]
fn what_its_owner_gave_up_meanwhile_does_not_come_back() {
    sim::run(8, |world| async move {
        let moved = Moved::new(&world).await;
        // The node that gave it hears nothing while the file is given up.
        let from = moved.cluster.nodes[moved.from].id;
        let rest = moved.cluster.nodes.iter().map(|node| node.id).filter(|id| *id != from);
        let rest: Vec<NodeId> = rest.chain([CLIENT]).collect();
        world.partition(&[&rest, &[from]]);
        let client = &moved.cluster.client;
        client.engine().look_around().await;
        client.remove(&["a file".to_owned()]).await.unwrap();
        let now = datamesh_client::Retention { keep: 1, younger_than_ms: 0, deleted_for_ms: 0 };
        client.purge(&["a file".to_owned()], &now, false).await.unwrap();
        assert_eq!(moved.cluster.nodes[moved.to].store.held(moved.segment), 0);
        world.heal();
        let done = moved.collect().await;
        assert_eq!((done.removed, done.taken_back), (0, 0));
        assert_eq!(moved.state(), Some(ShardState::Trash), "the release came with the asking");
    });
}
