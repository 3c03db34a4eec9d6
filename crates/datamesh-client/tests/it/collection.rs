//! What owners give up leaves the nodes' disks, and nothing else does: with clocks that jump, nodes
//! that are away, and versions that are taken back.

use std::collections::{BTreeMap, BTreeSet};

use datamesh_client::{CleanupOptions, ClientError, Retention};
use datamesh_core::lease::{LeaseAnswer, Release};
use datamesh_core::message::{Refusal, Reply, Request};
use datamesh_core::{Descriptor, Hash, MeshPath, NodeId, SegmentId};
use datamesh_engine::{AskError, Collector, CollectorConfig, ask};
use datamesh_store::{CollectionTerms, ShardState};
use datamesh_testkit::{fixtures, sim};

use crate::cluster::{CLIENT, Cluster, single};

const DAY_MS: i64 = 24 * 3600 * 1000;

pub(crate) const NOW: Retention = Retention { keep: 1, younger_than_ms: 0, deleted_for_ms: 0 };

/// A cluster and the collectors of its nodes.
pub(crate) struct Mesh {
    pub(crate) cluster: Cluster,
    collectors: Vec<Collector>,
    /// The node that is cut off.
    away: Option<usize>,
}

impl Mesh {
    pub(crate) fn new(world: &sim::World) -> Self {
        let cluster = Cluster::seven(world);
        let config = CollectorConfig { clock_bound_ms: 600_000, reconcile_ms: 86_400_000 };
        let collectors = cluster.nodes.iter().map(|node| {
            let collection = node.store.collection(CollectionTerms::default()).unwrap();
            Collector::new(node.engine.clone(), collection, config)
        });
        Self { collectors: collectors.collect(), cluster, away: None }
    }

    /// Days pass; whoever is not cut off hears of the others.
    pub(crate) async fn days(&self, mut days: i64) {
        while days > 0 {
            let step = days.min(20);
            days -= step;
            for id in self.cluster.nodes.iter().map(|node| node.id).chain([CLIENT]) {
                self.cluster.world.jump_clock(id, step * DAY_MS);
            }
            self.meet().await;
        }
    }

    async fn meet(&self) {
        self.cluster.client.engine().look_around().await;
        for (n, node) in self.cluster.nodes.iter().enumerate() {
            if self.away != Some(n) {
                node.engine.look_around().await;
            }
        }
    }

    fn cut_off(&mut self, away: usize) {
        let rest: Vec<NodeId> =
            self.cluster.nodes.iter().map(|node| node.id).chain([CLIENT]).collect();
        let alone = self.cluster.nodes[away].id;
        let rest: Vec<NodeId> = rest.into_iter().filter(|id| *id != alone).collect();
        self.cluster.world.partition(&[&rest, &[alone]]);
        self.away = Some(away);
    }

    async fn back(&mut self) {
        self.cluster.world.heal();
        self.away = None;
        self.meet().await;
    }

    pub(crate) async fn collect(&self) {
        for (n, collector) in self.collectors.iter().enumerate() {
            let passed = collector.pass().await;
            assert!(passed.is_ok() || self.away == Some(n), "{passed:?}");
        }
    }

    /// Shards that are held, and shards in the trash, over all nodes.
    pub(crate) fn shards(&self) -> (u64, u64) {
        let usage = self.cluster.nodes.iter().map(|node| node.store.usage().unwrap());
        usage.fold((0, 0), |sum, usage| (sum.0 + usage.shards, sum.1 + usage.trash))
    }

    async fn segments(&self, path: &str) -> Vec<SegmentId> {
        let client = &self.cluster.client;
        let mut segments = Vec::new();
        for version in client.versions(path).await.unwrap() {
            if let Some(put) = version.put().filter(|_| !version.purged) {
                let placed = client.placement(put).await.unwrap();
                segments.extend(placed.iter().map(|placed| placed.segment));
            }
        }
        segments
    }

    fn held(&self, segment: SegmentId) -> u32 {
        self.cluster.nodes.iter().map(|node| node.store.held(segment).count_ones()).sum()
    }
}

pub(crate) fn file(path: &str, seed: u64, size: usize) -> BTreeMap<MeshPath, Vec<u8>> {
    BTreeMap::from([(path.parse().unwrap(), fixtures::noise(seed, size))])
}

