//! Packs that rot on a real node's disk: what is damaged is named and never given out, and the rest
//! of the pack is as good as before.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::{Done, Mesh, wait_for};

use crate::PROGRAM;

/// Bytes between two places that are damaged: less than a cell of a large segment, so that every
/// shard in the range has its share.
const STRIDE: u64 = 50_000;

/// Flips a bit every so many bytes of a part of a file. Returns how many.
fn damage(file: &Path, part: std::ops::Range<u64>) -> usize {
    let file = fs::File::options().read(true).write(true).open(file).unwrap();
    let places: Vec<u64> = part.step_by(STRIDE as usize).collect();
    for place in &places {
        let mut byte = [0];
        file.read_exact_at(&mut byte, *place).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], *place).unwrap();
    }
    file.sync_all().unwrap();
    places.len()
}

/// Fetches a file in the client's home, where no measurement of an earlier process counts, so that
/// the data shards are asked for first.
fn fetch(mesh: &Mesh, name: &str, bytes: &[u8]) -> Done {
    let back = mesh.path("back");
    let dest = mesh.text(&back);
    let done = mesh.run("client", &["get", "--json", "--", name, &dest]).ok();
    assert!(fs::read(&back).unwrap() == bytes, "{name}");
    done
}

/// A mesh with two files, the first of which was there before the second in every pack.
fn mesh() -> (Mesh, Vec<u8>, Vec<u8>, Vec<u64>) {
    let mut mesh = Mesh::empty(PROGRAM);
    // What is damaged stays so: this is about what is given out meanwhile.
    mesh.set("repair.rate", "0");
    mesh.found(7);
    mesh.client("client");
    let (first, second) = (noise(1, 3_000_000), noise(2, 2_000_000));
    mesh.pipe("client", &["put", "--", "-", "first"], &first).ok();
    let ends = (0..7).map(|number| mesh.packed(number)).collect();
    mesh.pipe("client", &["put", "--", "-", "second"], &second).ok();
    (mesh, first, second, ends)
}

#[test]
fn a_damaged_shard_is_named_and_others_serve() {
    let (mut mesh, first, second, ends) = mesh();
    let holders = mesh.holders_of("client", "first", 0);
    let others = mesh.holders_of("client", "second", 0);
    // A holder of a data shard of the first file, and of any shard of the second.
    let rotten = holders[..4].iter().copied().find(|node| others.contains(node)).unwrap();
    let name = mesh.id_of(rotten);
    assert!(damage(&mesh.packs(rotten)[0], 8192..ends[rotten]) > 10);

    // While the node runs, and its index knows nothing of it.
    let done = fetch(&mesh, "first", &first);
    let faults = done.json()["faults"].as_array().unwrap().clone();
    assert_eq!(faults.len(), 1, "{}", done.out);
    assert_eq!(faults[0]["node"], name, "{}", done.out);
    assert!(done.err.contains("failed: shard"), "{}", done.err);
    let done = fetch(&mesh, "second", &second);
    assert_eq!(done.json()["faults"].as_array().unwrap().len(), 0, "{}", done.out);

    // A range of the damaged shard's cells, which come with a proof.
    let range = ["get", "--range", "0-2000000", "--", "first", "-"];
    assert!(mesh.bytes("client", &range) == first[..2_000_000]);

    // After a restart the node knows what is damaged: it does not offer it, and says so to who
    // remembers its receipt. The rest it serves, as one of the four that are left with a shard of
    // the second file.
    mesh.kill(rotten);
    mesh.start(rotten, &[]);
    let info = mesh.run("client", &["info", "--json", "--", "first"]).ok().json();
    assert_eq!(info["margin"], 1, "{info}");
    let info = mesh.run("client", &["info", "--json", "--", "second"]).ok().json();
    assert_eq!(info["margin"], 2, "{info}");
    let done = fetch(&mesh, "first", &first);
    let faults = done.json()["faults"].as_array().unwrap().clone();
    assert_eq!(faults.len(), 1, "{}", done.out);
    let what = faults[0]["what"].as_str().unwrap();
    assert!(faults[0]["node"] == name && what.contains("damaged on the node's disk"), "{what}");
    for node in others.into_iter().filter(|node| *node != rotten).take(2) {
        mesh.kill(node);
    }
    fetch(&mesh, "second", &second);
}

