//! Audits in a simulated mesh: who drops shards and claims them is flagged, and nobody else is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use datamesh_catalog::{NodeDb, NodeLimits};
use datamesh_client::{GetItem, Wanted};
use datamesh_core::message::{Refusal, Reply, Request};
use datamesh_core::{BoxFuture, MeshPath, Message, NodeId, SegmentId, Service, wire};
use datamesh_engine::audit::{Auditor, AuditorParts, Outcome};
use datamesh_engine::scrub::{Scrubber, ScrubberParts, recall_damaged};
use datamesh_engine::{Engine, EngineParts, Finding, Findings};
use datamesh_store::{Owner, ShardState, Store, StoreConfig, number_of};
use datamesh_testkit::fixtures::noise;
use datamesh_testkit::sim::{self, Lie, World};

use crate::cluster::{Cluster, Node, Shape};
use crate::streams::Collected;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Keeps what was found.
#[derive(Default)]
struct Found(Mutex<Vec<Finding>>);

impl Found {
    fn all(&self) -> Vec<Finding> {
        self.0.lock().unwrap().clone()
    }
}

impl Findings for Found {
    fn take(&self, finding: Finding) {
        self.0.lock().unwrap().push(finding);
    }
}

/// A service that goes on claiming what its node held once.
struct Claimant {
    inner: Arc<dyn Service>,
    claims: BTreeMap<SegmentId, u32>,
}

impl Service for Claimant {
    fn serve(&self, peer: NodeId, request: Message) -> BoxFuture<'_, Message> {
        Box::pin(async move {
            let asked = wire::decode::<Request>(&request.head);
            let honest = self.inner.serve(peer, request).await;
            let Ok(Request::Have(segments)) = asked else { return honest };
            let claim = |id| self.claims.get(id).copied().unwrap_or(0);
            let reply = Reply::Holding(segments.iter().map(claim).collect());
            Message { head: reply.to_head(), body: Bytes::new() }
        })
    }

    fn admit(&self, peer: NodeId, head: &Bytes, body: usize) -> Result<usize, Message> {
        self.inner.admit(peer, head, body)
    }
}

/// A service that answers at once, but challenges of audits too late, not at all now, or well.
struct Slow {
    inner: Arc<dyn Service>,
    asked: AtomicU64,
}

impl Service for Slow {
    fn serve(&self, peer: NodeId, request: Message) -> BoxFuture<'_, Message> {
        Box::pin(async move {
            if matches!(wire::decode(&request.head), Ok(Request::Audit { .. })) {
                match self.asked.fetch_add(1, Ordering::Relaxed) % 3 {
                    0 => tokio::time::sleep(Duration::from_secs(60)).await,
                    1 => {
                        let (refusal, detail) = (Refusal::Busy, String::new());
                        let head = Reply::Refused { refusal, detail }.to_head();
                        return Message { head, body: Bytes::new() };
                    }
                    _ => {}
                }
            }
            self.inner.serve(peer, request).await
        })
    }

    fn admit(&self, peer: NodeId, head: &Bytes, body: usize) -> Result<usize, Message> {
        self.inner.admit(peer, head, body)
    }
}

/// Everything that a node holds.
fn held(node: &Node) -> BTreeMap<SegmentId, u32> {
    node.store.segments_after(None, usize::MAX).into_iter().collect()
}

/// Makes the cells of a shard rot on a node's disk.
fn rot(node: &Node, segment: SegmentId, shard: u8) {
    let cells = node.store.read_shard(segment, shard).unwrap().cells;
    for name in node.disk.names().into_iter().filter(|name| number_of(name).is_some()) {
        let bytes = node.disk.contents(&name).unwrap();
        if let Some(at) = bytes.windows(64).position(|window| window == &cells[..64]) {
            node.disk.flip(&name, 8 * at as u64 + 5);
            return;
        }
    }
    panic!("the shard is in no pack");
}

fn shards(held: &BTreeMap<SegmentId, u32>) -> Vec<(SegmentId, u8)> {
    let bits = |mask: u32| (0..24u8).filter(move |shard| mask & (1 << shard) != 0);
    held.iter().flat_map(|(id, mask)| bits(*mask).map(|shard| (*id, shard))).collect()
}

/// A mesh with many segments and an auditor on each node.
struct Audited {
    cluster: Cluster,
    auditors: Vec<Arc<Auditor>>,
    found: Arc<Found>,
    /// Segments that each node audited.
    segments: Vec<Arc<AtomicU64>>,
}

