//! The catalog on the mesh: words alone restore it, devices share it, copies do not break it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datamesh_catalog::{AccountDb, CatalogError, ListQuery, Listed, Owner};
use datamesh_client::{
    CleanupOptions, Client, ClientError, ClientParts, Publication, PutOptions, PutReport,
    Retention, Wanted, find_grant,
};
use datamesh_core::{LogId, MeshPath, NodeId};
use datamesh_crypto::DeviceKeys;
use datamesh_engine::{Engine, HeadMover};
use datamesh_testkit::sim::{Lie, Link};
use datamesh_testkit::{fixtures, sim};
use tempfile::TempDir;

use crate::cluster::{Cluster, device_engine, files, folder};
use crate::streams::{Collected, Files};

/// One more device of the cluster's account, with a home of its own.
pub(crate) struct Device {
    pub(crate) client: Client,
    pub(crate) keys: Arc<DeviceKeys>,
    pub(crate) folder: TempDir,
    pub(crate) number: u8,
}

fn engine(cluster: &Cluster, number: u8) -> Arc<Engine> {
    let engine = device_engine(&cluster.world, NodeId([number; 32]), &cluster.genesis);
    for advert in &cluster.adverts {
        assert!(engine.learn_advert(advert.clone()));
    }
    Arc::new(engine)
}

impl Device {
    /// A blank device that knows the words and nothing else.
    pub(crate) fn blank(cluster: &Cluster, number: u8) -> Self {
        let entropy = cluster.world.entropy(NodeId([number; 32]));
        let keys = Arc::new(DeviceKeys::set_up(&cluster.words, &*entropy, 2));
        let folder = folder();
        Self::over(cluster, number, keys, folder, AccountDb::restore)
    }

    pub(crate) fn over(
        cluster: &Cluster,
        number: u8,
        keys: Arc<DeviceKeys>,
        folder: TempDir,
        open: fn(&Path, Owner) -> Result<AccountDb, CatalogError>,
    ) -> Self {
        let owner = Owner {
            account: keys.account(),
            log: LogId([number; 16]),
            log_key: keys.log_certificate().log_key,
        };
        let catalog = Arc::new(open(&folder.path().join("catalog.db"), owner).unwrap());
        let client = Client::new(ClientParts {
            engine: engine(cluster, number),
            catalog,
            keys: Arc::clone(&keys),
            grant: Arc::clone(&cluster.grant),
            entropy: cluster.world.entropy(NodeId([number; 32])),
            publication: Arc::new(Publication::default()),
            packs: datamesh_client::Packs::new(),
        });
        Self { client, keys, folder, number }
    }

    /// The same device after its program ended, wherever it was.
    pub(crate) fn restarted(self, cluster: &Cluster) -> Self {
        let Self { client, keys, folder, number } = self;
        cluster.world.kill(NodeId([number; 32]));
        drop(client);
        Self::over(cluster, number, keys, folder, AccountDb::open)
    }

    /// The same device in a copy of its home, made while nothing runs in it.
    fn copied(self, cluster: &Cluster, number: u8) -> (Self, Self) {
        let Self { client, keys, folder, number: before } = self;
        drop(client);
        cluster.world.kill(NodeId([before; 32]));
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let one = Self::over(cluster, before, Arc::clone(&keys), folder, AccountDb::open);
        (one, Self::over(cluster, number, keys, copy, AccountDb::open))
    }

    pub(crate) async fn put(&self, path: &str, bytes: &[u8]) -> PutReport {
        let files = BTreeMap::from([(path.parse().unwrap(), bytes.to_vec())]);
        let report = self.client.put(&mut Files::new(&files), &PutOptions::default(), None).await;
        let report = report.unwrap();
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        report
    }

    pub(crate) async fn bytes(&self) -> BTreeMap<MeshPath, Vec<u8>> {
        let mut sink = Collected::default();
        let report = self.client.get(Wanted::Below(None), &mut sink, None).await.unwrap();
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        sink.files
    }
}

/// Everything that a catalog says: names, versions and tags, in order.
pub(crate) fn told(catalog: &AccountDb) -> Vec<String> {
    let query = ListQuery { recursive: true, limit: Some(1000), ..ListQuery::default() };
    let page = catalog.list(&query).unwrap();
    assert!(page.next.is_none());
    let mut told = Vec::new();
    for row in page.rows {
        let Listed::Entry(summary) = row else { continue };
        for version in catalog.versions(&summary.path, 0, 1024).unwrap() {
            told.push(format!("{} {version:?}", summary.path));
        }
    }
    told
}

