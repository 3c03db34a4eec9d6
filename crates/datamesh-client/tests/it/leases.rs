//! A mesh whose leases end: what is renewed stays for years, what nobody renews goes after its times.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use datamesh_client::{LeaseLook, LeaseRenewal, LeaseScope, LeasesRenewed, Retention};
use datamesh_core::lease::{LeaseAnswer, Renewal};
use datamesh_core::message::{Refusal, Reply, Request};
use datamesh_core::{MeshPath, NodeId, SegmentId};
use datamesh_engine::repair::{RepairConfig, Repairer};
use datamesh_engine::{AskError, Collector, CollectorConfig, ask};
use datamesh_store::CollectionTerms;
use datamesh_testkit::sim::{self, World};

use crate::cluster::{CLIENT, Cluster, Node, Shape, single};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Days of a lease.
const TERM: u64 = 90;

/// A file of its own under that name.
fn named(name: &str) -> BTreeMap<MeshPath, Vec<u8>> {
    let content = single(2_000_000).into_values().next().unwrap();
    let marked = content.into_iter().map(|byte| byte ^ name.len() as u8).collect();
    BTreeMap::from([(name.parse().unwrap(), marked)])
}

/// Nothing is waited for.
const REPAIR: RepairConfig = RepairConfig {
    offline_after: Duration::from_secs(60),
    grace: Duration::from_secs(60),
    interval: Duration::from_secs(300),
    expired: Duration::from_secs(30 * 24 * 3600),
    rate: 64 << 20,
};

