//! Real processes that heal a mesh while nobody with a key is there.

use std::process::Stdio;
use std::time::{Duration, Instant};

use datamesh_core::NodeId;
use datamesh_testkit::census::{self, Census};
use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::{Done, Mesh};
use datamesh_testkit::random::Dice;

use crate::PROGRAM;

/// How long a busy machine may take to heal.
const PATIENCE: Duration = Duration::from_secs(120);

/// A mesh whose nodes miss each other within seconds, and a home with an account alone.
fn mesh(count: usize) -> Mesh {
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.set("membership.offline_after", "2s");
    mesh.set("repair.grace", "3s");
    mesh.found(count);
    mesh.client("client");
    mesh
}

fn put(mesh: &Mesh, name: &str, bytes: &[u8]) {
    let done = mesh.pipe("client", &["put", "--json", "--", "-", name], bytes).ok();
    assert_eq!(done.json()["stored"][0]["margin"], 2, "{}", done.out);
}

/// Waits until holders say that every segment of every file has all of its shards. Nobody repairs
/// because of the question.
#[track_caller]
fn heals(mesh: &Mesh) {
    heals_to(mesh, "2");
}

/// The same for files of another margin.
#[track_caller]
fn heals_to(mesh: &Mesh, margin: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = mesh.run("client", &["distribution", "--json"]).ok().json();
        let segments = found["segments"].as_u64().unwrap();
        if found["margins"][margin] == segments {
            return;
        }
        assert!(Instant::now() < end, "not whole: {found}");
    }
}

/// Waits until a node has looked at its segments after it healed.
#[track_caller]
fn tells_that_all_is_well(mesh: &Mesh, node: usize) -> serde_json::Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let health = mesh.run(&format!("n{node}"), &["health", "--format", "json"]).json();
        let repair = &health["repair"];
        let margins = health["margins"].as_object().unwrap();
        let idle = ["queued", "active", "bytes_left", "dead_letter", "waiting"];
        if margins.keys().all(|margin| margin == "2")
            && !margins.is_empty()
            && idle.iter().all(|field| repair[field] == 0)
        {
            return health;
        }
        assert!(Instant::now() < end, "{health}");
    }
}

#[test]
fn two_holders_are_lost_for_good_and_later_two_others() {
    let mut mesh = mesh(8);
    let (large, small) = (noise(1, 9_000_000), noise(2, 300_000));
    put(&mesh, "large", &large);
    put(&mesh, "small", &small);
    let holders = mesh.holders_of("client", "large", 0);
    // The founder keeps the delegate's key; the homes of the others have no key of any account.
    let lost: Vec<usize> = holders.into_iter().filter(|node| *node != 0).take(2).collect();
    for node in &lost {
        mesh.kill(*node);
    }
    heals(&mesh);
    let alive: Vec<usize> = (1..8).filter(|node| !lost.contains(node)).collect();
    let health = tells_that_all_is_well(&mesh, alive[0]);
    assert!(health["peers"]["known"].as_u64().unwrap() >= 6, "{health}");
    let moved = |node: &usize| {
        let told = mesh.run(&format!("n{node}"), &["repair", "--json"]).ok().json();
        told["worker"]["shards_placed"].as_u64().unwrap()
    };
    let placed: u64 = alive.iter().map(moved).sum::<u64>() + moved(&0);
    assert!(placed > 0, "nobody repaired anything");
    for node in &alive[..2] {
        mesh.kill(*node);
    }
    assert!(mesh.bytes("client", &["get", "--", "large", "-"]) == large);
    assert!(mesh.bytes("client", &["get", "--", "small", "-"]) == small);
}

/// Quads that are lost one after the other in the short form.
const QUADS: usize = 3;