#[test]
fn a_truncated_pack_loses_its_end_alone() {
    let (mut mesh, first, second, ends) = mesh();
    let holders = mesh.holders_of("client", "first", 0);
    let others = mesh.holders_of("client", "second", 0);
    let torn = holders.iter().copied().find(|node| others.contains(node)).unwrap();
    mesh.kill(torn);
    let middle = (ends[torn] + mesh.packed(torn)) / 2;
    fs::File::options().write(true).open(&mesh.packs(torn)[0]).unwrap().set_len(middle).unwrap();
    mesh.start(torn, &[]);
    let info = mesh.run("client", &["info", "--json", "--", "second"]).ok().json();
    assert_eq!(info["margin"], 1, "{info}");
    fetch(&mesh, "second", &second);

    // It takes new shards where the old ones end, and keeps them over a restart.
    let third = noise(3, 2_500_000);
    mesh.pipe("client", &["put", "--", "-", "third"], &third).ok();
    mesh.kill(torn);
    mesh.start(torn, &[]);
    let kept = mesh.holders_of("client", "third", 0);
    assert_eq!(kept.len(), 6);
    for node in holders.into_iter().filter(|node| *node != torn).take(2) {
        mesh.kill(node);
    }
    fetch(&mesh, "first", &first);
    fetch(&mesh, "third", &third);
}

/// Starts a node with these settings.
fn start_with(mesh: &mut Mesh, number: usize, settings: &[(&str, &str)]) {
    let mut command = mesh.service(number, &[]);
    command.envs(settings.iter().copied());
    mesh.start_as(number, command);
}

/// The judgement of a node.
fn health(mesh: &Mesh, number: usize) -> serde_json::Value {
    mesh.run(&format!("n{number}"), &["health", "--json"]).json()
}

/// Shards that a node knows to be damaged.
fn damaged(mesh: &Mesh, number: usize) -> u64 {
    let stats = mesh.run(&format!("n{number}"), &["stats", "--json"]).ok().json();
    stats["store"]["damaged"].as_u64().unwrap()
}

#[test]
fn rot_is_found_by_the_scrub_and_by_audits_and_nobody_healthy_is_blamed() {
    let (mut mesh, first, second, ends) = mesh();
    let holders = mesh.holders_of("client", "first", 0);
    let (scrubbed, audited) = (holders[1], holders[4]);

    // One node reads all its shards every two seconds.
    mesh.kill(scrubbed);
    start_with(&mut mesh, scrubbed, &[("DATAMESH_SCRUB_PERIOD", "2s")]);
    wait_for("a pass is over", || !health(&mesh, scrubbed)["scrub"]["last"].is_null());
    assert_eq!(health(&mesh, scrubbed)["scrub"]["last"]["damaged"], 0);
    damage(&mesh.packs(scrubbed)[0], 8192..ends[scrubbed]);
    wait_for("the scrub finds the damage", || damaged(&mesh, scrubbed) == 1);
    wait_for("it is handed on", || health(&mesh, scrubbed)["audit"]["findings"]["damaged"] == 1);
    let judged = mesh.run(&format!("n{scrubbed}"), &["health", "--json"]).code(1).json();
    assert_eq!(judged["severity"], "critical");
    let workers = mesh.run(&format!("n{scrubbed}"), &["stats", "--json"]).ok().json();
    let scrub = workers["workers"].as_array().unwrap().iter().find(|w| w["name"] == "scrub");
    assert_eq!(scrub.unwrap()["state"], "running", "{workers}");

    // It knows of it before it serves anything again.
    mesh.kill(scrubbed);
    mesh.start(scrubbed, &[]);
    assert_eq!(damaged(&mesh, scrubbed), 1);

    // The others audit each other every few seconds, and read nothing for themselves.
    for number in 0..7 {
        mesh.kill(number);
        start_with(&mut mesh, number, &[("DATAMESH_AUDIT_PERIOD", "4s")]);
    }
    damage(&mesh.packs(audited)[0], 8192..ends[audited]);
    wait_for("an audit makes the node look", || damaged(&mesh, audited) == 1);
    wait_for("an auditor is told of the loss", || {
        (0..7).any(|number| health(&mesh, number)["audit"]["findings"]["admitted"] != 0)
    });
    for number in 0..7 {
        let judged = health(&mesh, number);
        assert_eq!(judged["audit"]["flagged"].as_array().unwrap().len(), 0, "{judged}");
        assert_eq!(judged["audit"]["findings"]["unproven"], 0, "{judged}");
        let rotten = number == scrubbed || number == audited;
        assert_eq!(damaged(&mesh, number), u64::from(rotten), "node {number}");
    }
    fetch(&mesh, "first", &first);
    fetch(&mesh, "second", &second);
}