#[test]
fn content_of_another_device_and_of_a_lost_catalog_is_known() {
    sim::run(44, |world| async move {
        let cluster = Cluster::seven(&world);
        let (small, large) = (fixtures::noise(1, 50_000), fixtures::noise(2, 9_000_000));
        let one = Device::blank(&cluster, 21);
        one.client.catch_up().await.unwrap();
        assert_eq!(one.put("one/small", &small).await.known_bytes, 0);
        assert_eq!(one.put("one/large", &large).await.known_bytes, 0);
        let two = Device::blank(&cluster, 22);
        two.client.catch_up().await.unwrap();
        assert_eq!(two.put("two/small", &small).await.known_bytes, 50_000);
        assert_eq!(two.put("two/large", &large).await.known_bytes, 9_000_000);
        // A device whose catalog is lost counts again from the operations.
        let Device { client, keys, folder, number } = one;
        drop(client);
        world.kill(NodeId([number; 32]));
        let again = Device::over(&cluster, 23, keys, folder, AccountDb::restore);
        again.client.catch_up().await.unwrap();
        assert_eq!(again.put("again", &large).await.known_bytes, 9_000_000);
        let segments = again.client.all_segments().await.unwrap();
        let uses = again.client.catalog().uses(&segments).unwrap().unwrap();
        // One segment of the small file, two that are full and the last of the large one.
        assert_eq!(segments.len(), 4);
        assert_eq!(uses.iter().sum::<u64>(), 2 + 3 * 3);
        assert_eq!(two.bytes().await.len(), 4);
    });
}

/// Small files of one segment, of which the owner then gives most up.
fn many() -> BTreeMap<MeshPath, Vec<u8>> {
    let file = |n: u64| (format!("{n:02}").parse().unwrap(), fixtures::noise(n, 60_000));
    (0..30).map(file).collect()
}

#[test]
fn one_device_repacks_while_another_refers_to_the_same_content() {
    sim::run_seeds(50..58, |world| async move {
        let cluster = Cluster::seven(&world);
        let one = Device::blank(&cluster, 21);
        one.client.catch_up().await.unwrap();
        let files = many();
        let report =
            one.client.put(&mut Files::new(&files), &PutOptions::default(), None).await.unwrap();
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        let two = Device::blank(&cluster, 22);
        two.client.catch_up().await.unwrap();
        let gone: Vec<String> = (3..30).map(|n| format!("{n:02}")).collect();
        one.client.remove(&gone).await.unwrap();
        let forced = CleanupOptions { force: true, ..CleanupOptions::default() };
        // Content that the other gives up at the same time, and content that it only moves.
        let content = |n: &str| files[&n.parse::<MeshPath>().unwrap()].clone();
        let (lost, moved) = (content("07"), content("01"));
        let (cleaned, first, second) = futures::join!(
            one.client.cleanup(forced),
            two.put("two/lost", &lost),
            two.put("two/moved", &moved)
        );
        cleaned.unwrap();
        assert_eq!(first.pending + second.pending, 0);
        let mut left: BTreeMap<MeshPath, Vec<u8>> = (0..3)
            .map(|n| (format!("{n:02}").parse().unwrap(), content(&format!("{n:02}"))))
            .collect();
        left.insert("two/lost".parse().unwrap(), lost);
        left.insert("two/moved".parse().unwrap(), moved);
        for _ in 0..2 {
            for device in [&one, &two] {
                device.client.catch_up().await.unwrap();
                assert!(device.bytes().await == left);
                device.client.cleanup(forced).await.unwrap();
            }
        }
        let fresh = Device::blank(&cluster, 23);
        fresh.client.catch_up().await.unwrap();
        assert!(fresh.bytes().await == left);
    });
}

