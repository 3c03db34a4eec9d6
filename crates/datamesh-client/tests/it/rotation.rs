//! Epochs: a new one begins without anything moving, and a revoked device is out of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datamesh_catalog::AccountDb;
use datamesh_client::{ClientError, PutOptions, derive_epochs, find_grant};
use datamesh_core::NodeId;
use datamesh_core::epochs::EPOCHS_LOG;
use datamesh_crypto::keystore;
use datamesh_testkit::sim::Lie;
use datamesh_testkit::{fixtures, sim};

use crate::cluster::{Cluster, files};
use crate::devices::{Device, told};
use crate::streams::Files;

/// A device that was put together from the words now.
async fn recovered(cluster: &Cluster, number: u8) -> Device {
    let device = Device::blank(cluster, number);
    let reached = derive_epochs(device.client.engine(), &device.keys, &cluster.words).await;
    assert!(reached.unwrap());
    let found = find_grant(device.client.engine(), &device.keys).await.unwrap();
    assert_eq!(found, (Some((*cluster.grant).clone()), true));
    let caught = device.client.catch_up().await.unwrap();
    assert!(!caught.may_be_old && !caught.took_log, "{caught:?}");
    device
}

const PASSWORD: &str = "correct horse";

/// A device's keystore, as it is written once and never again.
fn keystore_of(cluster: &Cluster, device: &Device) -> Vec<u8> {
    let entropy = cluster.world.entropy(NodeId([device.number; 32]));
    keystore::seal(&device.keys, PASSWORD, &*entropy).unwrap()
}

/// The same device in its home, begun anew with its keystore.
fn begun_anew(cluster: &Cluster, device: Device, keystore: &[u8]) -> Device {
    let Device { client, folder, number, .. } = device;
    drop(client);
    cluster.world.kill(NodeId([number; 32]));
    let keys = Arc::new(keystore::open(keystore, PASSWORD).unwrap());
    Device::over(cluster, number, keys, folder, AccountDb::open)
}

/// No node shows the epochs record, or all do.
fn withhold(cluster: &Cluster, withheld: bool) {
    for node in &cluster.nodes {
        node.liar.set(if withheld { Lie::Withhold(EPOCHS_LOG) } else { Lie::None });
    }
}

async fn names(device: &Device) -> Vec<String> {
    device.bytes().await.into_keys().map(String::from).collect()
}

/// What a put that must fail says.
async fn refused(device: &Device, path: &str) -> ClientError {
    let files = BTreeMap::from([(path.parse().unwrap(), b"late".to_vec())]);
    match device.client.put(&mut Files::new(&files), &PutOptions::default(), None).await {
        Err(error) => error,
        Ok(report) => report.stopped.unwrap(),
    }
}

#[test]
fn a_device_that_was_away_goes_on_in_the_new_epoch_without_words() {
    sim::assert_replays(60, |world| async move {
        let cluster = Cluster::seven(&world);
        cluster.put(&files()).await;
        let (one, two) = (Device::blank(&cluster, 0xD1), Device::blank(&cluster, 0xD2));
        one.put("by one", b"1").await;
        two.put("by two", b"2").await;
        let keystore = keystore_of(&cluster, &two);
        for epoch in 1..=2 {
            let rotated = one.client.rotate(&cluster.words, &[]).await.unwrap();
            assert_eq!((rotated.epoch, rotated.devices.len(), rotated.pending), (epoch, 3, 0));
            one.put(&format!("in epoch {epoch}"), b"sealed anew").await;
        }
        assert_eq!(one.keys.epochs(), [0, 1, 2]);
        // It publishes first, and learns of the epochs with that.
        assert_eq!(two.keys.epochs(), [0]);
        assert_eq!(two.put("by two later", b"22").await.pending, 0);
        assert_eq!(two.keys.epochs(), [0, 1, 2]);
        one.client.catch_up().await.unwrap();
        assert_eq!(told(one.client.catalog()), told(two.client.catalog()));
        two.client.catalog().check().unwrap();
        // The keys come from the catalog again, and from the words.
        let two = begun_anew(&cluster, two, &keystore);
        assert_eq!(two.keys.epochs(), [0, 1, 2]);
        let found = recovered(&cluster, 0xD3).await;
        assert_eq!(told(found.client.catalog()), told(one.client.catalog()));
        assert_eq!(found.bytes().await, two.bytes().await);
        assert_eq!(found.put("by the third", b"3").await.pending, 0);
        two.client.catch_up().await.unwrap();
        assert!(names(&two).await.contains(&"by the third".to_owned()));
    });
}