/// Files of their own segments, packed ones, and so many in the catalog that it has pages.
fn files() -> BTreeMap<MeshPath, Vec<u8>> {
    let small = (0..20u8).map(|n| (format!("small/{n}").parse().unwrap(), vec![n; 4000]));
    crate::cluster::files().into_iter().chain(small).collect()
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
            self.later(step);
            self.look_around().await;
            for collector in &self.collectors {
                collector.pass().await.unwrap();
            }
        }
    }

    /// Days pass for all clocks.
    fn later(&self, days: u64) {
        for id in self.cluster.nodes.iter().map(|node| node.id).chain([CLIENT]) {
            self.cluster.world.jump_clock(id, (days * DAY_MS) as i64);
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

    async fn look(&self) -> LeaseLook {
        self.cluster.client.look_at_leases().await.unwrap().unwrap()
    }

    async fn renew(&self, scope: LeaseScope) -> LeasesRenewed {
        let pause = Duration::from_secs(1);
        let renewal = LeaseRenewal { scope, pause, progress: &|done, all| assert!(done <= all) };
        self.cluster.client.renew_leases(renewal).await.unwrap()
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
fn what_a_device_renews_stays_for_years() {
    sim::run(1, |world| async move {
        let mesh = Mesh::new(&world);
        let files = files();
        mesh.cluster.put(&files).await;
        let look = mesh.look().await;
        assert!(look.segments > 3, "{look:?}");
        assert_eq!((look.due, look.ended, look.unheld, look.silent, look.unread), (0, 0, 0, 0, 0));
        for _ in 0..18 {
            // A little more than two thirds of the term.
            mesh.days(TERM * 2 / 3 - 1).await;
            assert_eq!(mesh.renew(LeaseScope::Due).await.segments, 0);
            mesh.days(2).await;
            assert_eq!(mesh.look().await.due, look.segments);
            let done = mesh.renew(LeaseScope::Due).await;
            assert_eq!((done.segments, done.renewed, done.few), (look.segments, look.segments, 0));
            let after = mesh.look().await;
            assert_eq!((after.due, after.earliest), (0, Some(done.until)));
        }
        mesh.cluster.assert_intact(&files).await;
    });
}

#[test]
fn who_comes_back_in_time_saves_everything_and_who_does_not_loses_it() {
    sim::run(2, |world| async move {
        let mesh = Mesh::new(&world);
        let files = files();
        mesh.cluster.put(&files).await;
        let (all, _) = mesh.shards();
        // The term and 29 days: still served.
        mesh.days(TERM + 29).await;
        assert_eq!(mesh.shards(), (all, 0));
        let look = mesh.look().await;
        assert_eq!((look.ended, look.unheld), (look.segments, 0));
        mesh.cluster.assert_intact(&files).await;
        // In the trash, of which it comes out.
        mesh.days(2).await;
        assert_eq!(mesh.shards(), (0, all));
        mesh.days(5).await;
        assert_eq!(mesh.look().await.unheld, look.segments);
        let done = mesh.renew(LeaseScope::Due).await;
        assert_eq!((done.renewed, done.few), (look.segments, 0));
        mesh.cluster.assert_intact(&files).await;
        let after = mesh.look().await;
        assert_eq!((after.due, after.unread, after.segments), (0, 0, look.segments));
        // Nobody comes.
        mesh.days(TERM + 31).await;
        mesh.days(8).await;
        assert_eq!(mesh.shards(), (0, 0));
        let done = mesh.renew(LeaseScope::All).await;
        assert_eq!((done.renewed, done.few), (0, done.segments));
    });
}

#[test]
fn a_holder_that_missed_a_renewal_is_due_and_reached_the_next_time() {
    sim::run(8, |world| async move {
        let mesh = Mesh::new(&world);
        mesh.cluster.put(&single(3_000_000)).await;
        mesh.days(TERM * 2 / 3 + 1).await;
        let (node, segment) = mesh.held();
        let before = node.store.lease(segment).unwrap().expiry;
        let others = mesh.cluster.nodes.iter().map(|other| other.id).filter(|id| *id != node.id);
        let others: Vec<NodeId> = others.chain([CLIENT]).collect();
        world.partition(&[&[node.id], &others]);
        let done = mesh.renew(LeaseScope::Due).await;
        assert_eq!((done.renewed, done.few), (done.segments, 0), "one may be missed");
        assert_eq!(node.store.lease(segment).unwrap().expiry, before);
        world.heal();
        mesh.look_around().await;
        let look = mesh.look().await;
        assert!((1..=look.segments).contains(&look.due), "{look:?}");
        mesh.renew(LeaseScope::Due).await;
        assert_eq!(mesh.look().await.due, 0);
        assert!(node.store.lease(segment).unwrap().expiry > before);
    });
}

#[test]
fn a_holder_that_heard_of_a_reference_that_never_came_is_renewed_with_the_others() {
    sim::run(9, |world| async move {
        let mesh = Mesh::new(&world);
        mesh.cluster.put(&single(3_000_000)).await;
        let (node, segment) = mesh.held();
        let end = node.store.lease(segment).unwrap().expiry;
        // A device renewed for one more reference, and ended before it told others or committed.
        let told = mesh.renew_at(node, &mesh.renewal(segment, 1, end)).await;
        assert!(matches!(told, LeaseAnswer::Taken { .. }), "{told:?}");
        mesh.days(TERM * 2 / 3 + 1).await;
        let done = mesh.renew(LeaseScope::Due).await;
        assert_eq!((done.renewed, done.few), (done.segments, 0));
        assert!(node.store.lease(segment).unwrap().expiry >= done.until);
        assert_eq!(mesh.look().await.due, 0);
    });
}

#[test]
fn what_was_released_is_not_revived_by_renewing() {
    sim::run(3, |world| async move {
        let mesh = Mesh::new(&world);
        mesh.cluster.put(&single(3_000_000)).await;
        let client = &mesh.cluster.client;
        client.remove(&["a file".to_owned()]).await.unwrap();
        let now = Retention { keep: 1, younger_than_ms: 0, deleted_for_ms: 0 };
        let purged = client.purge(&["a file".to_owned()], &now, false).await.unwrap();
        assert!(purged.released.shards > 0);
        let (_, trash) = mesh.shards();
        let done = mesh.renew(LeaseScope::All).await;
        assert_eq!((done.renewed, done.few), (done.segments, 0));
        assert_eq!(mesh.shards().1, trash);
        mesh.days(8).await;
        assert_eq!(mesh.shards().1, 0);
    });
}

#[test]
fn a_clock_that_jumps_ends_no_lease() {
    sim::run(9, |world| async move {
        let mesh = Mesh::new(&world);
        let files = single(3_000_000);
        mesh.cluster.put(&files).await;
        let (all, _) = mesh.shards();
        let year = 366 * DAY_MS as i64;
        for (at, node) in mesh.cluster.nodes.iter().enumerate() {
            world.jump_clock(node.id, year);
            node.engine.look_around().await;
            assert!(mesh.collectors[at].pass().await.is_err(), "its clock differs");
            assert_eq!(mesh.shards(), (all, 0));
            world.jump_clock(node.id, -year);
        }
        // A device whose clock jumps renews by the clocks of the others.
        mesh.days(TERM * 2 / 3 + 1).await;
        let now = mesh.cluster.nodes[0].engine.now();
        for jump in [-year, 2 * year] {
            world.jump_clock(CLIENT, jump);
            mesh.cluster.client.engine().look_around().await;
            let done = mesh.renew(LeaseScope::All).await;
            assert_eq!((done.renewed, done.few), (done.segments, 0));
            assert!(done.until.abs_diff(now + TERM * DAY_MS) < DAY_MS / 24, "{done:?} {now}");
        }
        world.jump_clock(CLIENT, -year);
        mesh.cluster.assert_intact(&files).await;
    });
}

#[test]
fn repair_passes_over_what_is_about_to_go() {
    sim::run(10, |world| async move {
        let mesh = Mesh::new(&world);
        mesh.cluster.put(&single(3_000_000)).await;
        let (lost, _) = mesh.held();
        world.kill(lost.id);
        let looked = async |expected: bool| {
            let nodes = mesh.cluster.nodes.iter().filter(|node| world.is_up(node.id));
            for node in nodes.filter(|node| !node.store.segments_after(None, 1).is_empty()) {
                let repairer = Repairer::new(node.engine.clone(), node.store.clone(), REPAIR);
                let run = tokio::time::timeout(Duration::from_secs(900), repairer.run()).await;
                assert!(run.is_err() && repairer.status().looked.is_some());
                let counted = !repairer.status().margins.is_empty();
                assert_eq!(counted, expected, "{:?}", repairer.status());
            }
        };
        mesh.later(TERM + 10);
        looked(true).await;
        mesh.later(20);
        looked(false).await;
    });
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