#[test]
fn a_removed_file_gives_its_room_back_after_its_times() {
    sim::run(1, |world| async move {
        let mesh = Mesh::new(&world);
        let client = &mesh.cluster.client;
        let kept = file("kept", 1, 700_000);
        mesh.cluster.put(&kept).await;
        mesh.cluster.put(&file("gone", 2, 5_000_000)).await;
        let gone = mesh.segments("gone").await;
        let used = |mesh: &Mesh| -> u64 {
            mesh.cluster.nodes.iter().map(|node| node.store.usage().unwrap().used).sum()
        };
        let full = used(&mesh);
        client.remove(&["gone".to_owned()]).await.unwrap();

        // Within 30 days it can be taken back, and nothing is given up.
        let cleaned = client.cleanup(CleanupOptions::default()).await.unwrap();
        assert_eq!(cleaned.deleted.versions, 0);
        mesh.days(31).await;
        let look = CleanupOptions { dry_run: true, ..CleanupOptions::default() };
        let seen = client.cleanup(look).await.unwrap();
        assert_eq!((seen.deleted.versions, seen.deleted.bytes), (1, 5_000_000));
        assert_eq!(seen.deleted.unreferenced, gone.len() as u64);
        assert_eq!(mesh.shards().1, 0, "a dry run does nothing");
        let cleaned = client.cleanup(CleanupOptions::default()).await.unwrap();
        assert_eq!(cleaned.deleted.released.shards, 6 * gone.len() as u64);
        assert_eq!(mesh.shards().1, 6 * gone.len() as u64);
        assert!(matches!(client.resolve("gone", Some(1)).await, Err(ClientError::Purged { .. })));

        mesh.days(6).await;
        mesh.collect().await;
        assert_eq!(mesh.shards().1, 6 * gone.len() as u64, "the trash waits 7 days");
        mesh.days(2).await;
        mesh.collect().await;
        assert_eq!(mesh.shards().1, 0);
        let left = used(&mesh);
        assert!(left < full / 2, "{left} of {full} bytes are left");
        mesh.cluster.assert_intact(&kept).await;
    });
}

#[test]
fn a_renewal_that_nobody_knew_of_wins_over_the_release() {
    sim::run(2, |world| async move {
        let mesh = Mesh::new(&world);
        let client = &mesh.cluster.client;
        mesh.cluster.put(&single(300_000)).await;
        let segment = mesh.segments("a file").await[0];
        let descriptor = client.engine().descriptor_of(&segment).await.unwrap();
        client.remove(&["a file".to_owned()]).await.unwrap();
        client.purge(&["a file".to_owned()], &NOW, false).await.unwrap();
        assert_eq!((mesh.held(segment), mesh.shards().1), (0, 6));
        // Another device refers to it and has not heard of the purge: it knows of one version too.
        let mesh_id = client.engine().mesh();
        let renewal = mesh.cluster.keys.renew(&mesh_id, &descriptor, 1, 0);
        let told = client.engine().renew(&[renewal]).await.pop().unwrap();
        assert_eq!((told.shards(), told.behind), (6, None));
        let release = mesh.cluster.keys.release(&mesh_id, &descriptor, 1);
        let told = client.engine().release(&[release]).await.pop().unwrap();
        assert_eq!((told.shards(), told.behind), (0, Some(1)));
        mesh.days(60).await;
        mesh.collect().await;
        assert_eq!(mesh.held(segment), 6);
    });
}

#[test]
fn only_the_segments_key_ends_its_lease() {
    sim::run(3, |world| async move {
        let mesh = Mesh::new(&world);
        let engine = mesh.cluster.client.engine();
        mesh.cluster.put(&single(300_000)).await;
        let segment = mesh.segments("a file").await[0];
        let keys = &mesh.cluster.keys;
        // Signed by the account, but with the lease key of other roots.
        let descriptor = engine.descriptor_of(&segment).await.unwrap();
        let other = Descriptor { roots: vec![Hash([9; 32]); 6], ..(*descriptor).clone() };
        let forged = Release { segment, ..keys.release(&engine.mesh(), &other, 1) };
        let node = mesh.cluster.holders(&"a file".parse().unwrap()).await[0];
        let request = Request::Release(vec![forged.clone()]);
        let deadline = std::time::Duration::from_secs(5);
        let answer = ask(&**engine.transport(), node, &request, Default::default(), deadline).await;
        assert_eq!(answer.unwrap().0, Reply::Leases(vec![LeaseAnswer::NotSigned]));
        assert_eq!(mesh.held(segment), 6);
        let unknown = datamesh_core::lease::Release { segment: SegmentId([9; 32]), ..forged };
        let request = Request::Release(vec![unknown]);
        let answer = ask(&**engine.transport(), node, &request, Default::default(), deadline).await;
        assert_eq!(answer.unwrap().0, Reply::Leases(vec![LeaseAnswer::NotHeld]));
    });
}

