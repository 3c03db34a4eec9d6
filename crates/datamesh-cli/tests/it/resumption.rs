//! Puts of large files that die in the middle: the old state stays, and the next put of the same
//! file goes on where it was.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::{Done, Mesh};

use crate::PROGRAM;

/// 23 segments and a bit: far more than are under way at once.
const BYTES: usize = 96_000_000;

/// Shards on one node from which on a segment must have come to its end: one more than segments
/// are under way at once.
const SHARDS_ENOUGH: u64 = 6;

/// Bytes of a shard of such a file in a pack, at least.
const SHARD_BYTES: u64 = 1 << 20;

/// Times that a put may be faster than its killer.
const TRIES: usize = 5;

/// Bytes in the packs of each node.
fn packed(mesh: &Mesh) -> Vec<u64> {
    mesh.pids().into_iter().map(|(number, _)| mesh.packed(number)).collect()
}

/// Waits until so much of the put is durable that some of it can be resumed. False where it ended
/// before that.
fn in_the_middle(mesh: &Mesh, before: &[u64], put: &mut Child) -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        // In a mesh of few nodes each has several shards of a segment.
        let each = 6_u64.div_ceil(before.len() as u64);
        let enough = |(now, before): (u64, &u64)| now - before > SHARDS_ENOUGH * each * SHARD_BYTES;
        if packed(mesh).into_iter().zip(before).any(enough) {
            return put.try_wait().unwrap().is_none();
        }
        if put.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(Instant::now() < end, "nothing is being stored");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Stores a file in a home, and `kill` ends it in the middle. Returns the file's new content.
fn interrupted(
    mesh: &mut Mesh,
    home: &str,
    flags: &[&str],
    kill: impl Fn(&mut Mesh, &mut Child),
) -> Vec<u8> {
    let path = mesh.path("large");
    let source = mesh.text(&path);
    for attempt in 0..TRIES as u64 {
        let old = noise(2 * attempt, 1_000_000);
        fs::write(&path, &old).unwrap();
        let put = [&["put"], flags, &["--", &source, "large"]].concat();
        mesh.run(home, &put).ok();
        let new = noise(2 * attempt + 1, BYTES);
        fs::write(&path, &new).unwrap();
        let before = packed(mesh);
        let mut put =
            mesh.command(home, &put).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if !in_the_middle(mesh, &before, &mut put) {
            Done::from(put.wait_with_output().unwrap()).ok();
            continue;
        }
        kill(mesh, &mut put);
        let done = Done::from(put.wait_with_output().unwrap());
        if done.code == 0 {
            continue;
        }
        let got = mesh.bytes(home, &["get", "--", "large", "-"]);
        assert!(got == old, "the old state, not a mixture");
        return new;
    }
    panic!("{TRIES} puts were faster than their killer");
}

/// Repeats a put that was interrupted, and reads back what it stored.
fn resumed(mesh: &Mesh, home: &str, bytes: &[u8]) -> serde_json::Value {
    let before: u64 = packed(mesh).iter().sum();
    let source = mesh.text(&mesh.path("large"));
    let done = mesh.run(home, &["put", "--json", "--", &source, "large"]).ok();
    let put = done.json();
    let skipped = put["resumed_bytes"].as_u64().unwrap();
    assert!(skipped > 0 && skipped < bytes.len() as u64, "{}", done.out);
    assert!(done.err.contains("were stored by an earlier put already"), "{}", done.err);
    // What was skipped was not sent: six shards hold one and a half times the content.
    let sent = packed(mesh).iter().sum::<u64>() - before;
    let rest = bytes.len() as u64 - skipped;
    assert!(sent >= rest && sent < rest * 3 / 2 + skipped, "{sent} sent for {rest}");
    assert!(mesh.bytes(home, &["get", "--", "large", "-"]) == bytes);
    put
}

#[test]
fn a_put_that_is_killed_is_resumed() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    mesh.client("client");
    let new = interrupted(&mut mesh, "client", &[], |_, put| put.kill().unwrap());
    let put = resumed(&mesh, "client", &new);
    assert_eq!(put["stored"][0]["margin"], 2);
    assert_eq!(put["stored"][0]["owed"], 0);
    // What is committed is not resumed again, and the next content shares nothing with it.
    let source = mesh.text(&mesh.path("large"));
    let again = mesh.run("client", &["put", "--json", "--", &source, "large"]).ok().json();
    assert_eq!(again["resumed_bytes"], 0);
}

#[test]
fn a_put_whose_daemon_is_killed_is_resumed_by_the_next_one() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    let new = interrupted(&mut mesh, "n0", &[], |mesh, _| {
        mesh.kill(0);
        mesh.start(0, &[]);
    });
    resumed(&mesh, "n0", &new);
}

#[test]
fn what_died_since_is_not_counted_by_a_put_that_is_resumed() {
    let mut mesh = Mesh::of(PROGRAM, 9);
    mesh.client("client");
    let new = interrupted(&mut mesh, "client", &[], |_, put| put.kill().unwrap());
    // Two nodes go for good, and with them shards of what was stored before. There are enough
    // others, so every segment must end with all its shards.
    mesh.kill(3);
    mesh.kill(5);
    let source = mesh.text(&mesh.path("large"));
    let put = mesh.run("client", &["put", "--json", "--", &source, "large"]).ok().json();
    assert_eq!(put["stored"][0]["margin"], 2);
    let info = mesh.run("client", &["info", "--json", "--", "large"]).ok().json();
    assert_eq!(info["margin"], 2, "the margin is what the reply said");
    for node in [1, 7] {
        mesh.kill(node);
    }
    assert!(mesh.bytes("client", &["get", "--", "large", "-"]) == new);
}

#[test]
fn what_was_stored_with_less_protection_is_not_counted_by_a_put_that_promises_more() {
    let mut mesh = Mesh::of(PROGRAM, 3);
    mesh.client("client");
    let flags = ["--allow-degraded"];
    let new = interrupted(&mut mesh, "client", &flags, |_, put| put.kill().unwrap());
    let ticket = mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
    for node in 3..6 {
        mesh.run(&format!("n{node}"), &["join", &ticket]).ok();
        mesh.start(node, &["--domain", &format!("zone-{node}/host-{node}")]);
    }
    let end = Instant::now() + Duration::from_secs(60);
    while mesh.run("client", &["peers", "--json"]).ok().json().as_array().unwrap().len() < 6 {
        assert!(Instant::now() < end, "the client does not hear of the other nodes");
    }
    let source = mesh.text(&mesh.path("large"));
    let put = mesh.run("client", &["put", "--json", "--", &source, "large"]).ok().json();
    assert_eq!(put["stored"][0]["margin"], 2);
    assert_eq!(put["stored"][0]["degraded"], false);
    for node in [1, 2] {
        mesh.kill(node);
    }
    assert!(mesh.bytes("client", &["get", "--", "large", "-"]) == new);
}