#[test]
fn two_devices_that_repack_at_once_lose_nothing() {
    sim::run_seeds(60..66, |world| async move {
        let cluster = Cluster::seven(&world);
        let one = Device::blank(&cluster, 21);
        one.client.catch_up().await.unwrap();
        let files = many();
        one.client.put(&mut Files::new(&files), &PutOptions::default(), None).await.unwrap();
        let gone: Vec<String> = (3..30).map(|n| format!("{n:02}")).collect();
        one.client.remove(&gone).await.unwrap();
        let two = Device::blank(&cluster, 22);
        two.client.catch_up().await.unwrap();
        let forced = CleanupOptions { force: true, ..CleanupOptions::default() };
        let (a, b) = futures::join!(one.client.cleanup(forced), two.client.cleanup(forced));
        a.unwrap();
        b.unwrap();
        let left: BTreeMap<MeshPath, Vec<u8>> = files.into_iter().take(3).collect();
        for device in [&one, &two] {
            device.client.catch_up().await.unwrap();
            assert!(device.bytes().await == left);
            device.client.cleanup(forced).await.unwrap();
            assert!(device.bytes().await == left);
        }
    });
}

#[test]
fn words_alone_restore_every_file_version_and_tag() {
    sim::assert_replays(40, |world| async move {
        let cluster = Cluster::seven(&world);
        let stored = files();
        cluster.put(&stored).await;
        // So many operations that the head has no room for them, in several rounds.
        for round in 0..6u8 {
            let small: BTreeMap<MeshPath, Vec<u8>> = (0..100)
                .map(|i| (format!("small/{i}").parse().unwrap(), vec![round; i + 1]))
                .collect();
            let options = PutOptions { tags: vec![format!("round-{round}")], ..Default::default() };
            let report = cluster.client.put(&mut Files::new(&small), &options, None).await.unwrap();
            assert_eq!((report.stored.len(), report.pending), (100, 0));
        }
        let removed = cluster.client.remove(&["small/7".to_owned()]).await.unwrap();
        assert_eq!(removed.pending, 0);

        world.kill(cluster.nodes[2].id);
        world.kill(cluster.nodes[5].id);
        let device = Device::blank(&cluster, 0xD1);
        let found = find_grant(device.client.engine(), &device.keys).await.unwrap();
        assert_eq!(found, (Some((*cluster.grant).clone()), true));
        assert!(matches!(
            device.client.catalog().lookup(&"small/1".parse().unwrap()),
            Err(CatalogError::Incomplete)
        ));
        let caught = device.client.catch_up().await.unwrap();
        assert!(!caught.may_be_old && caught.operations > 600, "{caught:?}");
        let catalog = device.client.catalog();
        catalog.check().unwrap();
        assert_eq!(told(catalog), told(cluster.client.catalog()));
        assert_eq!(catalog.totals().unwrap(), cluster.client.catalog().totals().unwrap());
        let bytes = device.bytes().await;
        assert_eq!(bytes.len(), stored.len() + 99);
        for (path, content) in &stored {
            assert!(bytes[path] == *content, "{path}");
        }
    });
}

#[test]
fn devices_see_what_the_others_published() {
    sim::assert_replays(41, |world| async move {
        let cluster = Cluster::seven(&world);
        cluster.put(&files()).await;
        let (one, two) = (Device::blank(&cluster, 0xD1), Device::blank(&cluster, 0xD2));
        one.put("from one", b"1").await;
        two.put("from two", &fixtures::noise(3, 100_000)).await;
        // The same path by both: one file with versions of both devices.
        one.client.catch_up().await.unwrap();
        one.put("from two", b"changed by one").await;
        for device in [&one, &two] {
            let caught = device.client.catch_up().await.unwrap();
            assert!(!caught.may_be_old && !caught.took_log, "{caught:?}");
        }
        cluster.client.catch_up().await.unwrap();
        assert_eq!(told(one.client.catalog()), told(two.client.catalog()));
        assert_eq!(told(one.client.catalog()), told(cluster.client.catalog()));
        let versions = two.client.versions("from two").await.unwrap();
        assert_eq!(versions.len(), 2);
        assert!(versions[0].put().unwrap().file == versions[1].put().unwrap().file);
        // Nothing new: nothing comes.
        assert_eq!(two.client.catch_up().await.unwrap(), Default::default());
    });
}

