//! Content that the account stores already is referred to, not sent again, and lives as long as anything
//! refers to it.

use std::collections::BTreeMap;
use std::time::Duration;

use datamesh_client::{CleanupOptions, PutOptions, PutReport, Retention};
use datamesh_core::{MeshPath, NodeId};
use datamesh_testkit::{fixtures, sim};
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::devices::Device;
use crate::streams::Files;

const SEGMENT: usize = 64 * 65_520;
const NOW: Retention = Retention { keep: 1, younger_than_ms: 0, deleted_for_ms: 0 };

fn one(path: &str, bytes: &[u8]) -> BTreeMap<MeshPath, Vec<u8>> {
    BTreeMap::from([(path.parse().unwrap(), bytes.to_vec())])
}

async fn put(cluster: &Cluster, path: &str, bytes: &[u8]) -> PutReport {
    let report = cluster.put(&one(path, bytes)).await;
    assert!(report.failed.is_empty() && report.stopped.is_none(), "{report:?}");
    report
}

/// Shards on all nodes that are not in the trash.
fn shards(cluster: &Cluster) -> u64 {
    cluster.nodes.iter().map(|node| node.store.usage().unwrap().shards).sum()
}

#[test]
fn content_that_is_there_is_not_sent_again() {
    sim::run(21, |world| async move {
        let cluster = Cluster::seven(&world);
        for (number, size) in
            [5_000, 300_000, SEGMENT, 3 * SEGMENT + 70_000].into_iter().enumerate()
        {
            let bytes = fixtures::noise(number as u64, size);
            assert_eq!(put(&cluster, &format!("{size} first"), &bytes).await.known_bytes, 0);
            let before = shards(&cluster);
            let report = put(&cluster, &format!("{size} again"), &bytes).await;
            assert_eq!(report.known_bytes, size as u64);
            assert_eq!((report.stored[0].known, report.stored[0].owed), (size as u64, 0));
            let protection = report.stored[0].protection.unwrap();
            assert_eq!(protection.margin, 2);
            let pages = before + 6;
            assert!(shards(&cluster) <= pages, "{} shards, {before} before", shards(&cluster));
            cluster.assert_intact(&one(&format!("{size} again"), &bytes)).await;
            let version = cluster.client.resolve(&format!("{size} again"), None).await.unwrap();
            let known = cluster.client.known_bytes(version.put().unwrap()).await.unwrap();
            assert_eq!(known, size as u64);
        }
    });
}

#[test]
fn of_a_large_file_only_the_parts_that_changed_are_sent() {
    sim::run(22, |world| async move {
        let cluster = Cluster::seven(&world);
        let mut bytes = fixtures::noise(1, 4 * SEGMENT + 1000);
        put(&cluster, "file", &bytes).await;
        bytes[2 * SEGMENT + 5] ^= 1;
        let report = put(&cluster, "file", &bytes).await;
        assert_eq!(report.known_bytes, 3 * SEGMENT as u64 + 1000);
        cluster.assert_intact(&one("file", &bytes)).await;
    });
}

#[test]
fn equal_content_of_one_put_is_sent_once() {
    sim::run(23, |world| async move {
        let cluster = Cluster::seven(&world);
        let (small, large) = (fixtures::noise(1, 30_000), vec![7; 6 * SEGMENT]);
        let mut files: BTreeMap<MeshPath, Vec<u8>> = (0..700)
            .map(|number| (format!("same/{number}").parse().unwrap(), small.clone()))
            .collect();
        files.insert("large".parse().unwrap(), large);
        let report = cluster.put(&files).await;
        assert!(report.failed.is_empty() && report.stopped.is_none(), "{:?}", report.stopped);
        assert_eq!(report.stored.len(), 701);
        assert_eq!(report.known_bytes, 699 * 30_000 + 5 * SEGMENT as u64);
        cluster.assert_intact(&files).await;
        let segments = cluster.client.all_segments().await.unwrap();
        // One packed, one of the large file, and its padding.
        assert_eq!(segments.len(), 3);
        let uses = cluster.client.catalog().uses(&segments).unwrap().unwrap();
        assert_eq!(uses.iter().sum::<u64>(), 702);
    });
}

#[test]
fn puts_of_the_same_content_at_once_are_both_right() {
    sim::run_seeds(0..6, |world| async move {
        let cluster = Cluster::seven(&world);
        let bytes = fixtures::noise(1, SEGMENT + 100_000);
        let (a, b, c) = (one("a", &bytes), one("b", &bytes), one("c", &bytes));
        let (a, b, c) = futures::join!(cluster.put(&a), cluster.put(&b), cluster.put(&c));
        for report in [a, b, c] {
            assert!(report.failed.is_empty() && report.stopped.is_none(), "{report:?}");
        }
        // Whichever was sent and whichever refers to another: any two may go.
        for gone in ["a", "b"] {
            cluster.client.remove(&[gone.to_owned()]).await.unwrap();
            cluster.client.purge(&[gone.to_owned()], &NOW, false).await.unwrap();
        }
        cluster.assert_intact(&one("c", &bytes)).await;
        assert_eq!(put(&cluster, "d", &bytes).await.known_bytes, bytes.len() as u64);
    });
}