impl Audited {
    async fn new(world: &World, nodes: usize, files: u64, period: Duration) -> Self {
        let cluster = Cluster::new(world, &Shape { nodes, ..Shape::default() });
        for file in 0..files {
            let path: MeshPath = format!("files/{file}").parse().unwrap();
            let report = cluster.put(&BTreeMap::from([(path, noise(file, 9_000))])).await;
            assert_eq!(report.stored.len(), 1, "{:?}", report.failed);
        }
        let found = Arc::new(Found::default());
        let auditors = cluster
            .nodes
            .iter()
            .map(|node| {
                Arc::new(Auditor::new(AuditorParts {
                    engine: Arc::clone(&node.engine),
                    store: Arc::clone(&node.store),
                    findings: Arc::clone(&found) as Arc<dyn Findings>,
                    period,
                    rate: 8 << 20,
                }))
            })
            .collect();
        let segments = (0..nodes).map(|_| Arc::default()).collect();
        Self { cluster, auditors, found, segments }
    }

    /// Lets every node audit for one period and a little, as a node's worker does, with the members
    /// hearing of each other as they do by gossip.
    async fn one_period(&self, world: &World, period: Duration) {
        for (number, node) in self.cluster.nodes.iter().enumerate() {
            let auditor = Arc::clone(&self.auditors[number]);
            let (engine, segments) = (Arc::clone(&node.engine), Arc::clone(&self.segments[number]));
            world.executor(node.id).spawn(Box::pin(async move {
                loop {
                    let turn = auditor.turn().await;
                    segments.fetch_add(turn.segments, Ordering::Relaxed);
                    tokio::time::sleep(auditor.pause()).await;
                    engine.look_around().await;
                }
            }));
        }
        tokio::time::sleep(period + period / 32).await;
    }

    /// Who flags whom.
    fn flags(&self) -> BTreeMap<NodeId, BTreeSet<NodeId>> {
        let mut flags: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
        for (node, auditor) in self.cluster.nodes.iter().zip(&self.auditors) {
            for flagged in auditor.status().flagged {
                flags.entry(flagged).or_default().insert(node.id);
            }
        }
        flags
    }

    /// Challenges of all nodes that came to this, over the last period.
    fn count(&self, outcome: Outcome) -> u64 {
        let counts = self.auditors.iter().map(|auditor| auditor.status().counts);
        counts.map(|counts| counts.outcomes.get(&outcome).copied().unwrap_or(0)).sum()
    }

    fn admitted(&self) -> u64 {
        self.auditors.iter().map(|auditor| auditor.status().counts.admitted).sum()
    }
}

