//! What is acknowledged survives the loss of holders.

use datamesh_client::{ClientError, GetItem, PutOptions, Wanted};
use datamesh_core::NodeId;
use datamesh_core::message::Refusal;
use datamesh_engine::WriteError;
use datamesh_testkit::sim::{self, Event, Lie, Link, What};

use crate::cluster::{Cluster, Shape, files, single};
use crate::streams::{Collected, Files};

#[test]
fn two_of_seven_nodes_are_lost_and_every_file_comes_back_and_it_replays() {
    sim::assert_replays(1, |world| async move {
        let cluster = Cluster::seven(&world);
        let files = files();
        let report = cluster.put(&files).await;
        assert!(report.failed.is_empty() && report.stopped.is_none());
        assert_eq!(report.stored.len(), files.len());
        for entry in &report.stored {
            assert_eq!(entry.owed, 0);
            assert_eq!(entry.protection.is_none(), entry.size <= 4096);
        }
        cluster.assert_intact(&files).await;
        world.kill(cluster.nodes[1].id);
        world.kill(cluster.nodes[4].id);
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn every_pair_of_a_segments_holders_may_be_lost() {
    sim::run(2, |world| async move {
        let cluster = Cluster::seven(&world);
        let files = single(3_000_000);
        cluster.put(&files).await;
        let path = files.keys().next().unwrap();
        let holders = cluster.holders(path).await;
        assert_eq!(holders.len(), 6);
        let mut distinct = holders.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 6, "one shard a failure domain");
        for a in 0..6 {
            for b in a + 1..6 {
                let lost = [holders[a], holders[b]];
                let others: Vec<_> = cluster
                    .nodes
                    .iter()
                    .map(|node| node.id)
                    .chain([NodeId([0xC1; 32])])
                    .filter(|id| !lost.contains(id))
                    .collect();
                world.partition(&[&others, &lost]);
                cluster.assert_intact(&files).await;
                world.heal();
            }
        }
    });
}

#[test]
fn a_third_loss_is_an_error_and_no_byte_comes_out() {
    sim::run(3, |world| async move {
        let cluster = Cluster::seven(&world);
        let files = single(3_000_000);
        cluster.put(&files).await;
        let path = files.keys().next().unwrap();
        for holder in cluster.holders(path).await.iter().take(3) {
            world.kill(*holder);
        }
        let version = cluster.client.resolve(path.as_str(), None).await.unwrap();
        let put = Box::new(version.put().unwrap().clone());
        let mut sink = Collected::default();
        let item = GetItem { put, path: path.clone(), range: None };
        let report = cluster.client.get(Wanted::One(item), &mut sink, None).await.unwrap();
        assert_eq!(report.files, 0);
        assert!(matches!(report.error, Some(ClientError::Read(_))), "{:?}", report.error);
        assert!(sink.files.is_empty());
        assert_eq!(sink.broken.len(), 1);
    });
}

#[test]
fn the_last_holders_that_are_left_are_asked_again_when_they_had_too_much_to_do() {
    sim::run(6, |world| async move {
        let cluster = Cluster::seven(&world);
        let files = single(3_000_000);
        cluster.put(&files).await;
        let holders = cluster.holders(files.keys().next().unwrap()).await;
        world.kill(holders[0]);
        world.kill(holders[1]);
        let busy = cluster.nodes.iter().find(|node| node.id == holders[2]).unwrap();
        busy.liar.set(Lie::Refuse(Refusal::Busy));
        let liar = std::sync::Arc::clone(&busy.liar);
        world.executor(busy.id).spawn(Box::pin(async move {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            liar.set(Lie::None);
        }));
        cluster.assert_intact(&files).await;
        assert!(busy.liar.told() > 0);
    });
}

#[test]
fn a_put_over_a_slow_line_sends_each_shard_once() {
    sim::run(7, |world| async move {
        let cluster = Cluster::seven(&world);
        let client = NodeId([0xC1; 32]);
        // More than four mebibytes of shards take longer than anybody waits for a single holder.
        let bandwidth = 600_000;
        world.set_link(client, Link { bandwidth, ..Link::default() });
        let started = world.elapsed();
        let report = cluster.put(&single(3_000_000)).await;
        assert_eq!(report.stored[0].owed, 0);
        assert!((world.elapsed() - started).as_secs() > 5, "the line was not slow");
        let trace = world.trace();
        let large = |event: &&Event| {
            event.what == What::Request && event.from == Some(client) && event.length > 500_000
        };
        assert_eq!(trace.events().filter(large).count(), 6);
    });
}

#[test]
fn with_five_nodes_left_a_put_commits_and_owes_a_shard() {
    sim::run(4, |world| async move {
        let cluster = Cluster::seven(&world);
        world.kill(cluster.nodes[0].id);
        world.kill(cluster.nodes[1].id);
        let files = single(1_000_000);
        let report = cluster.put(&files).await;
        assert_eq!(report.stored.len(), 1, "{:?}", report.failed);
        assert_eq!(report.stored[0].owed, 1);
        assert_eq!(report.stored[0].protection.unwrap().margin, 1);
        assert_eq!(cluster.client.catalog().totals().unwrap().owed, 1);
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn with_four_nodes_left_nothing_is_acknowledged() {
    sim::run(5, |world| async move {
        let cluster = Cluster::seven(&world);
        for node in &cluster.nodes[..3] {
            world.kill(node.id);
        }
        let started = world.elapsed();
        let report = cluster.put(&single(1_000_000)).await;
        assert!(report.stored.is_empty());
        assert!(
            matches!(
                report.stopped,
                Some(ClientError::Write(WriteError::TooFewDomains { needed: 5, .. }))
            ),
            "{:?}",
            report.stopped
        );
        assert!((world.elapsed() - started).as_secs() < 30);
        assert_eq!(cluster.client.catalog().totals().unwrap().files, 0);
    });
}

#[test]
fn a_mesh_of_three_domains_stores_only_when_it_is_allowed_to() {
    sim::run(6, |world| async move {
        let shape = Shape { nodes: 6, domain: |i| format!("rack-{}", i % 3), ..Shape::default() };
        let cluster = Cluster::new(&world, &shape);
        let files = single(1_000_000);
        let refused =
            cluster.client.put(&mut Files::new(&files), &PutOptions::default(), None).await;
        assert!(matches!(refused, Err(ClientError::TooFewDomains { domains: 3, needed: 5, .. })));
        let options = PutOptions { allow_degraded: true, ..PutOptions::default() };
        let report = cluster.client.put(&mut Files::new(&files), &options, None).await.unwrap();
        assert_eq!(report.stored.len(), 1, "{:?} {:?}", report.stopped, report.failed);
        assert!(report.stored[0].protection.unwrap().degraded);
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn larger_meshes_use_wider_schemes() {
    for (nodes, scheme, lost) in [(16, "8+4", 4), (32, "16+8", 8)] {
        sim::run(7, |world| async move {
            let shape = Shape { nodes, ..Shape::default() };
            let cluster = Cluster::new(&world, &shape);
            let files = single(5_000_000);
            let report = cluster.put(&files).await;
            assert_eq!(report.stored[0].protection.unwrap().scheme.to_string(), scheme);
            let path = files.keys().next().unwrap();
            for holder in cluster.holders(path).await.iter().take(lost) {
                world.kill(*holder);
            }
            cluster.assert_intact(&files).await;
        });
    }
}

#[test]
fn a_range_is_the_same_as_in_the_whole() {
    sim::run(8, |world| async move {
        let cluster = Cluster::seven(&world);
        let files = single(9_000_000);
        cluster.put(&files).await;
        let (path, bytes) = files.first_key_value().unwrap();
        let version = cluster.client.resolve(path.as_str(), None).await.unwrap();
        let ranges = [
            (0, 1),
            (65_519, 65_521),
            (4_193_000, 4_194_000),
            (8_999_999, 9_000_000),
            (0, 9_000_000),
            (5, 5),
            (1_000_000, 7_000_000),
        ];
        for kill in [false, true] {
            if kill {
                world.kill(cluster.nodes[2].id);
                world.kill(cluster.nodes[3].id);
            }
            for (start, end) in ranges {
                let put = Box::new(version.put().unwrap().clone());
                let item = GetItem { put, path: path.clone(), range: Some((start, end)) };
                let mut sink = Collected::default();
                cluster.client.get(Wanted::One(item), &mut sink, None).await.unwrap();
                assert!(sink.files[path] == bytes[start as usize..end as usize], "{start}..{end}");
            }
        }
    });
}