#[test]
fn quads_of_holders_in_8_and_4_are_lost_for_good_and_the_disks_have_every_shard_again() {
    let quads = std::env::var("DATAMESH_QUADS").map_or(QUADS, |text| text.parse().unwrap());
    let mut mesh = mesh(17);
    let bytes = noise(5, 9_000_000);
    let put = ["put", "--json", "--scheme", "8+4", "--", "-", "file"];
    let done = mesh.pipe("client", &put, &bytes).ok();
    assert_eq!(done.json()["stored"][0]["margin"], 4, "{}", done.out);
    let ticket = mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
    let first = std::env::var("DATAMESH_FIRST_QUAD").map_or(0, |text| text.parse().unwrap());
    let mut chosen = Dice::new(1 + first);
    let mut alive: Vec<usize> = (0..17).collect();
    let mut next = alive.len();
    for quad in 0..quads {
        // Four of the holders of one segment or another; the founder only issues invites.
        let mut holders = mesh.holders_of("client", "file", quad % 3);
        holders.retain(|node| *node != 0);
        for _ in 0..4 {
            let lost = holders.swap_remove(chosen.below(holders.len() as u64) as usize);
            mesh.kill(lost);
            std::fs::remove_dir_all(mesh.path(&format!("n{lost}"))).unwrap();
            alive.retain(|node| *node != lost);
            // Somebody else comes, with an empty disk.
            let fresh = next;
            next += 1;
            mesh.run(&format!("n{fresh}"), &["join", &ticket]).ok();
            mesh.start(fresh, &["--domain", &format!("zone-{fresh}/host-{fresh}")]);
            alive.push(fresh);
        }
        heals_to(&mesh, "4");
    }
    assert!(mesh.bytes("client", &["get", "--", "file", "-"]) == bytes);

    let nodes: Vec<(usize, NodeId)> =
        alive.iter().map(|node| (*node, mesh.id_of(*node).parse().unwrap())).collect();
    for node in &alive {
        mesh.kill(*node);
    }
    let mut census = Census::new();
    for (number, node) in nodes {
        census::count(&mut census, &mesh.path(&format!("n{number}")), node);
    }
    let coded: Vec<_> = census.values().filter(|shards| shards.len() > 6).collect();
    assert_eq!(coded.len(), 3, "segments of the file");
    for shards in coded {
        assert_eq!(shards.keys().copied().collect::<Vec<u8>>(), (0..12).collect::<Vec<u8>>());
    }
}

#[test]
fn a_node_that_leaves_hands_its_shards_over_and_removes_nothing() {
    let mut mesh = mesh(8);
    let bytes = noise(3, 9_000_000);
    put(&mesh, "file", &bytes);
    let leaving = mesh.holders_of("client", "file", 0).into_iter().find(|n| *n != 0).unwrap();
    let before = mesh.packed(leaving);
    mesh.kill(leaving);
    let mut command = mesh.service(leaving, &["--drain", "--timeout", "120s"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = Done::from(child.wait_with_output().unwrap());
    assert!(ended.err.contains("draining"), "{}", ended.err);
    ended.ok();
    assert!(mesh.packed(leaving) >= before);
    heals(&mesh);
    let mut others = (1..8).filter(|node| *node != leaving);
    for node in [others.next().unwrap(), others.next().unwrap()] {
        mesh.kill(node);
    }
    assert!(mesh.bytes("client", &["get", "--", "file", "-"]) == bytes);
}

#[test]
fn the_owner_mends_a_file_without_a_node_of_its_own() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    mesh.client("client");
    let bytes = noise(4, 1_000_000);
    put(&mesh, "file", &bytes);
    let lost = mesh.holders_of("client", "file", 0).into_iter().find(|n| *n != 0).unwrap();
    mesh.kill(lost);
    // Only what cannot lose another shard: nothing.
    let repair = ["repair", "--json", "--threshold", "0", "--", "file"];
    let found = mesh.run("client", &repair).ok().json();
    assert_eq!((&found["margins"]["1"], &found["rebuilt"]), (&1.into(), &0.into()), "{found}");
    let found = mesh.run("client", &["repair", "--json", "--", "file"]).ok().json();
    assert_eq!((&found["missing"], &found["rebuilt"]), (&1.into(), &1.into()), "{found}");
    let found = mesh.run("client", &["repair", "--json", "--verify-all", "--", "file"]).ok().json();
    assert_eq!((&found["margins"]["2"], &found["verified"]), (&1.into(), &6.into()), "{found}");
    assert!(found["verified_bytes"].as_u64().unwrap() >= 6 * 250_000, "{found}");
    // The one that was lost comes back: a copy too many does no harm.
    mesh.start(lost, &[]);
    for node in (1..7).filter(|node| *node != lost).take(2) {
        mesh.kill(node);
    }
    assert!(mesh.bytes("client", &["get", "--", "file", "-"]) == bytes);
    let refused = mesh.run("client", &["repair"]).code(2);
    assert!(refused.err.contains("no node runs"), "{}", refused.err);
}
