//! An account that is restored from its words, and a catalog that was lost.

use std::time::{Duration, Instant};

use datamesh_testkit::fixtures::{TreeShape, noise, tree_digest, tree_of};
use datamesh_testkit::numbers::asked;
use datamesh_testkit::processes::{Done, Mesh};

use crate::PROGRAM;

#[test]
fn a_founder_who_lost_the_home_takes_the_mesh_up_again() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    std::fs::write(mesh.path("file"), noise(4, 20_000)).unwrap();
    let file = mesh.text(&mesh.path("file"));
    mesh.run("n0", &["put", "--", &file, "file"]).ok();
    mesh.kill(0);
    std::fs::rename(mesh.path("n0"), mesh.path("lost")).unwrap();
    let (words, peer) = (mesh.text(&mesh.path("n0.words")), address(&mesh, "n1"));
    mesh.run("n7", &["recover", "--words-file", &words, "--peer", &peer]).ok();
    mesh.start(7, &["--domain", "zone-7/host-7"]);
    assert!(mesh.bytes("n7", &["get", "--", "file", "-"]) == noise(4, 20_000));
    // It issues what the lost home did, and others take it.
    let ticket = mesh.run("n7", &["invite"]).ok().out.trim().to_owned();
    mesh.run("n8", &["join", &ticket]).ok();
    mesh.start(8, &["--domain", "zone-8/host-8"]);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let alive = |peer: &serde_json::Value| peer["state"] == "alive";
    loop {
        let peers = mesh.run("n1", &["peers", "--json"]).ok().json();
        if peers.as_array().unwrap().iter().filter(|peer| alive(peer)).count() == 8 {
            break;
        }
        assert!(std::time::Instant::now() < end, "{peers}");
    }
    // Another account's home is no founder.
    let other = mesh.run("n1", &["invite"]).code(2);
    assert!(other.err.contains("hint:"), "{}", other.err);
}

#[test]
fn a_key_file_makes_another_device_and_a_kit_says_where_to_begin() {
    let mesh = Mesh::of(PROGRAM, 7);
    mesh.client("client");
    std::fs::write(mesh.path("file"), noise(4, 20_000)).unwrap();
    let file = mesh.text(&mesh.path("file"));
    mesh.run("client", &["put", "--", &file, "file"]).ok();
    let (words, words_of_n0) =
        (mesh.text(&mesh.path("client.words")), mesh.text(&mesh.path("n0.words")));

    // A copy of this device, and a device of its own; neither sees the words.
    let (copy, other) = (mesh.text(&mesh.path("copy")), mesh.text(&mesh.path("other")));
    mesh.run("client", &["keys", "export", &copy]).ok();
    mesh.run("client", &["keys", "export", &copy]).code(2);
    mesh.run("client", &["keys", "add", "--words-file", &words_of_n0, &other]).code(2);
    assert!(!mesh.path("other").exists());
    mesh.run("client", &["keys", "add", "--words-file", &words, &other]).ok();
    for (home, keys) in [("copied", &copy), ("added", &other)] {
        mesh.run(home, &["keys", "import", keys]).ok();
        mesh.run(home, &["keys", "import", keys]).code(2);
        assert!(mesh.bytes(home, &["get", "--", "file", "-"]) == noise(4, 20_000));
        mesh.run(home, &["put", "--", &file, home]).ok();
    }
    let keys = mesh.run("client", &["keys", "list", "--json"]).ok().json();
    let logs = keys["logs"].as_array().unwrap();
    assert_eq!((logs.len(), &keys["may_be_old"]), (3, &false.into()));
    let ours = logs.iter().filter(|log| log["this"] == true).count();
    assert_eq!(ours, 2, "the copy is the same device with a log of its own");
    assert_eq!(logs.iter().filter(|log| log["current"] == true).count(), 1);

    // Damaged, cut, and not a key file at all: nothing is written.
    let good = std::fs::read(mesh.path("copy")).unwrap();
    for bad in [&good[..good.len() / 2], &good[1..], b"something else"] {
        std::fs::write(mesh.path("bad"), bad).unwrap();
        let bad = mesh.text(&mesh.path("bad"));
        mesh.run("blank", &["keys", "import", &bad]).code(1);
        mesh.run("blank", &["list"]).code(2);
    }

    let kit = mesh.run("client", &["keys", "kit"]).ok().out;
    assert!(kit.contains(&address(&mesh, "n3")) && kit.contains("24 ______"), "{kit}");
    let first = std::fs::read_to_string(mesh.path("client.words")).unwrap();
    let first = first.split(' ').next().unwrap().to_owned();
    assert!(!kit.contains(&format!(" 1 {first}")), "{kit}");
    let kit = mesh.run("client", &["keys", "kit", "--words-file", &words]).ok().out;
    assert!(kit.contains(&format!(" 1 {first}")), "{kit}");
    mesh.run("client", &["keys", "kit", "--words-file", &words_of_n0]).code(2);
}

