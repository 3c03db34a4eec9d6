//! Segments of which little is referred to give their slices to fresh ones, whatever breaks off in the
//! middle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datamesh_client::{Cleaned, CleanupOptions, Client, Wanted};
use datamesh_core::{MeshPath, SegmentId};
use datamesh_testkit::{fixtures, sim};

use crate::cluster::Cluster;
use crate::streams::Collected;

const FORCED: CleanupOptions = CleanupOptions {
    orphaned: false,
    duplicates: false,
    low_health: false,
    dry_run: false,
    force: true,
    keep: None,
    younger_than_ms: None,
};

fn small(count: u64, size: usize) -> BTreeMap<MeshPath, Vec<u8>> {
    let file = |n| (format!("small/{n:03}").parse().unwrap(), fixtures::noise(n, size));
    (0..count).map(file).collect()
}

/// Removes all files but every tenth, and returns those that stay.
async fn thin_out(
    cluster: &Cluster,
    files: &BTreeMap<MeshPath, Vec<u8>>,
) -> BTreeMap<MeshPath, Vec<u8>> {
    let (kept, gone): (Vec<_>, Vec<_>) = files.iter().enumerate().partition(|(n, _)| n % 10 == 0);
    let gone: Vec<String> = gone.into_iter().map(|(_, (path, _))| path.to_string()).collect();
    cluster.client.remove(&gone).await.unwrap();
    kept.into_iter().map(|(_, (path, bytes))| (path.clone(), bytes.clone())).collect()
}

async fn segments(client: &Client) -> BTreeSet<SegmentId> {
    client.all_segments().await.unwrap().into_iter().collect()
}

async fn assert_read(client: &Client, files: &BTreeMap<MeshPath, Vec<u8>>) {
    let mut sink = Collected::default();
    let report = client.get(Wanted::Below(None), &mut sink, None).await.unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert!(sink.files == *files, "what came back is not what was stored");
}

#[test]
fn a_segment_of_which_little_is_left_moves_and_gives_its_room_back() {
    sim::run(31, |world| async move {
        let cluster = Cluster::seven(&world);
        let files = small(60, 60_000);
        cluster.put(&files).await;
        let before = segments(&cluster.client).await;
        let kept = thin_out(&cluster, &files).await;
        // What is there can still be taken back: nothing is sparse yet.
        let early = CleanupOptions { force: false, ..FORCED };
        assert_eq!(cluster.client.cleanup(early).await.unwrap().repacked.sparse, 0);
        let look = CleanupOptions { dry_run: true, ..FORCED };
        assert_eq!(cluster.client.cleanup(look).await.unwrap().deleted.versions, 54);
        assert_eq!(segments(&cluster.client).await, before);
        let Cleaned { repacked, .. } = cluster.client.cleanup(FORCED).await.unwrap();
        assert_eq!((repacked.sparse, repacked.small), (1, 0), "{repacked:?}");
        assert!(repacked.live_bytes >= 360_000 && repacked.live_bytes < 370_000, "{repacked:?}");
        assert_eq!((repacked.rewritten.versions, repacked.rewritten.made), (6, 1));
        assert_eq!(repacked.rewritten.unreferenced, 1);
        assert_eq!(repacked.rewritten.released.shards, 6);
        let after = segments(&cluster.client).await;
        assert_eq!(after.len(), 1);
        assert!(after.is_disjoint(&before));
        cluster.assert_intact(&kept).await;
        assert_read(&cluster.forgetful(0xC7), &kept).await;
        // It is done: another time there is nothing to do, and the same content is found again.
        assert_eq!(cluster.client.cleanup(FORCED).await.unwrap().repacked, Default::default());
        let again = kept.values().next().unwrap();
        let copy = BTreeMap::from([("copy".parse().unwrap(), again.clone())]);
        assert_eq!(cluster.put(&copy).await.known_bytes, 60_000);
        assert_eq!(segments(&cluster.client).await, after);
    });
}