#[test]
fn what_another_version_refers_to_is_not_released_and_what_none_does_is() {
    sim::run(25, |world| async move {
        let cluster = Cluster::seven(&world);
        let bytes = fixtures::noise(1, 2 * SEGMENT + 1);
        put(&cluster, "first", &bytes).await;
        put(&cluster, "second", &bytes).await;
        cluster.client.remove(&["first".to_owned()]).await.unwrap();
        let purged = cluster.client.purge(&["first".to_owned()], &NOW, false).await.unwrap();
        assert_eq!((purged.versions, purged.shared, purged.unreferenced), (1, 3, 0));
        cluster.assert_intact(&one("second", &bytes)).await;
        // The first is purged: its content is still found through the second.
        assert_eq!(put(&cluster, "third", &bytes).await.known_bytes, bytes.len() as u64);
        for gone in ["second", "third"] {
            cluster.client.remove(&[gone.to_owned()]).await.unwrap();
        }
        let cleaned = cluster.client.cleanup(CleanupOptions { force: true, ..Default::default() });
        let cleaned = cleaned.await.unwrap();
        assert_eq!((cleaned.deleted.versions, cleaned.deleted.unreferenced), (2, 3));
        assert_eq!(cleaned.deleted.released.segments, 3);
        // Released content is renewed while it is in the trash, or sent afresh.
        put(&cluster, "fourth", &bytes).await;
        cluster.assert_intact(&one("fourth", &bytes)).await;
    });
}

#[test]
fn content_that_too_few_nodes_still_have_is_sent_afresh() {
    sim::run(26, |world| async move {
        let cluster = Cluster::seven(&world);
        let bytes = fixtures::noise(1, 400_000);
        put(&cluster, "first", &bytes).await;
        let holders = cluster.holders(&"first".parse().unwrap()).await;
        let away: Vec<NodeId> = holders[..2].to_vec();
        let rest: Vec<NodeId> = cluster
            .nodes
            .iter()
            .map(|node| node.id)
            .chain([NodeId([0xC1; 32])])
            .filter(|id| !away.contains(id))
            .collect();
        cluster.world.partition(&[&rest, &away]);
        let options = PutOptions { allow_degraded: true, ..PutOptions::default() };
        let second = one("second", &bytes);
        let report = cluster.client.put(&mut Files::new(&second), &options, None).await.unwrap();
        assert_eq!(report.known_bytes, 0, "{report:?}");
        assert_eq!(report.stored.len() + report.failed.len(), 1, "{report:?}");
        cluster.world.heal();
        cluster.assert_intact(&one("first", &bytes)).await;
    });
}

#[test]
fn a_reference_that_was_not_published_yet_is_renewed_when_it_is() {
    sim::run(27, |world| async move {
        let cluster = Cluster::seven(&world);
        let bytes = fixtures::noise(1, 400_000);
        put(&cluster, "first", &bytes).await;
        let device = Device::blank(&cluster, 0xD2);
        device.client.catch_up().await.unwrap();
        // Of this one the device does not hear, so that it renews for one reference only.
        put(&cluster, "second", &bytes).await;
        // Its program ends once the operation is committed and before it is published.
        let files = one("third", &bytes);
        for milliseconds in 0.. {
            let mut source = Files::new(&files);
            let options = PutOptions::default();
            let putting = device.client.put(&mut source, &options, None);
            assert!(timeout(Duration::from_millis(milliseconds), putting).await.is_err());
            if device.client.catalog().tip().unwrap().sequence > 0 {
                break;
            }
        }
        let device = device.restarted(&cluster);
        for gone in ["first", "second"] {
            cluster.client.remove(&[gone.to_owned()]).await.unwrap();
        }
        let gone = ["first".to_owned(), "second".to_owned()];
        let purged = cluster.client.purge(&gone, &NOW, false).await.unwrap();
        assert_eq!((purged.unreferenced, purged.released.segments), (1, 1));
        let version = device.client.resolve("third", None).await.unwrap();
        let segments = device.client.segments(version.put().unwrap()).await.unwrap();
        let in_trash = |cluster: &Cluster| {
            let trash = cluster.nodes.iter().flat_map(|node| node.store.trash_after(None, 100));
            trash.filter(|(segment, _)| segments.contains(segment)).count()
        };
        assert_eq!(in_trash(&cluster), 6);
        assert_eq!(device.client.publish().await.unwrap().pending, 0);
        assert_eq!(in_trash(&cluster), 0);
        assert_eq!(device.client.catalog().promised(u64::MAX).unwrap(), []);
        cluster.client.catch_up().await.unwrap();
        cluster.assert_intact(&files).await;
    });
}
