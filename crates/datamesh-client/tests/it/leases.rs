//! A mesh whose leases end: what is renewed stays for years, what nobody renews goes after its times.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::lease::{LeaseAnswer, Renewal};
use datamesh_core::message::{Refusal, Reply, Request};
use datamesh_core::{MeshPath, NodeId, SegmentId};
use datamesh_engine::{AskError, Collector, CollectorConfig, ask};
use datamesh_store::CollectionTerms;
use datamesh_testkit::sim::{self, World};

use crate::cluster::{Cluster, Node, Shape, single};

const CLIENT: NodeId = NodeId([0xC1; 32]);
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Days of a lease.
const TERM: u64 = 90;

/// A file of its own under that name.
fn named(name: &str) -> BTreeMap<MeshPath, Vec<u8>> {
    let content = single(2_000_000).into_values().next().unwrap();
    let marked = content.into_iter().map(|byte| byte ^ name.len() as u8).collect();
    BTreeMap::from([(name.parse().unwrap(), marked)])
}

struct Mesh {
    cluster: Cluster,
    collectors: Vec<Collector>,
}

impl Mesh {
    fn new(world: &World) -> Self {
        let shape = Shape { nodes: 9, lease_days: TERM as u32, ..Shape::default() };
        let cluster = Cluster::new(world, &shape);
        let config = CollectorConfig { clock_bound_ms: 600_000, reconcile_ms: DAY_MS };
        let collectors = cluster.nodes.iter().map(|node| {
            let collection = node.store.collection(CollectionTerms::default()).unwrap();
            Collector::new(node.engine.clone(), collection, config)
        });
        Self { collectors: collectors.collect(), cluster }
    }

    /// Days pass, after each twenty of which every node collects.
    async fn days(&self, mut days: u64) {
        while days > 0 {
            let step = days.min(20);
            days -= step;
            for id in self.cluster.nodes.iter().map(|node| node.id).chain([CLIENT]) {
                self.cluster.world.jump_clock(id, (step * DAY_MS) as i64);
            }
            self.look_around().await;
            for collector in &self.collectors {
                collector.pass().await.unwrap();
            }
        }
    }

    async fn look_around(&self) {
        self.cluster.client.engine().look_around().await;
        for node in &self.cluster.nodes {
            node.engine.look_around().await;
        }
    }

    /// Shards that are held, and shards in the trash, over all nodes.
    fn shards(&self) -> (u64, u64) {
        let usage = self.cluster.nodes.iter().map(|node| node.store.usage().unwrap());
        usage.fold((0, 0), |sum, usage| (sum.0 + usage.shards, sum.1 + usage.trash))
    }

    /// Segments that any living node holds, and the ends of their leases everywhere.
    fn ends(&self) -> (BTreeSet<SegmentId>, BTreeSet<u64>) {
        let (mut segments, mut ends) = (BTreeSet::new(), BTreeSet::new());
        let up = |node: &&Node| self.cluster.world.is_up(node.id);
        for node in self.cluster.nodes.iter().filter(up) {
            for (segment, _) in node.store.segments_after(None, 1000) {
                segments.insert(segment);
                ends.insert(node.store.lease(segment).unwrap().expiry);
            }
        }
        (segments, ends)
    }

    /// A node that holds something, and one of its segments.
    fn held(&self) -> (&Node, SegmentId) {
        let nodes = self.cluster.nodes.iter();
        let mut held = nodes.map(|node| (node, node.store.segments_after(None, 1)));
        held.find_map(|(node, held)| Some((node, held.first()?.0))).unwrap()
    }

    fn renewal(&self, segment: SegmentId, epoch: u64, expiry: u64) -> Renewal {
        let nodes = self.cluster.nodes.iter();
        let descriptor = nodes.filter_map(|node| node.store.any_descriptor(segment).ok()).next();
        let mesh = self.cluster.genesis.mesh_id();
        self.cluster.keys.renew(&mesh, &descriptor.unwrap(), epoch, expiry)
    }