/// An address of a node as its status file shows it.
pub(crate) fn address(mesh: &Mesh, node: &str) -> String {
    let status = std::fs::read(mesh.path(node).join("status.json")).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    status["listen"][0].as_str().unwrap().to_owned()
}

/// What the catalog of a home says of everything: names, ids, sizes, tags.
fn listed(mesh: &Mesh, home: &str) -> serde_json::Value {
    mesh.run(home, &["list", "-r", "--json"]).ok().json()["entries"].clone()
}

#[test]
fn the_words_and_one_address_bring_everything_back() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    mesh.client("client");
    let tree = mesh.path("tree");
    std::fs::create_dir(&tree).unwrap();
    tree_of(5, &tree, TreeShape { bytes: 8 << 20, small_files: 300 }).unwrap();
    let digest = tree_digest(&tree).unwrap();
    let source = mesh.text(&tree);
    mesh.run("client", &["put", "-r", "--tags", "a,b", "--", &source, "tree"]).ok();
    let source_of_one = mesh.text(&mesh.path("report"));
    for round in 0..3 {
        let file = mesh.path("report");
        std::fs::write(&file, noise(round, 10_000 + round as usize)).unwrap();
        let file = mesh.text(&file);
        assert_eq!(
            mesh.run("client", &["put", "--json", "--", &file, "report"]).ok().json()["pending"],
            0
        );
    }
    mesh.run("client", &["put", "--", &source_of_one, "doomed"]).ok();
    mesh.run("client", &["remove", "doomed"]).ok();
    let before = listed(&mesh, "client");
    assert!(!before.to_string().contains("doomed"));
    let versions = mesh.run("client", &["versions", "report", "--json"]).ok().json();
    let words = mesh.text(&mesh.path("client.words"));

    // The home is gone, and so are two nodes, the issuer of all invites among them.
    std::fs::rename(mesh.path("client"), mesh.path("gone")).unwrap();
    mesh.kill(0);
    mesh.kill(3);
    let peer = address(&mesh, "n5");
    let recovered = mesh
        .run("back", &["recover", "--json", "--words-file", &words, "--peer", &peer])
        .ok()
        .json();
    let files = before.as_array().unwrap().iter().filter(|entry| entry["kind"] == "file").count();
    assert_eq!(recovered["files"].as_u64().unwrap(), files as u64);
    assert_eq!(listed(&mesh, "back"), before);
    assert_eq!(mesh.run("back", &["versions", "report", "--json"]).ok().json(), versions);
    let back = mesh.path("tree back");
    let dest = mesh.text(&back);
    mesh.run("back", &["get", "-r", "--", "tree", &dest]).ok();
    assert_eq!(tree_digest(&back).unwrap(), digest);
    let first = mesh.bytes("back", &["get", "--version", "1", "--", "report", "-"]);
    assert!(first == noise(0, 10_000));

    // It is a device like any other: what it does, the old home sees. With five domains left each
    // put owes a shard.
    let file = mesh.text(&mesh.path("report"));
    mesh.run("back", &["put", "--", &file, "from the new home"]).code(4);
    std::fs::rename(mesh.path("gone"), mesh.path("client")).unwrap();
    mesh.run("client", &["put", "--", &file, "from the old home"]).code(4);
    let names = |home: &str| -> Vec<String> {
        let listed = listed(&mesh, home);
        let entries = listed.as_array().unwrap().iter();
        entries.map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names("client").contains(&"from the new home".to_owned()));
    assert!(names("back").contains(&"from the old home".to_owned()));
    assert_eq!(names("back"), names("client"));
    // Where somebody would have to type the password, a listing says what this device knew last.
    mesh.run("client", &["put", "--", &file, "later"]).code(4);
    let mut unasked = mesh.command("back", &["list", "--json"]);
    let done: Done = unasked.env_remove("DATAMESH_PASSWORD_FILE").output().unwrap().into();
    assert!(!done.ok().out.contains("\"later\""));
    assert!(names("back").contains(&"later".to_owned()));
}