#[test]
fn a_revoked_device_is_told_so_and_nothing_of_it_counts_from_then_on() {
    sim::assert_replays(61, |world| async move {
        let cluster = Cluster::seven(&world);
        let (one, lost) = (Device::blank(&cluster, 0xD1), Device::blank(&cluster, 0xD2));
        let away = Device::blank(&cluster, 0xD3);
        one.put("by one", b"1").await;
        lost.put("by the lost", b"before").await;
        away.put("by the one away", b"3").await;
        let keystore = keystore_of(&cluster, &lost);
        let revoke = [lost.keys.device()];
        let rotated = one.client.rotate(&cluster.words, &revoke).await.unwrap();
        assert_eq!((rotated.epoch, rotated.revoked.as_slice()), (1, &revoke[..]));
        assert!(!rotated.devices.contains(&lost.keys.device()));

        // It wrote while it did not know, and is told.
        let error = refused(&lost, "too late").await;
        let ClientError::Revoked { epoch: 1, unpublished: 1, names: left } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(left, &["too late".parse().unwrap()]);
        assert!(error.to_string().contains("too late"), "{error}");
        assert_eq!(lost.keys.epochs(), [0]);
        // From then on before anything is done, also after it was begun anew without any node.
        let lost = begun_anew(&cluster, lost, &keystore);
        for node in &cluster.nodes {
            world.cut(NodeId([0xD2; 32]), node.id);
        }
        for name in ["again", "and again"] {
            let error = refused(&lost, name).await;
            assert!(matches!(error, ClientError::Revoked { unpublished: 1, .. }), "{error:?}");
        }
        assert!(lost.client.resolve("too late", None).await.is_ok(), "what it has it keeps");

        // The others see what it did before, and nothing later, whoever they are.
        away.client.catch_up().await.unwrap();
        one.client.catch_up().await.unwrap();
        let found = recovered(&cluster, 0xD4).await;
        for device in [&one, &away, &found] {
            assert_eq!(names(device).await, ["by one", "by the lost", "by the one away"]);
            assert_eq!(told(device.client.catalog()), told(one.client.catalog()));
            device.client.catalog().check().unwrap();
        }
        // Once is enough, and it is no device any more.
        let again = one.client.rotate(&cluster.words, &revoke).await;
        assert!(matches!(again, Err(ClientError::RevokedBefore { epoch: 1, .. })), "{again:?}");
        let own = one.client.rotate(&cluster.words, &[one.keys.device()]).await;
        assert!(matches!(own, Err(ClientError::OwnDevice { .. })), "{own:?}");
    });
}

#[test]
fn what_a_revoked_device_published_after_all_is_dropped_by_who_took_it_in() {
    sim::assert_replays(62, |world| async move {
        let cluster = Cluster::seven(&world);
        let (one, lost) = (Device::blank(&cluster, 0xD1), Device::blank(&cluster, 0xD2));
        let third = Device::blank(&cluster, 0xD3);
        one.put("by one", b"1").await;
        lost.put("by the lost", b"before").await;
        third.put("by the third", b"3").await;
        one.client.rotate(&cluster.words, &[lost.keys.device()]).await.unwrap();

        // The lost device does not ask, as a program of a thief's own would not: the record is kept
        // from it. So it is from the third for now.
        withhold(&cluster, true);
        assert_eq!(lost.put("by the lost", b"after").await.pending, 0);
        assert_eq!(lost.put("more", b"after").await.pending, 0);
        third.client.catch_up().await.unwrap();
        assert!(names(&third).await.contains(&"more".to_owned()));
        withhold(&cluster, false);

        third.client.catch_up().await.unwrap();
        one.client.catch_up().await.unwrap();
        assert_eq!(third.keys.epochs(), [0, 1]);
        third.client.catalog().check().unwrap();
        assert_eq!(told(third.client.catalog()), told(one.client.catalog()));
        assert_eq!(third.bytes().await[&"by the lost".parse().unwrap()], b"before");
        assert_eq!(names(&third).await, ["by one", "by the lost", "by the third"]);
    });
}

