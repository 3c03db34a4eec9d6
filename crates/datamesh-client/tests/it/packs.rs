//! Small files of concurrent puts share segments, and what that costs and does not cost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use datamesh_catalog::AccountDb;
use datamesh_client::{Client, ClientError, PutOptions, PutReport};
use datamesh_core::stream::{EntryHead, Piece, Source, StreamError};
use datamesh_core::{BoxFuture, MeshPath, Scheme, SegmentId};
use datamesh_testkit::sim::Lie;
use datamesh_testkit::{fixtures, sim};
use futures::future::{AbortHandle, abortable, join_all};
use tokio::sync::Notify;

use crate::cluster::{Cluster, single};
use crate::streams::Files;

type Tree = BTreeMap<MeshPath, Vec<u8>>;

fn tree(name: &str, seed: u64, size: usize) -> Tree {
    BTreeMap::from([(name.parse().unwrap(), fixtures::noise(seed, size))])
}

async fn put(client: &Client, files: &Tree) -> PutReport {
    client.put(&mut Files::new(files), &PutOptions::default(), None).await.unwrap()
}

/// The segments that versions of these files have slices in.
async fn segments(cluster: &Cluster, files: &Tree) -> BTreeSet<SegmentId> {
    let mut found = BTreeSet::new();
    for path in files.keys() {
        let version = cluster.client.resolve(path.as_str(), None).await.unwrap();
        let placed = cluster.client.placement(version.put().unwrap()).await.unwrap();
        found.extend(placed.iter().map(|segment| segment.segment));
    }
    found
}

/// The orphans that a program finds which follows this one, as if this was killed now.
fn left_behind(cluster: &Cluster) -> Vec<SegmentId> {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(cluster.folder()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let owner = cluster.client.catalog().owner();
    let db = AccountDb::open(&copy.path().join("catalog.db"), owner).unwrap();
    db.journal().orphans(None, 100).unwrap().iter().map(|orphan| orphan.segment).collect()
}

/// A source that gives its files, and its end only when it is told to.
struct Stuck(Files, Arc<Notify>);

impl Source for Stuck {
    fn next_entry(&mut self) -> BoxFuture<'_, Result<Option<EntryHead>, StreamError>> {
        Box::pin(async {
            match self.0.next_entry().await? {
                Some(head) => Ok(Some(head)),
                None => {
                    self.1.notified().await;
                    Ok(None)
                }
            }
        })
    }

    fn next_piece(&mut self) -> BoxFuture<'_, Result<Piece, StreamError>> {
        self.0.next_piece()
    }
}

/// Begins something of the client's, which may be given up in the middle.
fn begin(cluster: &Cluster, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    let (task, handle) = abortable(task);
    let executor = Arc::clone(cluster.client.engine().executor());
    executor.spawn(Box::pin(async move { _ = task.await }));
    handle
}

/// A put that has handed its files over and waits to be told of its end.
async fn stuck(cluster: &Arc<Cluster>, files: &Tree) -> (AbortHandle, Arc<Notify>) {
    // So that the put has nothing to ask the mesh before it begins.
    cluster.client.catch_up_once().await.unwrap();
    let end = Arc::new(Notify::new());
    let mut source = Stuck(Files::new(files), Arc::clone(&end));
    let of = Arc::clone(cluster);
    let handle = begin(cluster, async move {
        drop(of.client.put(&mut source, &PutOptions::default(), None).await);
    });
    settled().await;
    (handle, end)
}

/// Lets everybody do what can be done without waiting for a node.
async fn settled() {
    tokio::time::sleep(Duration::from_nanos(1)).await;
}

#[test]
fn puts_at_the_same_time_share_segments_and_it_replays() {
    sim::assert_replays(60, |world| async move {
        let cluster = Cluster::seven(&world);
        let trees: Vec<Tree> =
            (0..12).map(|i| tree(&format!("file {i}"), i, 20_000 + 5000 * i as usize)).collect();
        let reports = join_all(trees.iter().map(|files| put(&cluster.client, files))).await;
        let mut all = Tree::new();
        for (files, report) in trees.into_iter().zip(&reports) {
            assert!(report.failed.is_empty() && report.stopped.is_none());
            assert_eq!((report.stored.len(), report.stored[0].owed), (1, 0));
            all.extend(files);
        }
        // The first goes alone and at once, the others together when it has landed.
        assert_eq!(segments(&cluster, &all).await.len(), 2);
        let stored: BTreeSet<SegmentId> = segments(&cluster, &all).await;
        for node in &cluster.nodes {
            assert!(stored.iter().any(|segment| node.store.held(*segment) != 0));
        }
        cluster.assert_intact(&all).await;
        assert_eq!(left_behind(&cluster), []);
    });
}

