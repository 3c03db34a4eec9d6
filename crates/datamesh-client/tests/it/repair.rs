//! Holders that repair what is lost, without a key and without the owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use datamesh_client::PutOptions;
use datamesh_core::message::Refusal;
use datamesh_core::{NodeId, SegmentId};
use datamesh_engine::repair::{RepairConfig, Repairer};
use datamesh_testkit::fixtures;
use datamesh_testkit::sim::{self, Lie, World};

use crate::cluster::{Cluster, Node, Shape, files, single, spread_over};
use crate::streams::Files;

const HOUR: Duration = Duration::from_secs(3600);

/// The defaults of a node.
const USUAL: RepairConfig = RepairConfig {
    offline_after: Duration::from_secs(300),
    grace: Duration::from_secs(4 * 3600),
    interval: HOUR,
    rate: 32 << 20,
    expired: Duration::from_secs(30 * 24 * 3600),
};

/// What a node does beside answering: it signs its advert anew, exchanges adverts, and repairs.
fn start(world: &World, node: &Node, config: RepairConfig) -> Arc<Repairer> {
    let (engine, store) = (Arc::clone(&node.engine), Arc::clone(&node.store));
    let repairer = Arc::new(Repairer::new(Arc::clone(&engine), store, config));
    let executor = world.executor(node.id);
    let working = Arc::clone(&repairer);
    executor.spawn(Box::pin(async move { working.run().await }));
    let (signer, mut advert) = (Arc::clone(&node.signer), node.advert.clone());
    executor.spawn(Box::pin(async move {
        for round in 0_u64.. {
            if round.is_multiple_of(3) {
                advert = engine.sign_advert(&*signer, advert, 1 << 40);
                engine.learn_advert(advert.clone());
            }
            engine.gossip(1).await;
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
    }));
    repairer
}

fn start_all(world: &World, cluster: &Cluster, config: RepairConfig) -> Vec<Arc<Repairer>> {
    cluster.nodes.iter().map(|node| start(world, node, config)).collect()
}

/// Shards of each segment that are read from the disks of living nodes and have their roots, and
/// where they are.
pub(crate) type Census = BTreeMap<SegmentId, BTreeMap<u8, BTreeSet<NodeId>>>;

fn census(world: &World, cluster: &Cluster) -> Census {
    count(world, cluster, |node, segment, shard| node.store.read_shard(segment, shard).is_ok())
}

pub(crate) fn count(
    world: &World,
    cluster: &Cluster,
    counts: impl Fn(&Node, SegmentId, u8) -> bool,
) -> Census {
    let mut census = Census::new();
    for node in cluster.nodes.iter().filter(|node| world.is_up(node.id)) {
        let mut after = None;
        loop {
            let page = node.store.segments_after(after, 1000);
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            for (segment, mask) in page {
                for shard in (0..32u8).filter(|shard| mask & (1 << shard) != 0) {
                    if counts(node, segment, shard) {
                        let holders = census.entry(segment).or_default().entry(shard).or_default();
                        holders.insert(node.id);
                    }
                }
            }
        }
    }
    census
}

/// The shards of a segment in failure domains of their own: the most that can be chosen so.
fn spread(cluster: &Cluster, shards: &BTreeMap<u8, BTreeSet<NodeId>>) -> usize {
    spread_over(shards, |id| &cluster.nodes.iter().find(|n| n.id == *id).unwrap().domain)
}

/// Every segment has `whole` shards on living disks, each in a failure domain of its own.
fn is_whole(world: &World, cluster: &Cluster, segments: usize, whole: usize) -> bool {
    let all = |census: Census| {
        census.len() == segments && census.values().all(|shards| spread(cluster, shards) == whole)
    };
    // Reading everything is for when it seems worth it.
    all(count(world, cluster, |_, _, _| true)) && all(census(world, cluster))
}

/// Lets the world go on until every segment is whole, at most so long.
async fn heals(world: &World, cluster: &Cluster, segments: usize, patience: Duration) {
    let end = world.elapsed() + patience;
    while !is_whole(world, cluster, segments, 6) {
        let left = census(world, cluster);
        assert!(world.elapsed() < end, "not whole after {patience:?}: {left:?}");
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    // What is on a disk has yet to be read back and booked.
    tokio::time::sleep(Duration::from_secs(30)).await;
}

#[test]
fn a_lost_shard_is_brought_back_by_holders_without_keys() {
    sim::assert_replays(1, |world| async move {
        let cluster = Cluster::seven(&world);
        let files = single(3_000_000);
        cluster.put(&files).await;
        let repairers = start_all(&world, &cluster, USUAL);
        let segments = census(&world, &cluster).len();
        let lost = cluster.holders(files.keys().next().unwrap()).await[0];
        world.kill(lost);
        tokio::time::sleep(3 * HOUR).await;
        assert!(!is_whole(&world, &cluster, segments, 6), "one that is silent is waited for");
        heals(&world, &cluster, segments, 5 * HOUR).await;
        assert!(world.elapsed() > USUAL.grace);
        let placed: u64 = repairers.iter().map(|repairer| repairer.status().shards_placed).sum();
        assert_eq!(placed, 1);
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn every_pair_of_holders_is_lost_for_good_and_then_another() {
    for (a, b) in (0..6).flat_map(|a| (a + 1..6).map(move |b| (a, b))) {
        sim::run(100 + a * 10 + b, |world| async move {
            let shape = Shape { nodes: 8, ..Shape::default() };
            let cluster = Cluster::new(&world, &shape);
            let mut files = single(5_000_000);
            files.insert("another".parse().unwrap(), fixtures::noise(2, 70_000));
            cluster.put(&files).await;
            let _repairers = start_all(&world, &cluster, USUAL);
            let segments = census(&world, &cluster).len();
            let holders = cluster.holders(&"a file".parse().unwrap()).await;
            for lost in [holders[a as usize], holders[b as usize]] {
                world.kill(lost);
            }
            heals(&world, &cluster, segments, 12 * HOUR).await;
            let alive: Vec<NodeId> =
                cluster.nodes.iter().map(|n| n.id).filter(|id| world.is_up(*id)).collect();
            for lost in &alive[..2] {
                world.kill(*lost);
            }
            cluster.assert_intact(&files).await;
        });
    }
}

/// All shards that were placed by these.
fn placed(repairers: &[Arc<Repairer>]) -> u64 {
    repairers.iter().map(|repairer| repairer.status().shards_placed).sum()
}

fn node_of(cluster: &Cluster, id: NodeId) -> usize {
    cluster.nodes.iter().position(|node| node.id == id).unwrap()
}

/// Brings a further node into the mesh; those that are there hear of it by gossip.
async fn joins(world: &World, cluster: &mut Cluster, domain: &str) -> Arc<Repairer> {
    let number = cluster.nodes.len();
    let node = Node::new(world, &cluster.genesis, &cluster.issuing, number, domain, 64 << 20);
    for known in &cluster.adverts {
        node.engine.learn_advert(known.clone());
    }
    node.engine.learn_advert(node.advert.clone());
    node.engine.announce_widely(&node.advert).await;
    let repairer = start(world, &node, USUAL);
    cluster.adverts.push(node.advert.clone());
    cluster.nodes.push(node);
    repairer
}

#[test]
fn a_holder_that_comes_back_in_time_causes_no_repair() {
    sim::run(20, |world| async move {
        let cluster = Cluster::new(&world, &Shape { nodes: 8, ..Shape::default() });
        let files = single(3_000_000);
        cluster.put(&files).await;
        let repairers = start_all(&world, &cluster, USUAL);
        let away = cluster.holders(files.keys().next().unwrap()).await[2];
        world.partition(&[&[away]]);
        tokio::time::sleep(3 * HOUR).await;
        let others: Vec<_> =
            cluster.nodes.iter().zip(&repairers).filter(|(node, _)| node.id != away).collect();
        assert!(others.iter().all(|(_, repairer)| !repairer.status().margins.contains_key(&2)));
        world.heal();
        tokio::time::sleep(9 * HOUR).await;
        assert_eq!(placed(&repairers), 0);
        for repairer in &repairers {
            let status = repairer.status();
            assert!(status.margins.keys().all(|margin| *margin == 2), "{status:?}");
            assert_eq!(status.queued + status.active + status.later + status.dead_letter, 0);
        }
    });
}

#[test]
fn a_holder_of_what_others_have_too_takes_another_shard_where_nobody_else_can() {
    sim::run(67, |world| async move {
        let cluster = Cluster::new(&world, &Shape { nodes: 7, ..Shape::default() });
        let files = single(3_000_000);
        cluster.put(&files).await;
        let repairers = start_all(&world, &cluster, USUAL);
        tokio::time::sleep(HOUR).await;
        let holders = cluster.holders(files.keys().next().unwrap()).await;
        world.partition(&[&holders[2..3]]);
        tokio::time::sleep(6 * HOUR).await;
        assert_eq!(placed(&repairers), 1);
        world.heal();
        tokio::time::sleep(HOUR).await;
        // All seven have a shard now, and two have the same one.
        world.kill(holders[4]);
        heals(&world, &cluster, 1, 12 * HOUR).await;
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn in_a_storm_only_what_has_no_margin_is_repaired() {
    sim::run(21, |world| async move {
        let cluster = Cluster::new(&world, &Shape { nodes: 16, ..Shape::default() });
        let files = files();
        cluster.put(&files).await;
        let repairers = start_all(&world, &cluster, USUAL);
        tokio::time::sleep(2 * HOUR).await;
        // A quarter of the mesh at once.
        for node in &cluster.nodes[..4] {
            world.kill(node.id);
        }
        let missing = |census: &Census| -> Vec<usize> {
            census.values().map(|shards| 12 - spread(&cluster, shards)).collect()
        };
        let before = missing(&census(&world, &cluster));
        assert!(before.iter().any(|lost| [2, 3].contains(lost)), "{before:?}");
        tokio::time::sleep(HOUR / 2).await;
        let after = missing(&census(&world, &cluster));
        let expected: Vec<usize> =
            before.iter().map(|lost| if *lost == 4 { 0 } else { *lost }).collect();
        assert_eq!(after, expected);
        assert!(repairers[5..].iter().all(|repairer| repairer.status().storm));
        tokio::time::sleep(3 * HOUR).await;
        let after = missing(&census(&world, &cluster));
        assert!(after.iter().all(|lost| *lost <= 1), "two are not waited for: {after:?}");
        tokio::time::sleep(8 * HOUR).await;
        assert_eq!(missing(&census(&world, &cluster)), vec![0; before.len()]);
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn another_takes_over_when_the_one_that_acts_dies() {
    for seed in 30..32 {
        sim::run(seed, |world| async move {
            let cluster = Cluster::new(&world, &Shape { nodes: 8, ..Shape::default() });
            let files = single(3_000_000);
            cluster.put(&files).await;
            let repairers = start_all(&world, &cluster, USUAL);
            let segments = census(&world, &cluster).len();
            let lost = cluster.holders(files.keys().next().unwrap()).await[1];
            tokio::time::sleep(HOUR).await;
            world.kill(lost);
            tokio::time::sleep(Duration::from_secs(3 * 3600 + 3000)).await;
            let acting = loop {
                let busy = |(node, repairer): &(&Node, &Arc<Repairer>)| {
                    world.is_up(node.id) && repairer.status().active > 0
                };
                if let Some((node, _)) = cluster.nodes.iter().zip(&repairers).find(busy) {
                    break node.id;
                }
                assert!(world.elapsed() < 12 * HOUR, "nobody acts");
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            world.kill(acting);
            heals(&world, &cluster, segments, 12 * HOUR).await;
            cluster.assert_intact(&files).await;
        });
    }
}

#[test]
fn lies_of_a_holder_keep_nothing_from_being_repaired() {
    let lies = [
        Lie::FlipBodyBit,
        Lie::TruncateBody,
        Lie::GarbageHead,
        Lie::Empty,
        Lie::Stall,
        Lie::Stale,
        Lie::SwapDescriptor,
        Lie::FalsifyProof,
        Lie::ForgeReceipt,
        Lie::ClaimAll,
        Lie::DenyAll,
        Lie::Refuse(Refusal::Busy),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        sim::run(40 + number as u64, |world| async move {
            let cluster = Cluster::new(&world, &Shape { nodes: 10, ..Shape::default() });
            let files = single(3_000_000);
            cluster.put(&files).await;
            let repairers = start_all(&world, &cluster, USUAL);
            tokio::time::sleep(HOUR).await;
            let holders = cluster.holders(files.keys().next().unwrap()).await;
            cluster.nodes[node_of(&cluster, holders[0])].liar.set(lie);
            // Receipts are signed by those who get a shard.
            let others = cluster.nodes.iter().filter(|node| !holders.contains(&node.id));
            for node in others.take(3).filter(|_| lie == Lie::ForgeReceipt) {
                node.liar.set(lie);
            }
            world.kill(holders[1]);
            let segments = census(&world, &cluster).len();
            heals(&world, &cluster, segments, 24 * HOUR).await;
            assert!(placed(&repairers) > 0);
            let told: u64 = cluster.nodes.iter().map(|node| node.liar.told()).sum();
            assert!(told > 0, "{lie:?} was never told");
            // What was placed counts without the liar.
            world.kill(holders[0]);
            cluster.assert_intact(&files).await;
        });
    }
}

#[test]
fn below_k_there_is_a_dead_letter_until_holders_come_back() {
    sim::run(60, |world| async move {
        let cluster = Cluster::new(&world, &Shape { nodes: 9, ..Shape::default() });
        let files = single(3_000_000);
        cluster.put(&files).await;
        let repairers = start_all(&world, &cluster, USUAL);
        tokio::time::sleep(HOUR).await;
        let segments = census(&world, &cluster).len();
        let away = cluster.holders(files.keys().next().unwrap()).await[..3].to_vec();
        world.partition(&[&away]);
        tokio::time::sleep(6 * HOUR).await;
        let here = |id: &NodeId| !away.contains(id);
        let mut told = 0;
        for (node, repairer) in cluster.nodes.iter().zip(&repairers) {
            let status = repairer.status();
            if here(&node.id) && node.store.segments_after(None, 1).len() == 1 {
                assert_eq!(status.dead_letter, 1, "{status:?}");
                assert!(status.dead_letters[0].reason.contains("3 of its shards are there"));
                assert_eq!(status.margins.get(&-1), Some(&1));
                told += 1;
            }
        }
        assert_eq!(told, 3);
        assert_eq!(placed(&repairers), 0);
        world.heal();
        heals(&world, &cluster, segments, 3 * HOUR).await;
        tokio::time::sleep(3 * HOUR).await;
        assert!(repairers.iter().all(|repairer| repairer.status().dead_letter == 0));
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn with_too_few_domains_a_shard_waits_until_a_node_joins() {
    sim::run(61, |world| async move {
        let mut cluster = Cluster::new(&world, &Shape { nodes: 6, ..Shape::default() });
        let files = single(3_000_000);
        cluster.put(&files).await;
        let mut repairers = start_all(&world, &cluster, USUAL);
        tokio::time::sleep(HOUR).await;
        world.kill(cluster.nodes[2].id);
        tokio::time::sleep(8 * HOUR).await;
        for (node, repairer) in cluster.nodes.iter().zip(&repairers) {
            let status = repairer.status();
            let waits = u64::from(world.is_up(node.id));
            assert!(status.waiting == waits || waits == 0, "{status:?}");
            assert_eq!(status.dead_letter, 0);
        }
        assert_eq!(placed(&repairers), 0);
        repairers.push(joins(&world, &mut cluster, "host-new").await);
        heals(&world, &cluster, 1, HOUR).await;
        assert_eq!(placed(&repairers), 1);
        tokio::time::sleep(3 * HOUR).await;
        for (node, repairer) in cluster.nodes.iter().zip(&repairers) {
            assert!(repairer.status().waiting == 0 || !world.is_up(node.id));
        }
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn a_degraded_file_becomes_full_when_nodes_appear() {
    sim::run(62, |world| async move {
        let shape = Shape { nodes: 6, domain: |i| format!("rack-{}", i % 3), ..Shape::default() };
        let mut cluster = Cluster::new(&world, &shape);
        let files = single(3_000_000);
        let options = PutOptions { allow_degraded: true, ..PutOptions::default() };
        let report = cluster.client.put(&mut Files::new(&files), &options, None).await.unwrap();
        assert_eq!(report.stored.len(), 1);
        let mut repairers = start_all(&world, &cluster, USUAL);
        tokio::time::sleep(6 * HOUR).await;
        assert_eq!(placed(&repairers), 0, "there is nowhere to go");
        for rack in 3..6 {
            repairers.push(joins(&world, &mut cluster, &format!("rack-{rack}")).await);
        }
        heals(&world, &cluster, 1, 3 * HOUR).await;
        assert_eq!(placed(&repairers), 3, "shards were copied, none was rebuilt twice");
        // Two whole racks may go now.
        for node in
            cluster.nodes.iter().filter(|node| ["rack-0", "rack-3"].contains(&&*node.domain))
        {
            world.kill(node.id);
        }
        for advert in &cluster.adverts {
            cluster.client.engine().learn_advert(advert.clone());
        }
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn an_owed_shard_is_placed_without_grace() {
    sim::run(63, |world| async move {
        let mut cluster = Cluster::seven(&world);
        let mut repairers = start_all(&world, &cluster, USUAL);
        world.kill(cluster.nodes[0].id);
        world.kill(cluster.nodes[1].id);
        tokio::time::sleep(HOUR).await;
        let files = single(1_000_000);
        // It heard of nobody for an hour.
        cluster.client.engine().look_around().await;
        let report = cluster.put(&files).await;
        assert_eq!(report.stored[0].owed, 1, "{:?}", report.stopped);
        repairers.push(joins(&world, &mut cluster, "host-new").await);
        heals(&world, &cluster, 1, HOUR / 4).await;
        assert_eq!(placed(&repairers), 1);
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn a_damaged_shard_is_replaced_by_its_own_holder() {
    sim::run(64, |world| async move {
        let cluster = Cluster::new(&world, &Shape { nodes: 6, ..Shape::default() });
        let files = single(3_000_000);
        cluster.put(&files).await;
        let repairers = start_all(&world, &cluster, USUAL);
        tokio::time::sleep(HOUR).await;
        let node = &cluster.nodes[3];
        let (segment, mask) = node.store.segments_after(None, 1)[0];
        let shard = mask.trailing_zeros() as u8;
        // In the middle of its cells.
        let pack = node.disk.names().into_iter().find(|name| name.ends_with(".dmp")).unwrap();
        let length = node.disk.contents(&pack).unwrap().len() as u64;
        node.disk.flip(&pack, 300_000 * 8);
        assert!(length > 300_000);
        assert!(node.store.report_damage(segment, shard).unwrap());
        heals(&world, &cluster, 1, HOUR / 4).await;
        assert_eq!(placed(&repairers), 1);
        assert_eq!(node.store.held(segment), mask);
        cluster.assert_intact(&files).await;
    });
}

#[test]
fn clocks_that_jump_by_years_delay_or_hasten_and_lose_nothing() {
    sim::run(65, |world| async move {
        let cluster = Cluster::new(&world, &Shape { nodes: 9, ..Shape::default() });
        let files = single(3_000_000);
        cluster.put(&files).await;
        let _repairers = start_all(&world, &cluster, USUAL);
        tokio::time::sleep(HOUR).await;
        let segments = census(&world, &cluster).len();
        let year = 365 * 24 * 3600 * 1000;
        world.jump_clock(cluster.nodes[0].id, year);
        world.jump_clock(cluster.nodes[1].id, -year);
        world.jump_clock(cluster.nodes[2].id, 5 * 3600 * 1000);
        let holders = cluster.holders(files.keys().next().unwrap()).await;
        let lost = holders.iter().find(|id| node_of(&cluster, **id) > 2).unwrap();
        world.kill(*lost);
        heals(&world, &cluster, segments, 24 * HOUR).await;
        cluster.assert_intact(&files).await;
    });
}