#[test]
fn segments_of_lone_small_files_are_merged() {
    sim::run(32, |world| async move {
        let cluster = Cluster::seven(&world);
        let files = small(12, 20_000);
        for (path, bytes) in &files {
            cluster.put(&BTreeMap::from([(path.clone(), bytes.clone())])).await;
        }
        assert_eq!(segments(&cluster.client).await.len(), 12);
        let look = CleanupOptions { dry_run: true, ..FORCED };
        let looked = cluster.client.cleanup(look).await.unwrap().repacked;
        assert_eq!((looked.small, looked.rewritten.versions), (12, 0));
        let repacked = cluster.client.cleanup(FORCED).await.unwrap().repacked;
        assert_eq!((repacked.small, repacked.rewritten.made), (12, 1));
        assert_eq!(repacked.rewritten.unreferenced, 12);
        assert_eq!(segments(&cluster.client).await.len(), 1);
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn a_cleanup_that_breaks_off_anywhere_loses_nothing_and_the_next_ends_it() {
    for (number, after) in [0, 3, 6, 10, 15, 20, 30, 40, 60, 80, 120, 200].into_iter().enumerate() {
        sim::run(300 + number as u64, move |world| async move {
            let cluster = Cluster::seven(&world);
            let files = small(50, 50_000);
            cluster.put(&files).await;
            let kept = thin_out(&cluster, &files).await;
            let deleted = Duration::from_millis(after);
            let _ = tokio::time::timeout(deleted, cluster.client.cleanup(FORCED)).await;
            cluster.assert_intact(&kept).await;
            assert_read(&cluster.forgetful(0xC8), &kept).await;
            // What was left in the middle is found.
            let all = CleanupOptions { orphaned: true, ..FORCED };
            for _ in 0..2 {
                cluster.client.cleanup(all).await.unwrap();
            }
            cluster.assert_intact(&kept).await;
            let live = segments(&cluster.client).await;
            assert_eq!(live.len(), 1);
            // A row of what never reached a node stays for its time; nothing else does.
            for orphan in cluster.client.catalog().journal().orphans(None, 100).unwrap() {
                let held = |node: &crate::cluster::Node| node.store.held(orphan.segment);
                assert!(cluster.nodes.iter().all(|node| held(node) == 0), "{orphan:?}");
            }
        });
    }
}

#[test]
fn content_that_was_stored_more_than_once_is_kept_once() {
    sim::run(33, |world| async move {
        let cluster = Cluster::seven(&world);
        let bytes = fixtures::noise(1, 5_000_000);
        let files: Vec<BTreeMap<MeshPath, Vec<u8>>> = ["a", "b", "c"]
            .iter()
            .map(|name| BTreeMap::from([(name.parse().unwrap(), bytes.clone())]))
            .collect();
        let (a, b, c) =
            futures::join!(cluster.put(&files[0]), cluster.put(&files[1]), cluster.put(&files[2]));
        assert_eq!(a.known_bytes + b.known_bytes + c.known_bytes, 0);
        let before = segments(&cluster.client).await;
        assert_eq!(before.len(), 6);
        let look = CleanupOptions { duplicates: true, dry_run: true, ..FORCED };
        let looked = cluster.client.cleanup(look).await.unwrap().duplicates;
        assert_eq!((looked.slices, looked.rewritten.versions), (4, 0));
        assert!(looked.bytes >= 10_000_000);
        let all = CleanupOptions { duplicates: true, ..FORCED };
        let merged = cluster.client.cleanup(all).await.unwrap().duplicates;
        assert_eq!((merged.slices, merged.kept, merged.rewritten.unreferenced), (4, 0, 4));
        assert_eq!(merged.rewritten.released.segments, 4);
        let after = segments(&cluster.client).await;
        assert_eq!(after.len(), 2);
        assert!(after.is_subset(&before));
        let whole: BTreeMap<MeshPath, Vec<u8>> = files.into_iter().flatten().collect();
        cluster.assert_intact(&whole).await;
        assert_eq!(cluster.client.cleanup(all).await.unwrap().duplicates, Default::default());
        // Any of them may go.
        for gone in ["a", "b"] {
            cluster.client.remove(&[gone.to_owned()]).await.unwrap();
        }
        let cleaned = cluster.client.cleanup(FORCED).await.unwrap();
        assert_eq!((cleaned.deleted.versions, cleaned.deleted.unreferenced), (2, 0));
        let c: MeshPath = "c".parse().unwrap();
        cluster.assert_intact(&BTreeMap::from([(c, bytes)])).await;
    });
}

#[test]
fn files_that_lack_shards_are_named_and_mended() {
    sim::run(34, |world| async move {
        let cluster = Cluster::seven(&world);
        let files = BTreeMap::from([("file".parse().unwrap(), fixtures::noise(1, 700_000))]);
        cluster.put(&files).await;
        let whole = CleanupOptions { low_health: true, ..FORCED };
        assert_eq!(cluster.client.cleanup(whole).await.unwrap().low_health, Default::default());
        let holder = cluster.holders(&"file".parse().unwrap()).await[0];
        let rest = cluster.nodes.iter().map(|node| node.id).filter(|id| *id != holder);
        let rest: Vec<_> = rest.chain([datamesh_core::NodeId([0xC1; 32])]).collect();
        cluster.world.partition(&[&rest, &[holder]]);
        let look = CleanupOptions { low_health: true, dry_run: true, ..FORCED };
        let low = cluster.client.cleanup(look).await.unwrap().low_health;
        assert_eq!((low.count, low.unreadable, low.rebuilt), (1, 0, 0));
        assert_eq!((low.files[0].margin, low.files[0].mended), (Some(1), None));
        let low = cluster.client.cleanup(whole).await.unwrap().low_health;
        assert_eq!((low.count, low.unreadable, low.rebuilt), (1, 0, 1), "{low:?}");
        assert_eq!((low.files[0].margin, low.files[0].mended), (Some(1), Some(2)), "{low:?}");
        assert_eq!(cluster.client.cleanup(whole).await.unwrap().low_health, Default::default());
        cluster.assert_intact(&files).await;
    });
}