#[test]
fn puts_one_after_another_do_not_wait_for_company() {
    sim::run(61, |world| async move {
        let cluster = Cluster::seven(&world);
        let mut all = Tree::new();
        for i in 0..3 {
            let files = tree(&format!("file {i}"), i, 64 * 1024);
            assert!(put(&cluster.client, &files).await.failed.is_empty());
            all.extend(files);
        }
        assert_eq!(segments(&cluster, &all).await.len(), 3);
        cluster.assert_intact(&all).await;
        assert_eq!(left_behind(&cluster), []);
    });
}

#[test]
fn many_small_files_of_many_puts_fill_segments() {
    sim::run(62, |world| async move {
        let cluster = Cluster::seven(&world);
        let trees: Vec<Tree> = (0..6)
            .map(|i| {
                let file = |j: u64| {
                    let path = format!("{i}/{j}").parse().unwrap();
                    (path, fixtures::noise(i * 100 + j, 150_000))
                };
                (0..20).map(file).collect()
            })
            .collect();
        let reports = join_all(trees.iter().map(|files| put(&cluster.client, files))).await;
        assert!(reports.iter().all(|report| report.failed.is_empty()));
        let all: Tree = trees.into_iter().flatten().collect();
        // 18 MB in segments of 4 MiB; the puts' own ends cost a few more.
        let count = segments(&cluster, &all).await.len();
        assert!((5..=8).contains(&count), "{count} segments");
        cluster.assert_intact(&all).await;
        assert_eq!(left_behind(&cluster), []);
    });
}

#[test]
fn a_put_of_another_scheme_has_packs_of_its_own() {
    sim::run(63, |world| async move {
        let cluster = Cluster::seven(&world);
        let (one, other) = (tree("one", 1, 50_000), tree("other", 2, 50_000));
        let options = PutOptions { scheme: Some(Scheme::new(1, 2).unwrap()), ..Default::default() };
        let mut source = Files::new(&other);
        let (first, second) = futures::future::join(
            put(&cluster.client, &one),
            cluster.client.put(&mut source, &options, None),
        )
        .await;
        assert!(first.failed.is_empty() && second.unwrap().failed.is_empty());
        let all: Tree = one.into_iter().chain(other).collect();
        assert_eq!(segments(&cluster, &all).await.len(), 2);
        cluster.assert_intact(&all).await;
    });
}

#[test]
fn a_put_that_goes_away_takes_its_own_slices_alone() {
    sim::run(64, |world| async move {
        let cluster = Arc::new(Cluster::seven(&world));
        // Both wait in the pack that is being filled, the one that goes away before the other.
        let (gone, kept) = (tree("gone", 1, 170_000), tree("kept", 2, 300_000));
        let (task, _) = stuck(&cluster, &gone).await;
        let (_, end) = stuck(&cluster, &kept).await;
        task.abort();
        settled().await;
        end.notify_one();
        tokio::time::sleep(Duration::from_secs(5)).await;
        cluster.assert_intact(&kept).await;
        assert!(cluster.client.resolve("gone", None).await.is_err());
        // What it had not sent is in no segment.
        let held: BTreeSet<SegmentId> = segments(&cluster, &kept).await;
        let segment = *held.first().unwrap();
        let mut descriptors =
            cluster.nodes.iter().filter_map(|node| node.store.descriptor(segment).ok());
        let length = descriptors.next().unwrap().length;
        assert!((300_000..340_000).contains(&length), "{length}");
        assert_eq!(left_behind(&cluster), []);
    });
}

