//! Real nodes join a mesh that is more than half full, and shards move to them.

use std::time::{Duration, Instant};

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;

use crate::PROGRAM;

/// How long shards may move before the test calls it for ever.
const PATIENCE: Duration = Duration::from_secs(150);

const OLD: usize = 6;
const ALL: usize = 10;

/// What each node offers.
const ROOM: u64 = 32 << 20;

fn stats(mesh: &Mesh, node: usize) -> serde_json::Value {
    mesh.run(&format!("n{node}"), &["stats", "--json"]).ok().json()
}

fn number(value: &serde_json::Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
fn nodes_that_join_a_full_mesh_take_their_part_of_it() {
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.offer("32MiB");
    mesh.set("membership.offline_after", "10s");
    mesh.set("repair.interval", "2s");
    mesh.set("collection.trash", "3s");
    mesh.set("collection.interval", "500ms");
    mesh.found(OLD);
    // Half as much again as parity: 17 of the 32 MiB of each.
    let files: Vec<(String, Vec<u8>)> =
        (0..10).map(|n| (format!("file-{n}"), noise(n, 7_000_000))).collect();
    for (name, bytes) in &files {
        mesh.pipe("n0", &["put", "--", "-", name], bytes).ok();
    }
    let full: Vec<u64> = (0..OLD).map(|node| mesh.packed(node)).collect();
    assert!(full.iter().all(|bytes| *bytes > ROOM / 2), "{full:?}");

    let ticket = mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
    for node in OLD..ALL {
        mesh.run(&format!("n{node}"), &["join", &ticket]).ok();
        mesh.start(node, &["--domain", &format!("zone-{node}/host-{node}")]);
    }
    mesh.members(ALL);

    // What was moved is gone from the disks of the old ones, and nothing waits to be.
    let end = Instant::now() + PATIENCE;
    loop {
        let all: Vec<serde_json::Value> = (0..ALL).map(|node| stats(&mesh, node)).collect();
        let moves = |stats: &serde_json::Value| {
            number(&stats["repair"]["moves_left"]) + number(&stats["store"]["moved"])
        };
        let rests = all.iter().all(|stats| moves(stats) == 0);
        // A pack is written anew only when enough of it is dead, so one node may wait with that.
        let packed: u64 = (0..OLD).map(|node| mesh.packed(node)).sum();
        let removed = (0..OLD).all(|node| number(&all[node]["store"]["removed"]) > 0);
        let fell = removed && packed < full.iter().sum::<u64>() / 10 * 9;
        let rose = (OLD..ALL).all(|node| number(&all[node]["store"]["shards"]) > 0);
        if rests && fell && rose {
            let moved: u64 = all.iter().map(|one| number(&one["repair"]["shards_moved"])).sum();
            let removed: u64 = all.iter().map(|one| number(&one["store"]["removed"])).sum();
            assert!(moved > 0 && removed <= moved, "{removed} of {moved}");
            for one in &all {
                assert_eq!(one["store"]["trash_asked"], 0);
                // Six shards each: two above k; pages of the catalog have five.
                let margins = one["margins"].as_object().unwrap();
                assert!(margins.keys().all(|margin| ["2", "5"].contains(&margin.as_str())));
            }
            break;
        }
        let left: Vec<u64> = (0..ALL).map(|node| mesh.packed(node)).collect();
        assert!(Instant::now() < end, "{full:?} became {left:?}: {all:#?}");
        std::thread::sleep(Duration::from_millis(500));
    }
    // And from another home's view, everything is as it was.
    for (name, bytes) in &files {
        assert!(mesh.bytes("n0", &["get", "--", name, "-"]) == *bytes, "{name} differs");
    }
    let spread = mesh.run("n0", &["distribution", "--json"]).ok().json();
    let shards: Vec<u64> =
        spread["nodes"].as_array().unwrap().iter().map(|node| number(&node["shards"])).collect();
    assert!(shards.len() == ALL && shards.iter().all(|count| *count > 0), "{shards:?}");
    // Each shard is held once.
    assert_eq!(number(&spread["shards"]), 6 * number(&spread["segments"]));
}