#[test]
fn two_devices_that_edit_one_path_apart_keep_both() {
    sim::assert_replays(48, |world| async move {
        let cluster = Cluster::seven(&world);
        let (one, two) = (Device::blank(&cluster, 0xD1), Device::blank(&cluster, 0xD2));
        one.put("notes/report.txt", b"as both know it").await;
        two.client.catch_up().await.unwrap();
        // Neither reaches the other's nodes: what they put is pending.
        let nodes: Vec<NodeId> = cluster.nodes.iter().map(|node| node.id).collect();
        for device in [0xD1, 0xD2] {
            for node in &nodes {
                world.cut(NodeId([device; 32]), *node);
            }
        }
        assert_eq!(one.put("notes/report.txt", b"edited by one").await.pending, 1);
        assert_eq!(two.put("notes/report.txt", b"edited by two").await.pending, 1);
        world.heal();
        for device in [&one, &two, &one] {
            assert_eq!(device.client.publish().await.unwrap().pending, 0);
            device.client.catch_up().await.unwrap();
        }
        let third = Device::blank(&cluster, 0xD3);
        third.client.catch_up().await.unwrap();
        for device in [&one, &two, &third] {
            assert_eq!(told(device.client.catalog()), told(one.client.catalog()));
            let mut contents = device.bytes().await;
            let report = contents.remove(&"notes/report.txt".parse().unwrap()).unwrap();
            let (name, other) = contents.pop_first().unwrap();
            assert!(name.as_str().starts_with("notes/report (conflict of d"), "{name}");
            assert!(name.as_str().ends_with(").txt") && contents.is_empty(), "{name}");
            let both = std::collections::BTreeSet::from([report, other]);
            assert_eq!(both, [b"edited by one".to_vec(), b"edited by two".to_vec()].into());
            // The purge of old versions leaves both.
            let keep = Retention { keep: 1, younger_than_ms: 0, deleted_for_ms: 0 };
            let dry = device.client.purge(&["notes/report.txt".to_owned()], &keep, true).await;
            assert_eq!(dry.unwrap().versions, 1);
        }
        let name = third.bytes().await.into_keys().find(|name| name.as_str().contains("conflict"));
        let removed = third.client.remove(&[String::from(name.unwrap())]).await.unwrap();
        assert_eq!((removed.paths.len(), removed.pending), (1, 0));
        one.client.catch_up().await.unwrap();
        assert_eq!(one.bytes().await.len(), 1);
        one.client.catalog().check().unwrap();
    });
}

#[test]
fn a_reader_waits_as_long_as_operations_come_in() {
    sim::run(49, |world| async move {
        let cluster = Cluster::seven(&world);
        let (one, two) = (Device::blank(&cluster, 0xD1), Device::blank(&cluster, 0xD2));
        for number in 0..150 {
            one.put(&format!("file {number}"), &fixtures::noise(number, 4000)).await;
        }
        let latency = Duration::from_millis(150);
        let link = Link { latency: latency..=latency, ..Link::default() };
        world.set_link(NodeId([0xD2; 32]), link);
        let begun = world.elapsed();
        two.client.catch_up_lately().await;
        assert_eq!(told(two.client.catalog()), told(one.client.catalog()));
        assert!((world.elapsed() - begun).as_secs_f64() > 1.0, "it was to take its time");
        assert!(!two.client.catch_up_if_due().await.unwrap().may_be_old);
    });
}

#[test]
fn without_a_quorum_a_put_is_pending_and_a_removal_refused() {
    sim::assert_replays(42, |world| async move {
        let cluster = Cluster::seven(&world);
        let device = Device::blank(&cluster, 0xD1);
        device.put("before", b"before").await;
        let lost: Vec<NodeId> = cluster.nodes.iter().take(3).map(|node| node.id).collect();
        let others: Vec<NodeId> = cluster.nodes.iter().skip(3).map(|node| node.id).collect();
        let group: Vec<NodeId> = others.iter().copied().chain([NodeId([0xD1; 32])]).collect();
        world.partition(&[&group, &lost]);
        // Its content lives in the catalog, so it needs nothing but the quorum.
        assert_eq!(device.put("inline", b"small").await.pending, 1);
        assert_eq!(device.put("inline too", b"small").await.pending, 2);
        let refused = device.client.remove(&["before".to_owned()]).await;
        assert!(matches!(refused, Err(ClientError::MayBeOld)), "{refused:?}");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(device.client.catch_up_if_due().await.unwrap().may_be_old);
        assert!(device.client.resolve("before", None).await.is_ok());

        world.heal();
        assert_eq!(device.client.publish().await.unwrap().pending, 0);
        assert_eq!(device.client.remove(&["before".to_owned()]).await.unwrap().pending, 0);
        let other = Device::blank(&cluster, 0xD2);
        other.client.catch_up().await.unwrap();
        assert_eq!(told(other.client.catalog()), told(device.client.catalog()));
        assert_eq!(other.bytes().await.len(), 2);
    });
}