#[test]
fn nodes_that_withhold_the_record_do_not_keep_it_from_anybody_while_they_are_few() {
    sim::assert_replays(63, |world| async move {
        let cluster = Cluster::seven(&world);
        let (one, two) = (Device::blank(&cluster, 0xD1), Device::blank(&cluster, 0xD2));
        one.put("by one", b"1").await;
        two.put("by two", b"2").await;
        let late = Device::blank(&cluster, 0xD4);
        late.put("by the late", b"4").await;
        let slot = one.keys.epochs_slot(&cluster.genesis.mesh_id()).unwrap();
        let keepers = one.client.engine().head_keepers(&slot);
        for node in cluster.nodes.iter().filter(|node| keepers[..2].contains(&node.id)) {
            node.liar.set(Lie::Withhold(EPOCHS_LOG));
        }
        one.client.rotate(&cluster.words, &[]).await.unwrap();
        two.client.catch_up().await.unwrap();
        assert_eq!(two.keys.epochs(), [0, 1]);
        assert_eq!(two.put("by two later", b"22").await.pending, 0);
        let found = recovered(&cluster, 0xD3).await;
        assert_eq!(names(&found).await, ["by one", "by the late", "by two", "by two later"]);

        // A device that reaches too few to know says so.
        for node in &keepers[2..5] {
            world.cut(NodeId([0xD4; 32]), *node);
        }
        assert!(late.client.catch_up().await.unwrap().may_be_old);
        let refused = late.client.rotate(&cluster.words, &[]).await;
        assert!(matches!(refused, Err(ClientError::MayBeOld)), "{refused:?}");
    });
}

/// A rotation that is cut off anywhere leaves the epoch before or the next, with everything in it,
/// and can be done again.
#[test]
fn a_rotation_that_is_cut_off_leaves_everything_and_can_be_done_again() {
    let mut ends = std::collections::BTreeSet::new();
    for milliseconds in [1, 120, 200, 280, 360, 450, 600, 1200] {
        let seen = Arc::new(std::sync::Mutex::new(0));
        let tell = Arc::clone(&seen);
        sim::run(64, move |world| async move {
            let cluster = Cluster::seven(&world);
            let (one, lost) = (Device::blank(&cluster, 0xD1), Device::blank(&cluster, 0xD2));
            let other = Device::blank(&cluster, 0xD3);
            one.put("by one", b"1").await;
            lost.put("by the lost", b"2").await;
            other.put("by the other", b"3").await;
            let revoke = [lost.keys.device()];
            let cut = Duration::from_millis(milliseconds);
            let _cut_off =
                tokio::time::timeout(cut, one.client.rotate(&cluster.words, &revoke)).await;
            let keystore = keystore_of(&cluster, &one);
            // Whoever comes now finds everything.
            let found = recovered(&cluster, 0xD4).await;
            *tell.lock().unwrap() = found.keys.epochs().len();
            assert_eq!(names(&found).await, ["by one", "by the lost", "by the other"]);
            assert_eq!(found.put("found", b"4").await.pending, 0);
            assert_eq!(other.put("by the other", b"33").await.pending, 0);
            // The device that was cut off comes back and finishes what it began.
            let one = begun_anew(&cluster, one, &keystore);
            let again = one.client.rotate(&cluster.words, &revoke).await;
            let done = matches!(again, Ok(_) | Err(ClientError::RevokedBefore { .. }));
            assert!(done, "{again:?}");
            let error = refused(&lost, "too late").await;
            assert!(matches!(error, ClientError::Revoked { .. }), "{error:?}");
            for device in [&one, &other, &found] {
                device.client.catch_up().await.unwrap();
                assert_eq!(told(device.client.catalog()), told(one.client.catalog()));
            }
            assert_eq!(names(&one).await, ["by one", "by the lost", "by the other", "found"]);
            assert_eq!(one.bytes().await[&"by the other".parse().unwrap()], b"33");
        });
        ends.insert(*seen.lock().unwrap());
    }
    assert_eq!(Vec::from_iter(ends), [1, 2], "some were cut off before it began, some after");
}

/// Segments of an account, by whether a revoked device could release them.
async fn lease_keys(device: &Device, of: &Device) -> (usize, usize) {
    let client = &device.client;
    let (mut theirs, mut ours) = (0, 0);
    for segment in client.all_segments().await.unwrap() {
        let descriptor = client.engine().descriptor_of(&segment).await.unwrap();
        let mesh = client.engine().mesh();
        let release = of.keys.release(&mesh, &descriptor, 99);
        match release.verify(&descriptor.lease_key, &mesh) {
            Ok(()) => theirs += 1,
            Err(_) => ours += 1,
        }
    }
    (theirs, ours)
}