#[test]
fn what_was_deleted_is_taken_back_without_moving_its_bytes() {
    sim::run(4, |world| async move {
        let mesh = Mesh::new(&world);
        let client = &mesh.cluster.client;
        let (small, large) = (file("small", 1, 900), file("large", 2, 5_000_000));
        mesh.cluster.put(&small).await;
        mesh.cluster.put(&large).await;
        let shards = mesh.shards();
        assert!(matches!(client.undelete("large", None).await, Err(ClientError::Current { .. })));
        client.remove(&["small".to_owned(), "large".to_owned()]).await.unwrap();
        for name in ["small", "large"] {
            assert_eq!(client.undelete(name, None).await.unwrap().pending, 0);
        }
        assert_eq!(mesh.shards(), shards);
        mesh.cluster.assert_intact(&small).await;
        mesh.cluster.assert_intact(&large).await;
        // The old version goes, the one that was taken back still has the segments.
        let purged = client.purge(&["large".to_owned()], &NOW, false).await.unwrap();
        assert_eq!((purged.versions, purged.unreferenced, purged.shared), (1, 0, 2));
        mesh.days(60).await;
        mesh.collect().await;
        mesh.cluster.assert_intact(&large).await;
        assert_eq!(mesh.shards(), shards);
    });
}

/// More versions than one page of them.
#[test]
fn the_newest_of_many_versions_is_taken_back() {
    sim::run(6, |world| async move {
        let mesh = Mesh::new(&world);
        let client = &mesh.cluster.client;
        for seed in 0..260 {
            mesh.cluster.put(&file("many", seed, 50)).await;
        }
        assert_eq!(client.versions("many").await.unwrap().len(), 260);
        client.remove(&["many".to_owned()]).await.unwrap();
        client.undelete("many", None).await.unwrap();
        mesh.cluster.assert_intact(&file("many", 259, 50)).await;
        client.undelete("many", Some(258)).await.unwrap();
        mesh.cluster.assert_intact(&file("many", 257, 50)).await;
    });
}

#[test]
fn a_node_that_was_away_brings_nothing_back() {
    sim::run(5, |world| async move {
        let mut mesh = Mesh::new(&world);
        mesh.cluster.put(&single(300_000)).await;
        let segment = mesh.segments("a file").await[0];
        let held = |node: &crate::cluster::Node| node.store.held(segment) != 0;
        let away = mesh.cluster.nodes.iter().position(held).unwrap();
        let descriptor = mesh.cluster.client.engine().descriptor_of(&segment).await.unwrap();
        mesh.cut_off(away);
        let client = &mesh.cluster.client;
        client.remove(&["a file".to_owned()]).await.unwrap();
        let purged = client.purge(&["a file".to_owned()], &NOW, false).await.unwrap();
        assert_eq!(purged.pending, 0);
        assert_eq!(purged.released.unanswered, 1);
        mesh.days(100).await;
        mesh.collect().await;
        assert_eq!(mesh.held(segment), 1);
        mesh.back().await;

        // Before it knows: what it hands to others, as a repair would, is not taken.
        let store = &mesh.cluster.nodes[away].store;
        let shard = store.held(segment).trailing_zeros() as u8;
        let stored = store.read_shard(segment, shard).unwrap();
        let request = Request::Store {
            descriptor: (*descriptor).clone(),
            shard,
            ticket: stored.meta.ticket.clone(),
            grant: store.grant(&stored.meta.grant).unwrap(),
            renewal: None,
        };
        let engine = &mesh.cluster.nodes[away].engine;
        let mut refused = 0;
        for node in mesh.cluster.nodes.iter().filter(|node| node.store.lease(segment).is_some()) {
            let deadline = std::time::Duration::from_secs(5);
            let answer =
                ask(&**engine.transport(), node.id, &request, stored.cells.clone(), deadline).await;
            let released =
                matches!(answer, Err(AskError::Refused { refusal: Refusal::NotPermitted, .. }));
            assert!(released, "{answer:?}");
            refused += 1;
        }
        assert_eq!(refused, 5);

        mesh.collect().await;
        assert_eq!(mesh.held(segment), 0);
        assert_eq!(store.shard_state(segment, shard), Some(ShardState::Trash));
        mesh.days(8).await;
        mesh.collect().await;
        assert_eq!(store.shard_state(segment, shard), None);
        assert_eq!(mesh.shards(), (0, 0));
    });
}