#[test]
fn a_home_put_back_from_a_copy_takes_another_log_and_nothing_is_lost() {
    sim::assert_replays(43, |world| async move {
        let cluster = Cluster::seven(&world);
        let device = Device::blank(&cluster, 0xD1);
        device.put("one", b"1").await;
        let (live, old) = device.copied(&cluster, 0xD2);
        live.put("two", b"2").await;
        live.put("three", &fixtures::noise(9, 50_000)).await;
        drop(live);
        world.kill(NodeId([0xD1; 32]));

        let log = old.client.catalog().owner().log;
        let caught = old.client.catch_up().await.unwrap();
        assert!(caught.took_log && !caught.may_be_old && caught.operations == 2, "{caught:?}");
        assert_ne!(old.client.catalog().owner().log, log);
        assert_eq!(old.put("four", b"4").await.pending, 0);
        assert_eq!(old.client.remove(&["two".to_owned()]).await.unwrap().pending, 0);
        assert!(!old.client.catch_up().await.unwrap().took_log);
        let other = Device::blank(&cluster, 0xD3);
        other.client.catch_up().await.unwrap();
        assert_eq!(told(other.client.catalog()), told(old.client.catalog()));
        let names: Vec<String> = other.bytes().await.into_keys().map(String::from).collect();
        assert_eq!(names, ["four", "one", "three"]);
    });
}

#[test]
fn two_copies_of_one_home_cannot_both_go_on() {
    sim::assert_replays(44, |world| async move {
        let cluster = Cluster::seven(&world);
        let device = Device::blank(&cluster, 0xD1);
        device.put("one", b"1").await;
        let (one, two) = device.copied(&cluster, 0xD2);
        // Both know the log's end before either goes on.
        one.client.catch_up().await.unwrap();
        two.client.catch_up().await.unwrap();
        assert_eq!(one.put("by one", b"1").await.pending, 0);
        let report = two.put("by two", b"2").await;
        assert!(matches!(report.stopped, Some(ClientError::Forked { .. })), "{report:?}");
        // What was acknowledged is there; the other was told that it was not.
        let other = Device::blank(&cluster, 0xD3);
        other.client.catch_up().await.unwrap();
        let names: Vec<String> = other.bytes().await.into_keys().map(String::from).collect();
        assert_eq!(names, ["by one", "one"]);
    });
}

#[test]
fn a_head_withheld_by_a_minority_is_found_with_the_others() {
    sim::assert_replays(45, |world| async move {
        let cluster = Cluster::seven(&world);
        let device = Device::blank(&cluster, 0xD1);
        device.put("one", b"1").await;
        // The newest head does not reach two nodes.
        let late: Vec<NodeId> = cluster.nodes.iter().take(2).map(|node| node.id).collect();
        for node in &late {
            world.cut(NodeId([0xD1; 32]), *node);
        }
        assert_eq!(device.put("two", b"2").await.pending, 0);
        // The reader reaches these two, and not two of those that have it.
        let other = Device::blank(&cluster, 0xD2);
        for node in cluster.nodes.iter().skip(2).take(2) {
            world.cut(NodeId([0xD2; 32]), node.id);
        }
        let caught = other.client.catch_up().await.unwrap();
        assert!(!caught.may_be_old, "{caught:?}");
        assert_eq!(told(other.client.catalog()), told(device.client.catalog()));
        // One more away, and it says that it cannot know.
        world.cut(NodeId([0xD2; 32]), cluster.nodes[4].id);
        assert!(other.client.catch_up().await.unwrap().may_be_old);
    });
}