    async fn ask(&self, node: &Node, request: &Request, body: Bytes) -> Result<Reply, Refusal> {
        let transport = &**self.cluster.client.engine().transport();
        match ask(transport, node.id, request, body, Duration::from_secs(9)).await {
            Ok((reply, _)) => Ok(reply),
            Err(AskError::Refused { refusal, .. }) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    /// What one node says to one renewal.
    async fn renew_at(&self, node: &Node, renewal: &Renewal) -> LeaseAnswer {
        let request = Request::Renew(vec![renewal.clone()]);
        match self.ask(node, &request, Bytes::new()).await {
            Ok(Reply::Leases(answers)) => answers[0],
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_lease_is_not_longer_than_its_term_nor_made_shorter_by_an_old_renewal() {
    sim::run(4, |world| async move {
        let mesh = Mesh::new(&world);
        mesh.cluster.put(&single(3_000_000)).await;
        let (node, segment) = mesh.held();
        let now = node.engine.now();
        let before = node.store.lease(segment).unwrap().expiry;
        assert!(before.abs_diff(now + TERM * DAY_MS) < DAY_MS / 24, "{before}");
        for days in [0, TERM + 1, 100 * TERM, 10] {
            let expiry = if days == 0 { 0 } else { now + days * DAY_MS };
            let answer = mesh.renew_at(node, &mesh.renewal(segment, 0, expiry)).await;
            let taken = matches!(answer, LeaseAnswer::Taken { .. });
            let too_long = matches!(answer, LeaseAnswer::TooLong { until } if until > before);
            assert_eq!((taken, too_long), (days == 10, days != 10), "{days} days");
            assert_eq!(node.store.lease(segment).unwrap().expiry, before, "{days} days");
        }
        // A holder whose clock went back asks the others before it says no, and does not cut a new
        // shard's lease.
        world.jump_clock(node.id, -(400 * DAY_MS as i64));
        let later = before + DAY_MS / 100;
        let answer = mesh.renew_at(node, &mesh.renewal(segment, 0, later)).await;
        assert!(matches!(answer, LeaseAnswer::Taken { .. }), "{answer:?}");
        assert_eq!(node.store.lease(segment).unwrap().expiry, later);
        mesh.cluster.put(&named("another")).await;
        let (_, ends) = mesh.ends();
        let least = now + (TERM - 1) * DAY_MS;
        assert!(ends.iter().all(|end| *end > least), "{ends:?} {least}");
        // And one whose clock went on does not take a new lease for one that ended.
        world.jump_clock(node.id, 800 * DAY_MS as i64);
        mesh.cluster.put(&named("a third")).await;
    });
}

#[test]
fn where_leases_do_not_end_none_is_given_an_end() {
    sim::run(5, |world| async move {
        let cluster = Cluster::new(&world, &Shape::default());
        cluster.put(&single(3_000_000)).await;
        let mesh = Mesh { cluster, collectors: Vec::new() };
        let (node, segment) = mesh.held();
        let now = node.engine.now();
        let answer = mesh.renew_at(node, &mesh.renewal(segment, 3, now + DAY_MS)).await;
        assert_eq!(answer, LeaseAnswer::TooLong { until: 0 });
        assert_eq!(node.store.lease(segment), None);
        let answer = mesh.renew_at(node, &mesh.renewal(segment, 3, 0)).await;
        assert!(matches!(answer, LeaseAnswer::Taken { .. }), "{answer:?}");
        assert_eq!(node.store.lease(segment).unwrap().expiry, 0);
    });
}

#[test]
fn who_brings_a_shard_back_makes_its_lease_neither_longer_nor_shorter() {
    sim::run(6, |world| async move {
        let mesh = Mesh::new(&world);
        mesh.cluster.put(&single(3_000_000)).await;
        let (_, ends) = mesh.ends();
        mesh.days(40).await;
        for renewed in [false, true] {
            let mut expected = ends.clone();
            if renewed {
                // All holders but one hear of it, and that one does not count.
                let until = mesh.cluster.nodes[0].engine.now() + TERM * DAY_MS;
                let (segments, _) = mesh.ends();
                let renewals: Vec<_> =
                    segments.iter().map(|segment| mesh.renewal(*segment, 0, until)).collect();
                mesh.cluster.client.engine().renew(&renewals).await;
                expected = BTreeSet::from([until]);
            }
            let held = |n: &usize| mesh.cluster.nodes[*n].store.segments_after(None, 100);
            let up = |n: &usize| world.is_up(mesh.cluster.nodes[*n].id);
            let lost = (0..9).filter(up).find(|n| !held(n).is_empty()).unwrap();
            let segments = held(&lost);
            world.kill(mesh.cluster.nodes[lost].id);
            let repairer = (0..9).filter(up).find(|n| *n != lost).unwrap();
            let repairer = &mesh.cluster.nodes[repairer];
            repairer.engine.look_around().await;
            let mut rebuilt = 0;
            for (segment, _) in segments {
                let done = repairer.engine.repair_now(segment, false, 100).await.unwrap();
                rebuilt += done.mended.map_or(0, |mended| mended.rebuilt.len());
            }
            assert!(rebuilt > 0);
            let (_, after) = mesh.ends();
            assert_eq!(after, expected);
        }
    });
}

#[test]
fn a_stranger_with_an_old_ticket_keeps_nothing() {
    sim::run(7, |world| async move {
        let mesh = Mesh::new(&world);
        mesh.cluster.put(&single(3_000_000)).await;
        let (node, segment) = mesh.held();
        let shard = node.store.held(segment).trailing_zeros() as u8;
        let stored = node.store.read_shard(segment, shard).unwrap();
        let grant = node.store.grant(&stored.meta.grant).unwrap();
        let store = |renewal| Request::Store {
            descriptor: stored.meta.descriptor.clone(),
            shard,
            ticket: stored.meta.ticket.clone(),
            grant: grant.clone(),
            renewal,
        };
        mesh.days(TERM + 40).await;
        assert_eq!(mesh.shards().0, 0, "all of it is in the trash");
        let refused = mesh.ask(node, &store(None), stored.cells.clone()).await;
        assert_eq!(refused, Err(Refusal::NotPermitted), "its lease has ended");
        // Neither with a renewal of somebody else's segment, nor with a forged one.
        let until = node.engine.now() + 5 * DAY_MS;
        let mut forged = mesh.cluster.keys.renew(
            &mesh.cluster.genesis.mesh_id(),
            &stored.meta.descriptor,
            0,
            until,
        );
        let right = forged.clone();
        forged.expiry += 1;
        let refused = mesh.ask(node, &store(Some(forged)), stored.cells.clone()).await;
        assert_eq!(refused, Err(Refusal::NotPermitted));
        // What its owner renewed may be brought, and is kept for so long.
        let taken = mesh.ask(node, &store(Some(right)), stored.cells.clone()).await;
        assert!(matches!(taken, Ok(Reply::Stored(receipt)) if receipt.expiry == until));
        assert_eq!(node.store.lease(segment).unwrap().expiry, until);
        assert_eq!(node.store.renewal(segment).unwrap().unwrap().expiry, until);
    });
}
