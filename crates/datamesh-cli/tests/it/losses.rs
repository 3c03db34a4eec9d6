//! Real processes that die, and what is left.

use std::io::Write;
use std::process::Stdio;

use datamesh_testkit::fixtures::{TreeShape, noise, tree_digest, tree_of};
use datamesh_testkit::processes::{Done, Mesh};
use rustix::process::{Pid, Signal, kill_process};

use crate::{PROGRAM, program};

#[test]
fn a_tree_survives_every_pair_of_a_segments_holders() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    // A home without a node, so that every node can die, the issuer of the mesh among them.
    mesh.client("client");
    let tree = mesh.path("tree");
    std::fs::create_dir(&tree).unwrap();
    tree_of(2, &tree, TreeShape { bytes: 64 << 20, small_files: 2000 }).unwrap();
    let digest = tree_digest(&tree).unwrap();
    let digest_of_sizes = tree_digest(&tree.join("sizes")).unwrap();
    let source = mesh.text(&tree);
    mesh.run("client", &["put", "-r", "--", &source, "tree"]).ok();
    std::fs::write(mesh.path("one"), noise(3, 3_000_000)).unwrap();
    let one = mesh.text(&mesh.path("one"));
    mesh.run("client", &["put", "--", &one, "one"]).ok();
    let held = mesh.holders_of("client", "one", 0);
    assert_eq!(held.len(), 6);

    // All of the tree for nine pairs, in which each holder dies three times; for the others its
    // files of every boundary, so that this ends within a minute on a small machine.
    let mut round = 0;
    for a in 0..6 {
        for b in a + 1..6 {
            let pair = [held[a], held[b]];
            for node in pair {
                mesh.kill(node);
            }
            round += 1;
            let back = mesh.path(&format!("back{round}"));
            let dest = mesh.text(&back);
            let (name, expected) =
                if (a + b) % 2 == 1 { ("tree", &digest) } else { ("tree/sizes", &digest_of_sizes) };
            mesh.run("client", &["get", "-r", "--", name, &dest]).ok();
            assert_eq!(tree_digest(&back).unwrap(), *expected, "pair {pair:?}");
            std::fs::remove_dir_all(&back).unwrap();
            let got = mesh.bytes("client", &["get", "--", "one", "-"]);
            assert!(got == noise(3, 3_000_000), "pair {pair:?}");
            for node in pair {
                mesh.start(node, &[]);
            }
        }
    }
    assert_eq!(round, 15);
}

#[test]
fn nothing_acknowledged_is_lost_when_nodes_die_in_a_stream_of_puts() {
    const PUTS: u64 = 40;
    let mut mesh = Mesh::of(PROGRAM, 9);
    let content = |i: u64| noise(i, if i.is_multiple_of(4) { 9_000_000 } else { 300_000 });
    let mut puts = Vec::new();
    for i in 0..PUTS {
        let path = mesh.path(&format!("source {i}"));
        std::fs::write(&path, content(i)).unwrap();
        let source = mesh.text(&path);
        puts.push(mesh.command("n0", &["put", "--json", "--", &source, &format!("file {i}")]));
    }
    let (tell, told) = std::sync::mpsc::channel();
    let putting = std::thread::spawn(move || {
        for (i, mut put) in puts.into_iter().enumerate() {
            let child = put.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            tell.send((i as u64, None)).unwrap();
            let done = Done::from(child.wait_with_output().unwrap());
            tell.send((i as u64, Some(done))).unwrap();
        }
    });
    // Each dies just after a large file was begun.
    let deaths = [(PUTS / 4, 3), (PUTS / 2, 6)];
    let mut acknowledged = Vec::new();
    for (i, done) in told {
        match done {
            None => {
                if let Some((_, node)) = deaths.iter().find(|(at, _)| *at == i) {
                    mesh.kill(*node);
                }
            }
            // Six others take shards at any time, so every put ends well.
            Some(done) => {
                assert_eq!(done.ok().json()["stored"][0]["margin"], 2);
                acknowledged.push(i);
            }
        }
    }
    putting.join().unwrap();
    assert_eq!(acknowledged.len() as u64, PUTS);
    let read_back = |mesh: &Mesh, when: &str| {
        for i in &acknowledged {
            let got = mesh.bytes("n0", &["get", "--", &format!("file {i}"), "-"]);
            assert!(got == content(*i), "file {i} {when}");
        }
    };
    read_back(&mesh, "with two nodes dead");
    for (_, node) in deaths {
        mesh.start(node, &[]);
    }
    read_back(&mesh, "with both back");
    // What the dead had acknowledged is on their disks, and what was stored without them does not
    // need them.
    for node in [1, 8] {
        mesh.kill(node);
    }
    read_back(&mesh, "with two others dead");
}