#[test]
fn a_catalog_that_was_lost_is_restored_by_the_next_command() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    mesh.client("client");
    std::fs::write(mesh.path("file"), noise(8, 200_000)).unwrap();
    let file = mesh.text(&mesh.path("file"));
    mesh.run("client", &["put", "--tags", "x", "--", &file, "a/file"]).ok();
    let before = listed(&mesh, "client");
    let catalog = mesh.path("client").join("account/catalog.db");
    std::fs::remove_file(&catalog).unwrap();
    assert_eq!(listed(&mesh, "client"), before);
    assert!(mesh.bytes("client", &["get", "--", "a/file", "-"]) == noise(8, 200_000));

    // Without enough nodes nothing is made up, and nothing is lost.
    std::fs::remove_file(&catalog).unwrap();
    for node in [1, 2, 3] {
        mesh.kill(node);
    }
    let refused = mesh.run("client", &["list", "-r"]).code(5);
    assert!(refused.err.contains("restored from the mesh"), "{}", refused.err);
    for node in [1, 2, 3] {
        mesh.start(node, &[]);
    }
    assert_eq!(listed(&mesh, "client"), before);
    let done = mesh.run("client", &["put", "--json", "--", &file, "a/file"]).ok().json();
    assert_eq!(done["pending"], 0);
    let versions = mesh.run("client", &["versions", "a/file", "--json"]).ok().json();
    assert_eq!(versions["versions"].as_array().unwrap().len(), 2);
}

#[test]
fn recovering_with_wrong_words_or_to_the_wrong_place_says_so() {
    let mesh = Mesh::of(PROGRAM, 7);
    mesh.client("client");
    std::fs::write(mesh.path("file"), b"small").unwrap();
    let file = mesh.text(&mesh.path("file"));
    mesh.run("client", &["put", "--", &file, "file"]).ok();
    let words = mesh.text(&mesh.path("client.words"));
    let peer = address(&mesh, "n2");
    let recover = |home: &str, words: &str, peer: &str, code: i32| {
        mesh.run(home, &["recover", "--words-file", words, "--peer", peer]).code(code).err
    };
    // Not 24 words, a word that is none, words of another account, no file.
    let text = std::fs::read_to_string(mesh.path("client.words")).unwrap();
    let wrong = mesh.path("wrong");
    let wrong_file = mesh.text(&wrong);
    std::fs::write(&wrong, "only four words here").unwrap();
    assert!(recover("a", &wrong_file, &peer, 2).contains("24 words"));
    std::fs::write(&wrong, text.replacen(text.split(' ').next().unwrap(), "xyzzy", 1)).unwrap();
    assert!(recover("a", &wrong_file, &peer, 2).contains("word 1"));
    mesh.init("other");
    let other = mesh.text(&mesh.path("other.words"));
    assert!(recover("a", &other, &peer, 3).contains("nothing of the account"));
    let none = mesh.text(&mesh.path("none"));
    recover("a", &none, &peer, 1);
    // Nobody there, nothing that is an address, no mesh known, an account already.
    recover("a", &words, "/ip4/127.0.0.1/tcp/1", 5);
    recover("a", &words, "somewhere", 2);
    let unknown = mesh.run("a", &["recover", "--words-file", &words]).code(2).err;
    assert!(unknown.contains("--peer"), "{unknown}");
    recover("client", &words, &peer, 2);
    // None of that left an account behind.
    recover("a", &words, &peer, 0);
    assert_eq!(mesh.bytes("a", &["get", "--", "file", "-"]), b"small");
    // A home that has joined needs no address.
    let ticket = mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
    mesh.run("b", &["join", &ticket]).ok();
    mesh.run("b", &["recover", "--words-file", &words]).ok();
    assert_eq!(mesh.bytes("b", &["get", "--", "file", "-"]), b"small");
}