#[test]
fn a_put_that_goes_away_while_its_pack_is_on_its_way_stalls_nobody() {
    sim::run(65, |world| async move {
        let cluster = Arc::new(Cluster::seven(&world));
        let gone = tree("gone", 1, 170_000);
        let (task, _) = stuck(&cluster, &gone).await;
        // Waits for the pack that both are in, which is sent at once.
        let (kept, later) = (tree("kept", 2, 50_000), tree("later", 3, 40_000));
        let first = put(&cluster.client, &kept);
        let second = async {
            settled().await;
            task.abort();
            put(&cluster.client, &later).await
        };
        let (first, second) = futures::future::join(first, second).await;
        assert!(first.failed.is_empty() && second.failed.is_empty());
        let shared = segments(&cluster, &kept).await;
        let mut descriptors = cluster
            .nodes
            .iter()
            .filter_map(|node| node.store.descriptor(*shared.first().unwrap()).ok());
        assert!(descriptors.next().unwrap().length > 220_000, "it was on its way");
        let all: Tree = kept.into_iter().chain(later).collect();
        cluster.assert_intact(&all).await;
        assert_eq!(segments(&cluster, &all).await.len(), 2);
        assert!(cluster.client.resolve("gone", None).await.is_err());
        assert_eq!(left_behind(&cluster), []);
    });
}

#[test]
fn a_pack_that_fails_fails_each_of_its_files_in_its_own_put() {
    sim::run(66, |world| async move {
        let cluster = Cluster::seven(&world);
        for node in &cluster.nodes[..4] {
            node.liar.set(Lie::Refuse(datamesh_core::message::Refusal::Full));
        }
        let trees: Vec<Tree> = (0..4).map(|i| tree(&format!("file {i}"), i, 30_000)).collect();
        let reports = join_all(trees.iter().map(|files| put(&cluster.client, files))).await;
        for (files, report) in trees.iter().zip(&reports) {
            assert!(report.stored.is_empty());
            assert!(matches!(report.stopped, Some(ClientError::Write(_))), "{:?}", report.stopped);
            let [failure] = &report.failed[..] else { panic!("{:?}", report.failed) };
            assert_eq!(Some(&failure.path), files.keys().next());
            assert!(failure.reason.contains("a commit needs"), "{}", failure.reason);
        }
        // What nodes did take is named for whoever releases it: two packs, as before. Four of seven refuse heads
        // too, so that nobody knows enough to release anything.
        assert!(cluster.client.give_back_left().await.is_err());
        assert_eq!(left_behind(&cluster).len(), 2);
        assert_eq!(cluster.client.catalog().journal().orphans(None, 100).unwrap().len(), 2);

        for node in &cluster.nodes {
            node.liar.set(Lie::None);
        }
        assert_eq!(cluster.client.give_back_left().await.unwrap(), 2);
        assert_eq!(left_behind(&cluster), []);
        let again = single(50_000);
        assert!(put(&cluster.client, &again).await.failed.is_empty());
        cluster.assert_intact(&again).await;
        assert_eq!(left_behind(&cluster), [], "a finished put leaves no row");
    });
}

#[test]
fn what_a_refused_put_left_is_given_back_at_once() {
    sim::run(68, |world| async move {
        let cluster = Cluster::seven(&world);
        // They keep what they are sent, and nobody can believe them.
        for node in &cluster.nodes[..3] {
            node.liar.set(Lie::ForgeReceipt);
        }
        let report = put(&cluster.client, &single(1_000_000)).await;
        assert!(matches!(report.stopped, Some(ClientError::Write(_))), "{:?}", report.stopped);
        for node in &cluster.nodes {
            assert_eq!(node.store.segments_after(None, 10), []);
        }
        assert!(cluster.nodes.iter().any(|node| !node.store.trash_after(None, 1).is_empty()));
        assert_eq!(left_behind(&cluster), []);
    });
}

#[test]
fn a_program_that_ends_between_storing_and_committing_leaves_the_segments_name() {
    sim::run(67, |world| async move {
        let cluster = Arc::new(Cluster::seven(&world));
        // At least four of six shards are taken, the others never answered.
        for node in &cluster.nodes[..2] {
            node.liar.set(Lie::Stall);
        }
        for (size, count) in [(70_000, 1), (5_000_000, 2)] {
            let before = left_behind(&cluster);
            let of = Arc::clone(&cluster);
            let task = begin(&cluster, async move {
                put(&of.client, &single(size)).await;
            });
            tokio::time::sleep(Duration::from_secs(3)).await;
            let mut found = left_behind(&cluster);
            found.retain(|segment| !before.contains(segment));
            assert_eq!(found.len(), count);
            let orphans = cluster.client.catalog().journal().orphans(None, 100).unwrap();
            for segment in found {
                let holding = cluster.nodes.iter().filter(|node| node.store.held(segment) != 0);
                assert!(holding.count() >= 4);
                // To this run it is no orphan.
                assert!(orphans.iter().all(|orphan| orphan.segment != segment));
            }
            task.abort();
        }
    });
}