#[test]
fn who_missed_a_renewal_hears_of_it_before_it_costs_a_shard() {
    sim::run(8, |world| async move {
        let mut mesh = Mesh::new(&world);
        mesh.cluster.put(&single(300_000)).await;
        let segment = mesh.segments("a file").await[0];
        let descriptor = mesh.cluster.client.engine().descriptor_of(&segment).await.unwrap();
        let held = |node: &crate::cluster::Node| node.store.held(segment) != 0;
        let away = mesh.cluster.nodes.iter().position(held).unwrap();
        let shard = mesh.cluster.nodes[away].store.held(segment).trailing_zeros() as u8;
        let stored = mesh.cluster.nodes[away].store.read_shard(segment, shard).unwrap();
        let grant = mesh.cluster.nodes[away].store.grant(&stored.meta.grant).unwrap();
        // A reference more, which one holder does not hear of; then it hears a release that had
        // been on its way before.
        mesh.cut_off(away);
        let (keys, mesh_id) = (&mesh.cluster.keys, mesh.cluster.client.engine().mesh());
        let renewal = keys.renew(&mesh_id, &descriptor, 1, 0);
        let told = mesh.cluster.client.engine().renew(&[renewal]).await.pop().unwrap();
        assert_eq!(told.shards(), 5);
        mesh.back().await;
        let release = mesh.cluster.keys.release(&mesh_id, &descriptor, 1);
        let told = mesh.cluster.client.engine().release(&[release]).await.pop().unwrap();
        assert_eq!((told.shards(), told.behind), (1, Some(1)));
        // Its shard is stored elsewhere, as a repair does.
        let other = mesh.cluster.nodes.iter().find(|node| node.store.lease(segment).is_none());
        let request = Request::Store {
            descriptor: (*descriptor).clone(),
            shard,
            ticket: stored.meta.ticket.clone(),
            grant,
            renewal: None,
        };
        let (other, deadline) = (other.unwrap().id, std::time::Duration::from_secs(5));
        let transport = mesh.cluster.client.engine().transport();
        ask(&**transport, other, &request, stored.cells, deadline).await.unwrap();
        assert_eq!(mesh.held(segment), 6);
        for _ in 0..12 {
            mesh.collect().await;
            mesh.days(2).await;
        }
        mesh.collect().await;
        assert!(mesh.held(segment) >= 6);
        mesh.cluster.assert_intact(&single(300_000)).await;
    });
}

#[test]
fn a_node_with_a_wrong_clock_removes_nothing() {
    sim::run(6, |world| async move {
        let mesh = Mesh::new(&world);
        mesh.cluster.put(&single(300_000)).await;
        let client = &mesh.cluster.client;
        client.remove(&["a file".to_owned()]).await.unwrap();
        client.purge(&["a file".to_owned()], &NOW, false).await.unwrap();
        let node =
            mesh.cluster.nodes.iter().position(|n| n.store.usage().unwrap().trash > 0).unwrap();
        world.jump_clock(mesh.cluster.nodes[node].id, 365 * DAY_MS);
        mesh.cluster.nodes[node].engine.look_around().await;
        assert!(mesh.collectors[node].pass().await.is_err());
        assert!(mesh.collectors[node].state().refused.is_some());
        assert_eq!(mesh.cluster.nodes[node].store.usage().unwrap().trash, 1);
    });
}

#[test]
fn orphaned_segments_are_found_by_listing() {
    sim::run(7, |world| async move {
        let mesh = Mesh::new(&world);
        let client = &mesh.cluster.client;
        mesh.cluster.put(&single(300_000)).await;
        mesh.cluster.put(&file("purged", 3, 300_000)).await;
        let (kept, lost) = (mesh.segments("a file").await[0], mesh.segments("purged").await[0]);
        // The purge is published and its device ends before it releases anything.
        let purge = client.versions("purged").await.unwrap()[0].id();
        client.remove(&["purged".to_owned()]).await.unwrap();
        let change = datamesh_core::catalog::Change::Purge(datamesh_core::catalog::Purge {
            versions: vec![purge],
            created: 1,
        });
        let append =
            datamesh_catalog::Append { changes: vec![change], now: 1, ..Default::default() };
        let keys = &mesh.cluster.keys;
        client.catalog().append(append, |body| keys.sign_operation(body)).unwrap();
        client.publish().await.unwrap();

        let all = CleanupOptions { orphaned: true, ..CleanupOptions::default() };
        assert_eq!(client.cleanup(all).await.unwrap().orphaned, 0, "it is too young");
        mesh.days(8).await;
        let cleaned = client.cleanup(all).await.unwrap();
        assert_eq!((cleaned.orphaned, cleaned.orphaned_shards), (1, 6));
        assert_eq!(cleaned.released.shards, 6);
        assert_eq!((mesh.held(lost), mesh.held(kept)), (0, 6));
        assert_eq!(client.cleanup(all).await.unwrap().orphaned, 0);
    });
}