#[test]
fn sealing_everything_anew_leaves_a_revoked_device_nothing_to_release_or_read() {
    sim::assert_replays(66, |world| async move {
        let cluster = Cluster::seven(&world);
        let (one, lost) = (Device::blank(&cluster, 0xD1), Device::blank(&cluster, 0xD2));
        let stored = files();
        let (mut source, options) = (Files::new(&stored), PutOptions::default());
        let report = one.client.put(&mut source, &options, None).await.unwrap();
        assert!(report.failed.is_empty());
        // The same content once more, and one of many small files.
        one.put("again", &stored[&"files/of 300000 bytes".parse().unwrap()]).await;
        for number in 0..40 {
            one.put(&format!("small/{number}"), &fixtures::noise(number, 20_000)).await;
        }
        lost.put("by the lost", b"small").await;
        one.client.catch_up().await.unwrap();
        let before = one.client.all_segments().await.unwrap();
        let old = one.bytes().await;
        let revoke = [lost.keys.device()];
        one.client.rotate(&cluster.words, &revoke).await.unwrap();
        assert_eq!(lease_keys(&one, &lost).await, (before.len(), 0));

        let rekeyed = one.client.rekey().await.unwrap();
        assert_eq!((rekeyed.epoch, rekeyed.rewritten.pending), (1, 0));
        assert_eq!(rekeyed.rewritten.versions, rekeyed.versions);
        // Pages: those of the log that wrote so many small files, if not more.
        assert!(rekeyed.versions > 50 && rekeyed.logs > 0, "{rekeyed:?}");
        let after = one.client.all_segments().await.unwrap();
        assert!(after.iter().all(|segment| !before.contains(segment)));
        assert_eq!(lease_keys(&one, &lost).await, (0, after.len()));
        // What two versions share is stored once, as before.
        assert!(after.len() <= before.len(), "{} of {}", after.len(), before.len());
        assert!(one.bytes().await == old);
        // Nothing of what was there is served any more.
        for node in &cluster.nodes {
            assert!(before.iter().all(|segment| node.store.held(*segment) == 0));
        }
        // A second time there is nothing to do; others see it, and the words do.
        let again = one.client.rekey().await.unwrap();
        assert_eq!((again.versions, again.logs), (0, 0));
        let found = recovered(&cluster, 0xD3).await;
        assert!(found.bytes().await == old);
        one.put("later", b"later").await;
        one.client.catalog().check().unwrap();
    });
}

#[test]
fn sealing_anew_that_breaks_off_goes_on_and_other_devices_write_meanwhile() {
    sim::run_seeds(70..74, |world| async move {
        let cluster = Cluster::seven(&world);
        let (one, two) = (Device::blank(&cluster, 0xD1), Device::blank(&cluster, 0xD2));
        for number in 0..30 {
            one.put(&format!("one/{number}"), &fixtures::noise(number, 30_000)).await;
            two.put(&format!("two/{number}"), &fixtures::noise(100 + number, 3000)).await;
        }
        one.client.rotate(&cluster.words, &[]).await.unwrap();
        let keystore = keystore_of(&cluster, &one);
        let patience = Duration::from_millis(20 + world.draw(400));
        let cut = tokio::time::timeout(patience, one.client.rekey()).await;
        assert!(cut.is_err(), "it was done in {patience:?}");
        let one = begun_anew(&cluster, one, &keystore);
        let writing = async {
            for number in 0..20 {
                two.put(&format!("two/later {number}"), &fixtures::noise(200 + number, 9000)).await;
            }
        };
        let (rekeyed, ()) = futures::join!(one.client.rekey(), writing);
        assert_eq!(rekeyed.unwrap().rewritten.pending, 0);
        two.client.catch_up().await.unwrap();
        one.client.catch_up().await.unwrap();
        let again = one.client.rekey().await.unwrap();
        assert_eq!((again.rewritten.pending, one.bytes().await.len()), (0, 80));
        assert_eq!(told(one.client.catalog()), told(two.client.catalog()));
        assert!(one.bytes().await == two.bytes().await);
        let found = recovered(&cluster, 0xD3).await;
        assert!(found.bytes().await == two.bytes().await);
    });
}