/// Sends a signal to a node.
pub(crate) fn signal(mesh: &Mesh, node: usize, signal: Signal) {
    let (_, pid) = mesh.pids().into_iter().find(|(number, _)| *number == node).unwrap();
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn nodes_that_stand_still_are_passed_by() {
    let mesh = Mesh::of(PROGRAM, 7);
    mesh.client("client");
    let bytes = noise(4, 9_000_000);
    for home in ["n0", "client"] {
        mesh.pipe(home, &["put", "--", "-", "before"], &bytes).ok();
    }
    // Their connections stay, their sockets take what is sent, and nothing ever comes back.
    let held = mesh.holders("before", 0);
    let still: Vec<usize> = held.into_iter().filter(|node| *node != 0).take(3).collect();
    for node in &still[..2] {
        signal(&mesh, *node, Signal::STOP);
    }
    for home in ["n0", "client"] {
        assert!(mesh.bytes(home, &["get", "--", "before", "-"]) == bytes, "{home}");
    }
    let put = mesh.pipe("n0", &["put", "--json", "--", "-", "while"], &bytes).code(4);
    // Each of three segments owes a shard, as five nodes are left.
    assert_eq!(put.json()["stored"][0]["margin"], 1);
    assert_eq!(put.json()["stored"][0]["owed"], 3);
    assert!(mesh.bytes("n0", &["get", "--", "while", "-"]) == bytes);
    signal(&mesh, still[2], Signal::STOP);
    let put = mesh.pipe("n0", &["put", "--json", "--", "-", "refused"], &bytes).code(5);
    assert_eq!(put.json()["error"]["kind"], "network");
    mesh.run("n0", &["info", "--", "refused"]).code(3);
    for node in &still {
        signal(&mesh, *node, Signal::CONT);
    }
    for (home, name) in [("n0", "before"), ("n0", "while"), ("client", "before")] {
        assert!(mesh.bytes(home, &["get", "--", name, "-"]) == bytes, "{home} {name}");
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_every_process_is_killed() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    let mut stored = Vec::new();
    for i in 0..10u64 {
        let (name, bytes) = (format!("file {i}"), noise(i, 200_000 + i as usize * 70_000));
        let path = mesh.path(&name);
        std::fs::write(&path, &bytes).unwrap();
        let source = mesh.text(&path);
        mesh.run("n0", &["put", "--", &source, &name]).ok();
        stored.push((name, bytes));
    }
    for node in 0..7 {
        mesh.kill(node);
    }
    for node in 0..7 {
        mesh.start(node, &[]);
    }
    for (name, bytes) in stored {
        let got = program()
            .arg("--home")
            .arg(mesh.path("n0"))
            .args(["get", "--", &name, "-"])
            .env("DATAMESH_PASSWORD_FILE", mesh.path("password"))
            .output()
            .unwrap();
        assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
        assert!(got.stdout == bytes, "{name}");
    }
}

#[test]
fn a_put_that_is_killed_leaves_the_old_version_and_can_be_repeated() {
    let mesh = Mesh::of(PROGRAM, 7);
    let path = mesh.path("big");
    let old = noise(1, 1_000_000);
    std::fs::write(&path, &old).unwrap();
    let source = mesh.text(&path);
    mesh.run("n0", &["put", "--", &source, "big"]).ok();
    // A client of its own, without a daemon, is killed in the middle of storing a new version.
    let new = noise(2, 40_000_000);
    std::fs::write(&path, &new).unwrap();
    let mut put = program()
        .arg("--home")
        .arg(mesh.path("n0"))
        .args(["put", "--", "-", "big"])
        .env("DATAMESH_PASSWORD_FILE", mesh.path("password"))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = put.stdin.take().unwrap();
    stdin.write_all(&new[..20_000_000]).unwrap();
    put.kill().unwrap();
    put.wait().unwrap();
    drop(stdin);
    let back = mesh.text(&mesh.path("back"));
    mesh.run("n0", &["get", "--", "big", &back]).ok();
    assert!(std::fs::read(&back).unwrap() == old, "the old state, not a mixture");
    mesh.run("n0", &["put", "--", &source, "big"]).ok();
    mesh.run("n0", &["get", "--", "big", &back]).ok();
    assert!(std::fs::read(&back).unwrap() == new);
    mesh.run("n0", &["get", "--version", "1", "--", "big", &back]).ok();
    assert!(std::fs::read(&back).unwrap() == old, "the first version is still there");
}

#[test]
fn with_too_few_nodes_nothing_is_acknowledged() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    for node in [1, 2] {
        mesh.kill(node);
    }
    std::fs::write(mesh.path("file"), noise(1, 500_000)).unwrap();
    let source = mesh.text(&mesh.path("file"));
    // Five are left: the put commits and says that a shard is owed.
    let done = mesh.run("n0", &["put", "--json", "--", &source, "owing"]).code(4);
    assert_eq!(done.json()["stored"][0]["owed"], 1);
    assert_eq!(done.json()["stored"][0]["margin"], 1);
    let health = mesh.run("n0", &["health", "--json"]).ok().json();
    assert_eq!(health["severity"], "warning", "{health}");
    // Four are left: it does not.
    mesh.kill(3);
    // Nobody had to stumble over the dead node for this to be known.
    let health = mesh.run("n0", &["health", "--json"]).code(1).json();
    assert_eq!(health["severity"], "critical", "{health}");
    let stats = mesh.run("n0", &["stats", "--json"]).ok().json();
    assert_eq!(stats["mesh"]["domains_alive"], 4, "{stats}");
    assert_eq!(stats["mesh"]["nodes_alive"], 4, "{stats}");
    mesh.run("n0", &["put", "--", &source, "refused"]).code(5);
    // Who allows less protection stores with the nodes that answer.
    let done =
        mesh.run("n0", &["put", "--json", "--allow-degraded", "--", &source, "less"]).code(4);
    assert_eq!(done.json()["stored"][0]["degraded"], true, "{}", done.out);
    assert!(mesh.bytes("n0", &["get", "--", "less", "-"]) == noise(1, 500_000));
    // Of a tree, what needs no node is stored, and the reply says why the rest is not.
    let tree = mesh.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("a"), b"inline").unwrap();
    std::fs::write(tree.join("b"), noise(2, 500_000)).unwrap();
    let text = mesh.text(&tree);
    let done = mesh.run("n0", &["put", "-r", "--json", "--", &text]).code(4);
    assert_eq!(done.json()["stored"][0]["path"], "tree/a");
    assert_eq!(done.json()["failed"][0]["path"], "tree/b");
    assert_eq!(done.json()["stopped"]["kind"], "network", "{}", done.out);
    assert!(done.err.contains("ended early"), "{}", done.err);
    mesh.run("n0", &["get", "--", "refused", "-"]).code(3);
    mesh.run("n0", &["get", "--", "owing", "-"]).ok();
    // Two are left: what is stored cannot be read, and nothing is written under its name.
    for node in [4, 5] {
        mesh.kill(node);
    }
    let dest = mesh.path("never");
    let text = mesh.text(&dest);
    mesh.run("n0", &["get", "--", "owing", &text]).code(5);
    assert!(!dest.exists());
}

#[test]
fn five_failure_domains_are_enough_for_a_put_that_owes_a_shard() {
    let mesh = Mesh::of(PROGRAM, 5);
    let bytes = noise(1, 500_000);
    let done = mesh.pipe("n0", &["put", "--json", "--", "-", "file"], &bytes).code(4);
    assert_eq!(done.json()["stored"][0]["owed"], 1);
    assert_eq!(done.json()["stored"][0]["degraded"], false);
    assert!(mesh.bytes("n0", &["get", "--", "file", "-"]) == bytes);
    // The message names what the scheme that was asked for needs.
    let refused = mesh.pipe("n0", &["put", "--scheme", "8+4", "--", "-", "file"], &bytes).code(5);
    assert!(refused.err.contains("5 failure domains"), "{}", refused.err);
    assert!(refused.err.contains("8+4 needs at least 11"), "{}", refused.err);
}