/// A tenth of a scenario is puts, the rest everything that may lose a live shard or bring a dead one
/// back.
async fn scenario(world: sim::World) {
    let mut mesh = Mesh::new(&world);
    let paths: Vec<String> = (0..5).map(|n| format!("file {n}")).collect();
    let mut current: BTreeMap<MeshPath, Vec<u8>> = BTreeMap::new();
    // What undelete without a number brings back: the newest version that was not purged.
    let mut newest: BTreeMap<MeshPath, Vec<u8>> = BTreeMap::new();
    for step in 0..30 {
        let name = paths[world.draw(5) as usize].clone();
        let path: MeshPath = name.parse().unwrap();
        match world.draw(10) {
            0..3 => {
                let size = [5_000, 40_000, 200_000][world.draw(3) as usize];
                // Content that is there already as often as content that is not.
                let content = match world.draw(2) {
                    0 => world.draw(2),
                    _ => step * 1000 + world.seed(),
                };
                let stored = file(&name, content, size);
                let report = mesh.cluster.put(&stored).await;
                assert!(report.failed.is_empty() && report.pending == 0, "{report:?}");
                newest.extend(stored.clone());
                current.extend(stored);
            }
            3 => {
                if current.remove(&path).is_some() {
                    mesh.cluster.client.remove(&[name]).await.unwrap();
                }
            }
            4 => {
                if !current.contains_key(&path)
                    && let Some(bytes) = newest.get(&path)
                {
                    // Where a holder is away there may be too few left.
                    match mesh.cluster.client.undelete(&name, None).await {
                        Ok(_) => {
                            current.insert(path, bytes.clone());
                        }
                        Err(ClientError::NotRenewed { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            5 => {
                let options = CleanupOptions {
                    orphaned: world.draw(2) == 0,
                    force: world.draw(2) == 0,
                    duplicates: world.draw(2) == 0,
                    ..CleanupOptions::default()
                };
                let before: Vec<MeshPath> =
                    newest.keys().filter(|path| !current.contains_key(*path)).cloned().collect();
                mesh.cluster.client.cleanup(options).await.unwrap();
                for path in before {
                    let versions = mesh.cluster.client.versions(path.as_str()).await.unwrap();
                    if versions.iter().all(|version| version.purged || version.put().is_none()) {
                        newest.remove(&path);
                    }
                }
            }
            6 => {
                if current.contains_key(&path) {
                    mesh.cluster.client.purge(&[name], &NOW, false).await.unwrap();
                }
            }
            7 => mesh.days(1 + world.draw(40) as i64).await,
            8 => match mesh.away {
                Some(_) => mesh.back().await,
                None => mesh.cut_off(world.draw(7) as usize),
            },
            _ => mesh.collect().await,
        }
    }
    mesh.back().await;
    if !current.is_empty() {
        mesh.cluster.assert_intact(&current).await;
    }
    // In the end no node has anything that nothing refers to, and all that is referred to is there.
    mesh.collect().await;
    mesh.days(8).await;
    let all = CleanupOptions { orphaned: true, force: true, ..CleanupOptions::default() };
    mesh.cluster.client.cleanup(all).await.unwrap();
    mesh.days(8).await;
    mesh.collect().await;
    if !current.is_empty() {
        mesh.cluster.assert_intact(&current).await;
    }
    let mut live: BTreeSet<SegmentId> = BTreeSet::new();
    for path in newest.keys() {
        live.extend(mesh.segments(path.as_str()).await);
    }
    for node in &mesh.cluster.nodes {
        let usage = node.store.usage().unwrap();
        assert_eq!((usage.trash, usage.trash_asked), (0, 0));
        for (segment, _) in node.store.segments_after(None, 4096) {
            assert!(live.contains(&segment), "{segment} is garbage");
        }
    }
    for segment in live {
        assert!(mesh.held(segment) >= 5, "{segment} has lost shards");
    }
}

#[test]
fn nothing_live_goes_and_nothing_dead_stays_or_comes_back() {
    sim::run_seeds(0..12, scenario);
}