/// Files of the next test in the short form; `DATAMESH_FILES` asks for more, and `DATAMESH_FIRST_FILE`
/// for others.
const FILES: u64 = 300;

/// Addresses that the owner has written down.
const WRITTEN_DOWN: usize = 6;

/// Waits until every segment has all its shards again.
fn heals(mesh: &Mesh) {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let found = mesh.run("client", &["distribution", "--json"]).ok().json();
        if found["margins"]["2"] == found["segments"] {
            return;
        }
        assert!(Instant::now() < end, "not whole: {found}");
    }
}

/// Six nodes and three of them without which a quorum of those who keep the account's heads, and of those
/// who keep its epochs, is still among the living: nobody could know what is newest otherwise. Both are
/// drawn by chance when the account is made.
fn who_may_die(mesh: &mut Mesh) -> (Vec<usize>, [usize; 3]) {
    for written in [1..=WRITTEN_DOWN, WRITTEN_DOWN..=2 * WRITTEN_DOWN - 1] {
        let written: Vec<usize> = written.collect();
        let triples = (0..WRITTEN_DOWN)
            .flat_map(|a| (0..a).flat_map(move |b| (0..b).map(move |c| [a, b, c])));
        for triple in triples {
            let dead = triple.map(|position| written[position]);
            for node in dead {
                mesh.kill(node);
            }
            let probe = mesh.pipe("client", &["put", "--json", "--", "-", "probe"], b"probe");
            for node in dead {
                mesh.start(node, &["--domain", &format!("zone-{node}/host-{node}")]);
            }
            if probe.json()["pending"] == 0 {
                return (written, dead);
            }
        }
    }
    panic!("no three of six may die");
}

#[test]
fn many_files_come_back_from_the_words_with_three_of_six_dead() {
    let asked = asked("DATAMESH_FIRST_FILE", "DATAMESH_FILES", FILES);
    let count = asked.end - asked.start;
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.set("membership.offline_after", "2s");
    mesh.set("repair.grace", "3s");
    mesh.found(12);
    mesh.client("client");
    let tree = mesh.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let shape = TreeShape { bytes: 2000 * count, small_files: count as usize };
    tree_of(1 + asked.start, &tree, shape).unwrap();
    let digest = tree_digest(&tree).unwrap();
    mesh.run("client", &["put", "-r", "--", &mesh.text(&tree), "tree"]).ok();
    let before = listed(&mesh, "client");
    let files = before.as_array().unwrap().iter().filter(|entry| entry["kind"] == "file").count();
    assert!(files as u64 >= count, "{files} files");
    let (written, dead) = who_may_die(&mut mesh);
    let addresses: Vec<String> =
        written.iter().map(|node| address(&mesh, &format!("n{node}"))).collect();
    // They die one after the other.
    for node in &dead {
        mesh.kill(*node);
        heals(&mesh);
    }
    mesh.run("client", &["remove", "probe"]).ok();
    std::fs::rename(mesh.path("client"), mesh.path("gone")).unwrap();

    let words = mesh.text(&mesh.path("client.words"));
    let recover = |peer: &str| {
        mesh.run("back", &["recover", "--json", "--words-file", &words, "--peer", peer])
    };
    for (node, address) in written.iter().zip(&addresses) {
        if dead.contains(node) {
            recover(address).code(5);
        }
    }
    let living = written.iter().position(|node| !dead.contains(node)).unwrap();
    let recovered = recover(&addresses[living]).ok().json();
    assert_eq!(recovered["files"].as_u64().unwrap(), files as u64);
    assert_eq!(listed(&mesh, "back"), before);
    let back = mesh.path("tree back");
    mesh.run("back", &["get", "-r", "--", "tree", &mesh.text(&back)]).ok();
    assert_eq!(tree_digest(&back).unwrap(), digest);
}