#[test]
fn what_one_log_tells_of_another_is_remembered_until_somebody_has_it() {
    sim::assert_replays(47, |world| async move {
        let cluster = Cluster::seven(&world);
        let (one, two) = (Device::blank(&cluster, 0xD1), Device::blank(&cluster, 0xD2));
        two.put("by two", b"2").await;
        one.client.catch_up().await.unwrap();
        one.put("by one", b"1").await;
        for node in &cluster.nodes {
            node.liar.set(Lie::Withhold(LogId([0xD2; 16])));
        }
        let other = Device::blank(&cluster, 0xD3);
        for _ in 0..3 {
            assert!(other.client.catch_up().await.unwrap().may_be_old);
            assert!(!other.client.catalog().whole());
        }
        for node in &cluster.nodes {
            node.liar.set(Lie::None);
        }
        assert!(!other.client.catch_up().await.unwrap().may_be_old);
        assert_eq!(told(other.client.catalog()), told(one.client.catalog()));
    });
}

#[test]
fn a_node_that_was_away_gets_the_heads_it_missed_and_nobody_gets_them_twice() {
    sim::assert_replays(46, |world| async move {
        let cluster = Cluster::seven(&world);
        let device = Device::blank(&cluster, 0xD1);
        let account = device.keys.pseudonym(&cluster.genesis.mesh_id()).unwrap();
        let away = device.client.engine().head_keepers(&account)[0];
        let mut others: Vec<NodeId> = cluster.nodes.iter().map(|node| node.id).collect();
        others.retain(|node| *node != away);
        others.push(NodeId([0xD1; 32]));
        world.partition(&[&others, &[away]]);
        assert_eq!(device.put("one", b"1").await.pending, 0);

        let (missing, keeping): (Vec<_>, Vec<_>) =
            cluster.nodes.iter().partition(|node| node.id == away);
        assert!(missing[0].store.heads_after(None, 10).is_empty());
        let movers: Vec<HeadMover> = keeping
            .iter()
            .map(|node| HeadMover::new(Arc::clone(&node.engine), Arc::clone(&node.store)))
            .collect();
        let pass = async || {
            let mut moved = 0;
            for (node, mover) in keeping.iter().zip(&movers) {
                node.engine.look_around().await;
                moved += mover.pass().await;
            }
            moved
        };
        assert_eq!(pass().await, 0);
        // While it stays away nothing is carried to anybody.
        assert_eq!(pass().await, 0);
        world.heal();
        assert!(pass().await > 0);
        assert_eq!(missing[0].store.heads_after(None, 10).len(), 1);
        assert_eq!(pass().await, 0);
    });
}

#[test]
fn a_version_that_is_taken_back_stays_whatever_others_give_up_meanwhile() {
    // The other device comes in at every moment of a slow device's work.
    for start in 0..60 {
        sim::run(48, |world| async move {
            let cluster = Cluster::seven(&world);
            let (slow, quick) = (Device::blank(&cluster, 0xD1), Device::blank(&cluster, 0xD2));
            slow.put("a file", &fixtures::noise(1, 100_000)).await;
            let version = slow.client.resolve("a file", None).await.unwrap();
            let placed = slow.client.placement(version.put().unwrap()).await.unwrap();
            slow.client.remove(&["a file".to_owned()]).await.unwrap();
            quick.client.catch_up().await.unwrap();
            let latency = Duration::from_millis(500);
            let link = Link { latency: latency..=latency, ..Link::default() };
            world.set_link(NodeId([0xD1; 32]), link);
            let name = ["a file".to_owned()];
            let (taken_back, _) = tokio::join!(slow.client.undelete("a file", None), async {
                tokio::time::sleep(Duration::from_millis(250 * start)).await;
                quick.client.undelete("a file", None).await.ok()?;
                quick.client.remove(&name).await.ok()?;
                let now = Retention { keep: 1, younger_than_ms: 0, deleted_for_ms: 0 };
                quick.client.purge(&name, &now, false).await.ok()
            });
            // Where it came too late it says so, and nothing refers to what went.
            let Ok(taken_back) = taken_back else { return };
            assert_eq!(taken_back.pending, 0);
            let held = cluster.nodes.iter().map(|node| node.store.held(placed[0].segment));
            let held: u32 = held.map(u32::count_ones).sum();
            let versions = slow.client.versions("a file").await.unwrap();
            let known = versions.iter().filter_map(|version| Some((version, version.put()?)));
            let mut mine = known.filter(|(_, put)| put.version == taken_back.version);
            let given_up = mine.any(|(version, _)| version.purged);
            assert!(given_up || held == 6, "{held} shards are held, started at {start}");
        });
    }
}
