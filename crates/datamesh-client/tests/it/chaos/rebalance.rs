//! Nodes join a mesh that is more than half full, and shards move to them until all is even.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use datamesh_client::{PutOptions, Wanted};
use datamesh_core::{MeshPath, NodeId, SegmentId};
use datamesh_store::Usage;
use datamesh_testkit::fixtures;
use datamesh_testkit::sim::{self, World};
use tokio::time::sleep;

use super::HOUR;
use super::mesh::Mesh;
use super::owner::Device;
use crate::streams::{Collected, Files};

const CAPACITY: u64 = 24 << 20;

/// Largest difference of fill at rest, in percent: ten points, the sixteenth that an advert does not
/// tell, the dead in packs of which less than a quarter is, and a shard of 4 of 24 MiB's quarter.
const EVEN: u64 = 10 + 7 + 10;

fn files() -> BTreeMap<MeshPath, Vec<u8>> {
    // 57 MB, which take 82 of the 144 MiB that six nodes offer.
    let sizes = (0..150_usize).map(|n| 50_000 + n * 4_400);
    sizes
        .zip(0..)
        .map(|(size, seed)| (format!("file-{seed}").parse().unwrap(), fixtures::noise(seed, size)))
        .collect()
}

/// Bytes on the disk of each node, and bytes of the shards that it holds, in percent of what it offers.
fn fills(mesh: &Mesh, nodes: &[NodeId]) -> Vec<(u64, u64)> {
    let usage = |id: &NodeId| mesh.with(*id, |m| m.life.as_ref().unwrap().store.usage().unwrap());
    let fill = |usage: Usage| (usage.used * 100 / CAPACITY, usage.shard_bytes * 100 / CAPACITY);
    nodes.iter().map(usage).map(fill).collect()
}

fn moved(mesh: &Mesh) -> u64 {
    let members = mesh.members();
    let lives = members.iter().filter_map(|member| member.life.as_ref());
    lives.map(|life| life.repairer.status().shards_moved).sum()
}

/// Shards that collectors removed, and that they took back.
fn collected(mesh: &Mesh) -> (u64, u64) {
    let members = mesh.members();
    let lives = members.iter().filter_map(|member| member.life.as_ref());
    let states = lives.map(|life| life.collector.state());
    states.fold((0, 0), |sum, state| (sum.0 + state.removed, sum.1 + state.taken_back))
}

fn in_trash(mesh: &Mesh) -> u64 {
    let members = mesh.members();
    let lives = members.iter().filter_map(|member| member.life.as_ref());
    lives.map(|life| life.store.usage().unwrap()).map(|usage| usage.moved + usage.trash).sum()
}

/// Lets the mesh go on until nothing moves for longer than any look waits.
async fn rests(mesh: &Mesh) {
    for _ in 0..24 {
        let before = moved(mesh);
        sleep(HOUR).await;
        if moved(mesh) == before {
            return;
        }
    }
    panic!("shards move for ever");
}

async fn compare(device: &Device, files: &BTreeMap<MeshPath, Vec<u8>>) {
    let mut sink = Collected::default();
    let report = device.client.get(Wanted::Below(None), &mut sink, None).await.unwrap();
    assert!(report.failed.is_empty() && sink.broken.is_empty(), "{:?}", report.failed);
    assert!(sink.files == *files, "what came back is not what was stored");
}

/// Every segment that any disk has is whole, each shard in a domain of its own.
fn assert_whole(mesh: &Mesh) -> usize {
    let census = mesh.census(&[]);
    let all: BTreeSet<SegmentId> = census.segments.keys().copied().collect();
    assert_eq!(mesh.lacking(&census, &all), Vec::<String>::new());
    let copies = |copies: &super::mesh::Copies| copies.shards.values().map(BTreeSet::len).sum();
    census.segments.values().map(copies).collect::<Vec<usize>>().iter().sum()
}

async fn scenario(world: World) {
    let mut mesh = Mesh::new(&world, 6, CAPACITY, 0);
    mesh.devices = vec![NodeId([0xD1; 32])];
    let mesh = mesh;
    sleep(Duration::from_secs(300)).await;
    let device = Device::blank(&mesh, 0xD1).await;
    let files = files();
    // A few files at a time, each time a segment of their own: by which nodes the ranking of a segment
    // prefers a node gets more or less, and over few segments that would not even out.
    let all: Vec<_> = files.iter().collect();
    for some in all.chunks(3) {
        let some = some.iter().map(|(path, bytes)| ((*path).clone(), (*bytes).clone())).collect();
        let (mut files, options) = (Files::new(&some), PutOptions::default());
        let report = device.client.put(&mut files, &options, None).await.unwrap();
        assert!(report.stopped.is_none(), "{:?}", report.stopped);
    }
    device.settle(&mesh, HOUR).await;
    let old = mesh.up();
    let shards = assert_whole(&mesh);
    let before = fills(&mesh, &old);
    assert!(before.iter().all(|(used, _)| *used > 50), "{before:?}");
    assert_eq!(moved(&mesh), 0, "nothing moves while all are as full");

    let new: Vec<NodeId> = (0..5).map(|_| mesh.admit()).collect();
    for id in &new {
        mesh.start(*id);
    }
    rests(&mesh).await;
    // Each is elsewhere, proved, and in the trash of whoever gave it; nothing is gone yet.
    let first = moved(&mesh);
    assert!(first > 0 && in_trash(&mesh) == first, "{first} moved, {} in trash", in_trash(&mesh));
    assert_eq!(assert_whole(&mesh), shards, "each shard is held once");
    compare(&device, &files).await;

    for _ in 0..3 {
        mesh.days(8).await;
        sleep(HOUR).await;
        rests(&mesh).await;
    }
    assert_eq!(in_trash(&mesh), 0);
    assert_eq!(collected(&mesh), (moved(&mesh), 0));
    assert_eq!(assert_whole(&mesh), shards, "each shard is held once");
    let (after, joined) = (fills(&mesh, &old), fills(&mesh, &new));
    world.note(format!("{first} of {shards} moved: {before:?} to {after:?} and {joined:?}"));
    for (before, after) in before.iter().zip(&after) {
        assert!(after.0 < before.0 && after.1 < before.1, "{after:?} of {before:?}");
    }
    let all = || after.iter().chain(&joined).map(|(_, held)| *held);
    let (most, least) = (all().max().unwrap(), all().min().unwrap());
    assert!(most - least <= EVEN, "{after:?} {joined:?}");
    // And it is at rest: more days change nothing.
    let end = moved(&mesh);
    mesh.days(2).await;
    sleep(3 * HOUR).await;
    assert_eq!((moved(&mesh), in_trash(&mesh)), (end, 0));
    let asked = |member: &super::member::Member| {
        member.life.as_ref().map_or(0, |life| life.store.usage().unwrap().trash_asked)
    };
    assert_eq!(mesh.members().iter().map(asked).sum::<u64>(), 0, "nobody missed anything");
    let blank = Device::blank(&mesh, 0xD2).await;
    blank.settle(&mesh, HOUR).await;
    compare(&blank, &files).await;
}

#[test]
fn nodes_join_a_full_mesh_and_fill_evens_out() {
    sim::run_many(3, |world| async move { scenario(world).await });
}
