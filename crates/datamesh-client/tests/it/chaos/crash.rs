//! A node's process ends before, in the middle of and after every named step of repair, of moving
//! heads, and of collection, with its power or without.
//!
//! Too few nodes store files, others join and take shards; one node is lost for good; a file is given
//! up. Whichever step of it is cut off: every file is identical, all margins are full, what was given
//! up goes, and nothing else does.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datamesh_client::{CleanupOptions, PutOptions};
use datamesh_core::{MeshPath, NodeId};
use datamesh_engine::points;
use datamesh_testkit::sim::{self, World};
use datamesh_testkit::{Crash, fixtures};
use tokio::time::sleep;

use super::mesh::Mesh;
use super::owner::Device;
use super::{HOUR, heals};
use crate::cluster::DISK_BYTES;
use crate::crash::{each_on_all_cores, is_of_nodes};
use crate::streams::{Collected, Files};

const NUMBER: u8 = 0xD1;

/// A node that was cut off is away for so long.
const AWAY: Duration = Duration::from_secs(90);

/// Ends the process that comes to its step, and starts it again.
async fn strike(mesh: &Mesh, struck: &Cell<bool>) {
    let id = mesh.world.crashed().await;
    let power = mesh.world.draw(2) == 0;
    struck.set(true);
    mesh.with(id, |member| member.kill(&mesh.world, power));
    sleep(AWAY).await;
    mesh.start(id);
    std::future::pending().await
}

async fn assert_intact(device: &Device, files: &BTreeMap<MeshPath, Vec<u8>>) {
    let mut sink = Collected::default();
    let report = device.client.get(datamesh_client::Wanted::Below(None), &mut sink, None).await;
    let report = report.unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert!(sink.files == *files, "other bytes");
}

async fn life(mesh: &Mesh) {
    let device = Device::blank(mesh, NUMBER).await;
    device.settle(mesh, HOUR).await;
    let file = |name: &str, seed, size| (name.parse().unwrap(), fixtures::noise(seed, size));
    let mut files = BTreeMap::from([file("a", 1, 300_000), file("b", 2, 5_000_000)]);
    let options = PutOptions { allow_degraded: true, ..PutOptions::default() };
    let report = device.client.put(&mut Files::new(&files), &options, None).await.unwrap();
    assert_eq!((report.stored.len(), report.pending), (2, 0), "{report:?}");
    let all: BTreeSet<_> = device.client.all_segments().await.unwrap().into_iter().collect();

    // Shards move where there are more domains, and heads where there are more keepers.
    for _ in 0..3 {
        let id = mesh.admit();
        mesh.start(id);
    }
    sleep(Duration::from_secs(300)).await;
    heals(mesh, &all).await;
    // One is gone for good.
    let lost = mesh.up()[mesh.world.draw(5) as usize];
    mesh.with(lost, |member| {
        member.kill(&mesh.world, true);
        member.lost = true;
    });
    sleep(Duration::from_secs(600)).await;
    heals(mesh, &all).await;
    assert_intact(&device, &files).await;
    // What is given up leaves the disks.
    device.settle(mesh, HOUR).await;
    device.client.remove(&["b".to_owned()]).await.unwrap();
    let forced = CleanupOptions { force: true, ..CleanupOptions::default() };
    device.client.cleanup(forced).await.unwrap();
    files.remove(&"b".parse::<MeshPath>().unwrap());
    for days in [1, 8, 1, 8] {
        mesh.days(days).await;
        sleep(Duration::from_secs(660)).await;
    }
    device.settle(mesh, HOUR).await;
    let live: BTreeSet<_> = device.client.all_segments().await.unwrap().into_iter().collect();
    heals(mesh, &live).await;
    assert_intact(&device, &files).await;
    assert_eq!(mesh.trash(), Vec::<String>::new());
    for (segment, copies) in mesh.census(&[]).segments {
        // Pages of the catalog are coded with k = 1.
        assert!(live.contains(&segment) || copies.k == 1, "{segment} is garbage: {copies:?}");
    }
}

/// One life of the mesh. Says whether the step was cut off, and which steps there were.
fn lived(cut: Option<(&'static str, Crash)>, seed: u64) -> (bool, BTreeMap<&'static str, u64>) {
    sim::run(seed, |world: World| async move {
        let mut mesh = Mesh::new(&world, 5, DISK_BYTES / 2, 0);
        mesh.devices = vec![NodeId([NUMBER; 32])];
        let mesh = mesh;
        sleep(Duration::from_secs(300)).await;
        if let Some((point, crash)) = cut {
            world.crash_at(None, point, crash, 1);
        }
        let struck = Cell::new(false);
        tokio::select! {
            biased;
            () = strike(&mesh, &struck) => {}
            () = life(&mesh) => {}
        }
        (struck.get(), world.steps_begun())
    })
}

#[test]
#[expect(clippy::print_stdout, reason = "how many there are is what is asked of it")]
fn a_node_that_ends_at_any_step_loses_and_keeps_nothing() {
    let (_, begun) = lived(None, 1);
    let mine: Vec<&'static str> = points::ALL.into_iter().filter(|p| is_of_nodes(p)).collect();
    let missed: Vec<_> = mine.iter().filter(|point| !begun.contains_key(*point)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
    let runs: Vec<_> = mine.iter().flat_map(|p| Crash::ALL.map(|crash| (*p, crash))).collect();
    each_on_all_cores(&runs, |(point, crash)| {
        let (struck, _) = lived(Some((point, *crash)), 1);
        assert!(struck, "{point} {crash:?} was not cut off");
    });
    println!("{} points of nodes, {} crashes", mine.len(), runs.len());
}