#[test]
fn a_node_that_drops_a_tenth_and_claims_it_is_flagged_within_a_day_and_nobody_else_is() {
    sim::run(500, |world| async move {
        let audited = Audited::new(&world, 7, 130, DAY).await;
        let dropper = &audited.cluster.nodes[3];
        let claims = held(dropper);
        let dropped: Vec<(SegmentId, u8)> = shards(&claims).into_iter().step_by(10).collect();
        assert!(dropped.len() >= 12, "{}", dropped.len());
        for (segment, shard) in &dropped {
            rot(dropper, *segment, *shard);
        }
        let inner = Arc::clone(&dropper.liar) as Arc<dyn Service>;
        world.serve(dropper.id, Arc::new(Claimant { inner, claims }));
        audited.one_period(&world, DAY).await;

        let flags = audited.flags();
        let flagged: Vec<NodeId> = flags.keys().copied().collect();
        assert_eq!(flagged, [dropper.id], "{flags:?}");
        // What was handed on is what was dropped: a shard that is well is nobody's fault.
        let unproven: BTreeSet<(SegmentId, u8)> = audited
            .found
            .all()
            .into_iter()
            .map(|finding| match finding {
                Finding::Unproven { segment, shard, node, admitted: false, .. }
                    if node == dropper.id =>
                {
                    (segment, shard)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        let dropped: BTreeSet<(SegmentId, u8)> = dropped.into_iter().collect();
        assert!(unproven.is_subset(&dropped));
        // Its own turns as an auditor are the ones that it can keep for itself.
        assert!(unproven.len() * 3 >= dropped.len() * 2, "{} of {}", unproven.len(), dropped.len());
        assert_eq!(audited.count(Outcome::Corrupt) + audited.count(Outcome::Refused), 0);
    });
}

#[test]
fn each_segment_is_audited_once_in_a_period_by_one_of_its_holders() {
    sim::run(501, |world| async move {
        let period = Duration::from_secs(3600);
        let audited = Audited::new(&world, 8, 60, period).await;
        audited.one_period(&world, period).await;
        let mut segments = BTreeSet::new();
        for node in &audited.cluster.nodes {
            segments.extend(held(node).into_keys());
        }
        let done: Vec<u64> =
            audited.segments.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let (most, done) = (done.iter().max().unwrap(), done.iter().sum::<u64>());
        // The period ends a little after its beginning, so some had a second turn.
        let least = segments.len() as u64;
        assert!((least..=least + least / 8).contains(&done), "{done} of {least}");
        assert!(*most < least / 3, "one node did {most} of {least}");
        let peers = audited.auditors.iter().flat_map(|auditor| auditor.status().peers);
        assert_eq!(peers.map(|peer| peer.ok).sum::<u64>(), 5 * done, "five others hold each");
        assert!(audited.found.all().is_empty());
    });
}

#[test]
fn a_node_whose_answers_are_false_is_flagged() {
    sim::run(502, |world| async move {
        let period = Duration::from_secs(3600);
        let audited = Audited::new(&world, 7, 20, period).await;
        let liar = &audited.cluster.nodes[2];
        liar.liar.set(Lie::FlipBodyBit);
        audited.one_period(&world, period).await;
        assert!(liar.liar.told() > 0);
        let flags = audited.flags();
        assert_eq!(flags.keys().copied().collect::<Vec<_>>(), [liar.id]);
        assert!(audited.count(Outcome::Corrupt) > 0);
    });
}

#[test]
fn slow_busy_and_silent_nodes_are_never_flagged() {
    sim::run(503, |world| async move {
        let period = Duration::from_secs(3600);
        let audited = Audited::new(&world, 9, 40, period).await;
        let nodes = &audited.cluster.nodes;
        for node in &nodes[..3] {
            let inner = Arc::clone(&node.liar) as Arc<dyn Service>;
            world.serve(node.id, Arc::new(Slow { inner, asked: AtomicU64::new(0) }));
        }
        // Messages to and from this one take long, and some are lost.
        let delay = Duration::from_secs(4);
        world.set_fault(nodes[4].id, sim::NetFault { delay, loss: 50, ..sim::NetFault::default() });
        world.kill(nodes[3].id);
        audited.one_period(&world, period).await;
        assert!(audited.flags().is_empty(), "{:?}", audited.flags());
        assert!(audited.count(Outcome::Ok) > 0);
        assert!(audited.count(Outcome::Busy) > 0 && audited.count(Outcome::Timeout) > 0);
        assert!(audited.found.all().is_empty(), "{:?}", audited.found.all());
    });
}

#[test]
fn a_loss_that_a_node_admits_is_handed_on_and_costs_nothing() {
    sim::run(504, |world| async move {
        let period = Duration::from_secs(3600);
        let audited = Audited::new(&world, 7, 40, period).await;
        let unlucky = &audited.cluster.nodes[1];
        let rotten: BTreeSet<(SegmentId, u8)> =
            shards(&held(unlucky)).into_iter().step_by(3).collect();
        for (segment, shard) in &rotten {
            rot(unlucky, *segment, *shard);
        }
        audited.one_period(&world, period).await;
        assert!(audited.flags().is_empty());
        assert!(audited.admitted() as usize * 2 > rotten.len(), "{}", audited.admitted());
        for finding in audited.found.all() {
            let Finding::Unproven { segment, shard, node, admitted: true, .. } = finding else {
                panic!("{finding:?}")
            };
            assert!(node == unlucky.id && rotten.contains(&(segment, shard)));
            // Its own eyes have seen it.
            let state = unlucky.store.shard_state(segment, shard);
            assert_eq!(state, Some(ShardState::Damaged));
        }
    });
}

#[test]
fn what_a_reader_finds_is_reported_to_the_holder_who_looks_for_itself() {
    sim::run(505, |world| async move {
        let cluster = Cluster::seven(&world);
        let files = crate::cluster::single(3_000_000);
        cluster.put(&files).await;
        let (path, bytes) = files.first_key_value().unwrap();
        let version = cluster.client.resolve(path.as_str(), None).await.unwrap();
        let placed = cluster.client.placement(version.put().unwrap()).await.unwrap();
        let segment = placed[0].segment;
        // Two data shards: one rots, one is served falsely by a node whose disk is well.
        let holder = |shard: u8| {
            let (_, id) = placed[0].holders.iter().find(|(held, _)| *held == shard).unwrap();
            cluster.nodes.iter().find(|node| node.id == *id).unwrap()
        };
        let (rotten, lying) = (holder(0), holder(1));
        rot(rotten, segment, 0);
        lying.liar.set(Lie::FlipBodyBit);
        let mut sink = Collected::default();
        let put = Box::new(version.put().unwrap().clone());
        let item = GetItem { put, path: path.clone(), range: None };
        let report = cluster.client.get(Wanted::One(item), &mut sink, None).await.unwrap();
        assert!(sink.files[path] == *bytes);
        let blamed: BTreeSet<NodeId> = report.faults.iter().map(|fault| fault.node).collect();
        assert_eq!(blamed, BTreeSet::from([rotten.id, lying.id]));
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(rotten.store.shard_state(segment, 0), Some(ShardState::Damaged));
        assert_eq!(lying.store.shard_state(segment, 1), Some(ShardState::Held));
    });
}

/// Bits of a store's identity that another opening needs.
fn reopen(world: &World, node: &Node) -> Arc<Store> {
    let id = node.store.id();
    node.disk.kill();
    let config = StoreConfig { capacity: 1 << 29, reserve_min: 0, pack_bytes: 1 << 20 };
    let owner = Owner { node: node.id, store: Some(id) };
    Store::open(node.disk.mount(), config, &owner, &*world.entropy(node.id)).unwrap()
}

#[test]
fn a_scrub_finds_rot_within_its_period_and_a_restart_remembers_it() {
    sim::run(506, |world| async move {
        let cluster = Cluster::new(&world, &Shape { pack_bytes: 1 << 20, ..Shape::default() });
        let files = crate::cluster::files();
        cluster.put(&files).await;
        let node = &cluster.nodes[0];
        let all = shards(&held(node));
        let rotten: Vec<(SegmentId, u8)> = all.iter().copied().step_by(2).collect();
        for (segment, shard) in &rotten {
            rot(node, *segment, *shard);
        }
        let folder = tempfile::tempdir().unwrap();
        let open_db =
            || Arc::new(NodeDb::open(&folder.path().join("n.db"), NodeLimits::default()).unwrap());
        let scrubber = |store: Arc<Store>, db: Arc<NodeDb>, found: Arc<Found>, period| {
            let engine = Engine::new(EngineParts {
                transport: Arc::clone(node.engine.transport()),
                clock: world.clock(node.id),
                entropy: world.entropy(node.id),
                executor: world.executor(node.id),
                node_db: Some(db),
                genesis: cluster.genesis.clone(),
                offline_after_ms: 300_000,
            });
            let (engine, findings) = (Arc::new(engine), found as Arc<dyn Findings>);
            Scrubber::new(ScrubberParts { engine, store, findings, period, rate: 1 << 20 })
        };
        let found = Arc::new(Found::default());
        let period = Duration::from_secs(1000);
        let first = scrubber(Arc::clone(&node.store), open_db(), Arc::clone(&found), period);
        first.recall().await;
        let begun = world.elapsed();
        while first.status().done * 2 < first.status().total || first.status().total == 0 {
            let pause = first.step().await.unwrap();
            tokio::time::sleep(pause).await;
        }
        // Half of the bytes take about half of the time.
        let half = (world.elapsed() - begun).as_secs_f64();
        assert!((300.0..700.0).contains(&half), "{half}");
        let left = first.status().left_s.unwrap();
        assert!((200.0..900.0).contains(&left), "{left}");
        let before = first.status();
        drop(first);

        // Another process on the same disk: the store knows nothing but what it scans of the open
        // pack, the database does.
        let known = |store: &Store| -> BTreeSet<(SegmentId, u8)> {
            store.damaged_after(None, 4096).iter().map(|d| (d.segment, d.shard)).collect()
        };
        let damaged = known(&node.store);
        assert!(!damaged.is_empty() && damaged.len() < rotten.len(), "{}", damaged.len());
        let store = reopen(&world, node);
        assert!(!damaged.is_subset(&known(&store)), "nothing was forgotten");
        let db = open_db();
        recall_damaged(&store, &db).unwrap();
        assert!(damaged.is_subset(&known(&store)));
        let found = Arc::new(Found::default());
        let second = scrubber(Arc::clone(&store), db, Arc::clone(&found), period);
        second.recall().await;
        assert_eq!(found.all().len(), known(&store).len());
        assert_eq!(second.status().done, before.done);
        while !second.status().complete {
            let pause = second.step().await.unwrap();
            tokio::time::sleep(pause).await;
        }
        let whole = (world.elapsed() - begun).as_secs_f64();
        assert!(whole < 1100.0, "{whole}");
        let told: BTreeSet<(SegmentId, u8)> = found
            .all()
            .iter()
            .map(|finding| match finding {
                Finding::Damaged { segment, shard } => (*segment, *shard),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, rotten.iter().copied().collect());
        let status = second.status();
        assert!(status.last.unwrap().damaged > 0);
        for (segment, shard) in all {
            let state = store.shard_state(segment, shard).unwrap();
            let expected = rotten.contains(&(segment, shard));
            assert_eq!(state == ShardState::Damaged, expected);
        }
    });
}
