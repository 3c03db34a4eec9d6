//! Pinned files: what their holders know, what is not swept, and what goes along with a shard.

use std::sync::Arc;
use std::time::Duration;

use datamesh_client::{ClientError, PinTerms, Pinned, Retention};
use datamesh_core::{MeshPath, SegmentId};
use datamesh_engine::repair::{RepairConfig, Repairer};
use datamesh_testkit::fixtures::noise;
use datamesh_testkit::sim;

use crate::cluster::{CLIENT, Cluster, Shape, single};
use crate::devices::Device;
use crate::repair::count;

const NEWEST_ONLY: Retention = Retention { keep: 1, younger_than_ms: 0, deleted_for_ms: 0 };

fn path(text: &str) -> MeshPath {
    text.parse().unwrap()
}

async fn pin(cluster: &Cluster, at: &str, terms: Option<(u8, u64)>) -> Pinned {
    let terms = terms.map(|(priority, until)| PinTerms { priority, until });
    cluster.client.pin(vec![path(at)], terms).await.unwrap()
}

/// The priority of each segment of a path's current version at each of its holders.
async fn priorities(cluster: &Cluster, at: &str) -> Vec<u8> {
    let now = cluster.client.engine().now();
    let version = cluster.client.resolve(at, None).await.unwrap();
    let segments: Vec<SegmentId> = cluster.client.segments(version.put().unwrap()).await.unwrap();
    let mut found = Vec::new();
    for node in &cluster.nodes {
        for segment in &segments {
            if node.store.held(*segment) != 0 {
                found.push(node.store.priority(*segment, now));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn holders_and_other_devices_know_a_pin_and_its_end() {
    sim::run(1, |world| async move {
        let cluster = Cluster::seven(&world);
        cluster.put(&single(3_000_000)).await;
        let at = single(1).into_keys().next().unwrap().to_string();
        assert!(priorities(&cluster, &at).await.iter().all(|priority| *priority == 0));
        let done = pin(&cluster, &at, Some((8, 0))).await;
        assert!(!done.files[0].unchanged && done.pending == 0);
        assert!(done.told.segments > 0 && done.told.told == done.told.segments);
        assert!(priorities(&cluster, &at).await.iter().all(|priority| *priority == 8));
        // Nothing has changed, and nobody is told again.
        let again = pin(&cluster, &at, Some((8, 0))).await;
        assert!(again.files[0].unchanged && again.told.segments == 0);

        let other = Device::blank(&cluster, 90);
        other.client.catch_up().await.unwrap();
        let pins = other.client.pins().await.unwrap();
        assert_eq!((pins.len(), pins[0].priority, pins[0].current), (1, 8, true));
        // A new version of another device is pinned by whoever comes to tell it.
        other.put(&at, &noise(5, 2_000_000)).await;
        cluster.client.catch_up().await.unwrap();
        assert!(priorities(&cluster, &at).await.iter().all(|priority| *priority == 0));
        cluster.client.tell_pins().await.unwrap();
        assert!(priorities(&cluster, &at).await.iter().all(|priority| *priority == 8));

        let ended = pin(&cluster, &at, None).await;
        assert!(!ended.files[0].unchanged);
        assert!(priorities(&cluster, &at).await.iter().all(|priority| *priority == 0));
        assert!(cluster.client.pins().await.unwrap().is_empty());
        other.client.catch_up().await.unwrap();
        assert!(other.client.pins().await.unwrap().is_empty());
    });
}

#[test]
fn of_files_that_share_a_segment_the_highest_priority_counts() {
    sim::run(2, |world| async move {
        let cluster = Cluster::seven(&world);
        let mut files = single(20_000);
        files.insert(path("other"), noise(7, 30_000));
        cluster.put(&files).await;
        let at = single(1).into_keys().next().unwrap().to_string();
        let until = cluster.client.engine().now() + 60_000;
        pin(&cluster, &at, Some((2, 0))).await;
        pin(&cluster, "other", Some((9, until))).await;
        assert!(priorities(&cluster, &at).await.iter().all(|priority| *priority == 9));
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!(priorities(&cluster, &at).await.iter().all(|priority| *priority == 0));
        // The one that ended no longer hides the other.
        cluster.client.tell_pins().await.unwrap();
        assert!(priorities(&cluster, &at).await.iter().all(|priority| *priority == 2));
    });
}

#[test]
fn a_pin_that_ended_long_ago_leaves_the_others_known() {
    const DAYS_MS: i64 = 31 * 24 * 3600 * 1000;
    sim::run(5, |world| async move {
        let cluster = Cluster::seven(&world);
        let mut files = single(20_000);
        files.insert(path("other"), noise(7, 30_000));
        cluster.put(&files).await;
        let at = single(1).into_keys().next().unwrap().to_string();
        pin(&cluster, &at, Some((2, 0))).await;
        pin(&cluster, "other", Some((9, 0))).await;
        pin(&cluster, "other", None).await;
        assert!(priorities(&cluster, &at).await.iter().all(|priority| *priority == 2));
        // The end is not told any more, and what holders know is newer than what is told instead.
        for id in cluster.nodes.iter().map(|node| node.id).chain([CLIENT]) {
            world.jump_clock(id, DAYS_MS);
        }
        cluster.client.engine().look_around().await;
        let told = cluster.client.tell_pins().await.unwrap();
        assert!(told.segments > 0 && told.told == told.segments, "{told:?}");
        assert_eq!(cluster.client.tell_pins().await.unwrap().segments, 0);
        assert!(priorities(&cluster, &at).await.iter().all(|priority| *priority == 2));
    });
}

#[test]
fn what_is_pinned_is_not_swept() {
    sim::run(3, |world| async move {
        let cluster = Cluster::seven(&world);
        for number in 0..3 {
            let bytes = noise(number, 50_000);
            cluster.put(&[(path("kept"), bytes)].into()).await;
        }
        pin(&cluster, "kept", Some((1, 0))).await;
        let names = ["kept".to_owned()];
        let purge = || cluster.client.purge(&names, &NEWEST_ONLY, false);
        let swept = purge().await.unwrap();
        assert_eq!((swept.versions, swept.pinned, swept.released.segments), (0, 2, 0));
        pin(&cluster, "kept", None).await;
        let swept = purge().await.unwrap();
        assert_eq!((swept.versions, swept.pinned), (2, 0));

        // Who removes a pinned file gives it up.
        pin(&cluster, "kept", Some((1, 0))).await;
        cluster.client.remove(&names).await.unwrap();
        let pins = cluster.client.pins().await.unwrap();
        assert!(!pins[0].current);
        assert_eq!(purge().await.unwrap().versions, 1);

        for (priority, until) in [(0, 0), (11, 0), (5, 1)] {
            let terms = Some(PinTerms { priority, until });
            let refused = cluster.client.pin(vec![path("kept")], terms).await;
            assert!(matches!(refused, Err(ClientError::PinTerms(_))), "{refused:?}");
        }
        let absent = pin(&cluster, "absent", Some((5, 0))).await;
        assert_eq!((absent.files.len(), absent.failed.len()), (0, 1));
    });
}

#[test]
fn a_shard_that_is_rebuilt_elsewhere_takes_its_pin_along() {
    sim::run(4, |world| async move {
        let cluster = Cluster::new(&world, &Shape { nodes: 8, ..Shape::default() });
        let files = single(900_000);
        cluster.put(&files).await;
        let at = files.keys().next().unwrap();
        pin(&cluster, at.as_str(), Some((6, 0))).await;
        let holders = cluster.holders(at).await;
        let lost = holders[0];
        world.kill(lost);
        let config = RepairConfig {
            offline_after: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            interval: Duration::from_secs(60),
            rate: 32 << 20,
            expired: Duration::from_secs(30 * 24 * 3600),
        };
        for node in cluster.nodes.iter().filter(|node| node.id != lost) {
            let (engine, store) = (Arc::clone(&node.engine), Arc::clone(&node.store));
            let repairer = Repairer::new(engine, store, config);
            world.executor(node.id).spawn(Box::pin(async move { repairer.run().await }));
        }
        let end = world.elapsed() + Duration::from_secs(3600);
        loop {
            let now = cluster.client.engine().now();
            let census = count(&world, &cluster, |_, _, _| true);
            let known =
                count(&world, &cluster, |node, segment, _| node.store.priority(segment, now) == 6);
            let whole = census.values().all(|shards| shards.len() == 6);
            if whole && census == known {
                break;
            }
            assert!(world.elapsed() < end, "{census:?}\n{known:?}");
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    });
}
