//! Files that cannot be read, disks that are full, and files of a home that are damaged: a clear
//! error, the right exit code, nothing else lost.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::{Done, Mesh};

use crate::{PROGRAM, not_run, small_disk};

/// A user who owns nothing here.
const NOBODY: u32 = 65_534;

/// Gives a folder and all below it to a user.
fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_stored() {
    let mesh = Mesh::of(PROGRAM, 6);
    mesh.client("client");
    let tree = mesh.path("tree");
    fs::create_dir(&tree).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(tree.join(name), noise(1, 10_000)).unwrap();
    }
    fs::set_permissions(tree.join("b"), fs::Permissions::from_mode(0o000)).unwrap();
    let closed = tree.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("inside"), b"inside").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();

    // The bits stop everybody but the superuser, who becomes somebody else for this.
    let root = rustix::process::geteuid().is_root();
    let run = |arguments: &[&str]| -> Done {
        let command = mesh.command("client", arguments);
        if !root {
            return { command }.output().unwrap().into();
        }
        let mut other = Command::new("setpriv");
        other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", PROGRAM]);
        other.args(command.get_args()).env("DATAMESH_PASSWORD_FILE", mesh.path("password"));
        other.stdin(Stdio::null()).output().unwrap().into()
    };
    if root {
        give(&mesh.path("client"), NOBODY);
        // The folder of the mesh is this user's alone, and others pass through it here.
        fs::set_permissions(mesh.path(""), fs::Permissions::from_mode(0o711)).unwrap();
        fs::set_permissions(mesh.path("password"), fs::Permissions::from_mode(0o644)).unwrap();
        let id = Command::new("setpriv")
            .args(["--reuid", "65534", "--clear-groups", PROGRAM, "--version"])
            .output();
        if !id.is_ok_and(|output| output.status.success()) {
            return not_run("nobody else may run the program here");
        }
    }
    let source = mesh.text(&tree);
    let done = run(&["put", "-r", "--json", "--", &source]).code(4);
    let mut failed: Vec<_> = done.json()["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| failure["path"].as_str().unwrap().to_owned())
        .collect();
    failed.sort();
    assert_eq!(failed, ["tree/b", "tree/closed"]);
    assert!(done.err.contains("permission denied"), "{}", done.err);
    let one = mesh.text(&tree.join("b"));
    let done = run(&["put", "--", &one, "b"]).code(1);
    assert!(done.err.contains("permission denied") && done.err.contains(&one), "{}", done.err);
    let whole = mesh.text(&closed);
    run(&["put", "-r", "--", &whole]).code(1);
    for name in ["tree/a", "tree/c"] {
        run(&["info", "--", name]).ok();
    }
    run(&["info", "--", "tree/b"]).code(3);
    // So that the folder can go.
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_file_that_fails_in_the_middle_is_not_stored() {
    let mesh = Mesh::of(PROGRAM, 6);
    // Opens, and then fails at the first byte.
    let done = mesh.run("n0", &["put", "--", "/proc/self/mem", "memory"]).code(1);
    assert!(done.err.contains("memory"), "{}", done.err);
    mesh.run("n0", &["info", "--", "memory"]).code(3);
}

/// A command whose process has a file system of `bytes` of its own on `folder`; nothing where
/// this machine does not give that.
fn on_small_disk(folder: &Path, bytes: u64, command: &Command) -> Option<Command> {
    let mut made = small_disk::shell(folder, bytes, "exec \"$@\"")?;
    made.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => made.env(name, value),
            None => made.env_remove(name),
        };
    }
    Some(made)
}

#[test]
fn full_nodes_are_passed_over_until_there_are_too_few() {
    /// What a store leaves free on its disk.
    const RESERVE: u64 = 1 << 30;
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.init("n0");
    mesh.start(0, &[]);
    let ticket = mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
    // As much as makes their free room count.
    mesh.offer("64MiB");
    // Room for 5 files, for 8 and for 15. One of the seven nodes is passed over for each file until the first is
    // full, so the second is full before the third, whichever these are.
    let room = [10 << 20, 16 << 20, 30 << 20];
    for number in 1..7 {
        let home = format!("n{number}");
        mesh.run(&home, &["join", &ticket]).ok();
        let service = mesh.service(number, &["--domain", &format!("zone-{number}/host-{number}")]);
        let service = match room.get(number - 1) {
            None => service,
            Some(bytes) => {
                let store = mesh.path(&home).join("node/store");
                fs::create_dir_all(&store).unwrap();
                match on_small_disk(&store, RESERVE + bytes, &service) {
                    Some(service) => service,
                    None => return,
                }
            }
        };
        mesh.start_as(number, service);
    }
    mesh.members(7);

    // 2 MiB on each holder.
    let content = |i: u64| noise(i, 8_000_000);
    let mut codes = Vec::new();
    for i in 0..40 {
        let put = mesh.pipe("n0", &["put", "--json", "--", "-", &format!("file {i}")], &content(i));
        codes.push(put.code);
        match put.code {
            0 => assert_eq!(put.json()["stored"][0]["margin"], 2),
            4 => assert_eq!(put.json()["stored"][0]["margin"], 1, "{}", put.out),
            _ => {
                assert_eq!(put.json()["error"]["kind"], "network", "{}", put.out);
                // Nodes say so themselves, and some time later their adverts do.
                let refused = put.err.contains("the node is full");
                let known = put.err.contains("4 failure domains can take shards now");
                assert!(refused || known, "{}", put.err);
                assert!(put.err.contains("nothing was acknowledged"), "{}", put.err);
                break;
            }
        }
    }
    assert_eq!(codes.last(), Some(&5), "{codes:?}");
    assert!(codes.is_sorted(), "{codes:?}");
    assert!(codes.contains(&0) && codes.contains(&4), "{codes:?}");

    // Nothing acknowledged is lost, not even with a node of those that had room gone; and what was
    // refused is not there.
    mesh.kill(6);
    let refused = codes.len() as u64 - 1;
    for i in 0..refused {
        let got = mesh.bytes("n0", &["get", "--", &format!("file {i}"), "-"]);
        assert!(got == content(i), "file {i}");
    }
    mesh.run("n0", &["info", "--", &format!("file {refused}")]).code(3);
}

#[test]
fn an_account_stores_no_more_than_it_was_granted() {
    let mesh = Mesh::of(PROGRAM, 6);
    let invite = ["invite", "--account-only", "--quota", "3MiB"];
    let ticket = mesh.run("n0", &invite).ok().out.trim().to_owned();
    mesh.init("guest");
    mesh.run("guest", &["join", &ticket]).ok();
    // A file has a shard of some 1 MiB on each of the six.
    let content = |i: u64| noise(i, 4_000_000);
    for i in 0..2 {
        mesh.pipe("guest", &["put", "--", "-", &format!("file {i}")], &content(i)).ok();
    }
    let put = ["put", "--json", "--", "-", "much"];
    let done = mesh.pipe("guest", &put, &noise(9, 20_000_000)).code(1);
    assert!(done.err.contains("used up") && done.err.contains("--quota"), "{}", done.err);
    assert_eq!(done.json()["error"]["kind"], "failed");
    mesh.run("guest", &["info", "--", "much"]).code(3);
    for number in 0..6 {
        // What was granted, and what describes it.
        assert!(mesh.packed(number) < 4 << 20, "node {number} took more than was granted");
    }
    for i in 0..2 {
        assert!(mesh.bytes("guest", &["get", "--", &format!("file {i}"), "-"]) == content(i));
    }
    // Another account has room of its own.
    mesh.pipe("n0", &["put", "--", "-", "other"], &noise(9, 20_000_000)).ok();
}

/// Changes a file of a home, sees what `look` says, and puts the file back.
fn damaged(path: &Path, change: impl Fn(&mut Vec<u8>), look: impl FnOnce()) {
    let good = fs::read(path).unwrap();
    let mut bad = good.clone();
    change(&mut bad);
    assert!(bad != good);
    fs::write(path, &bad).unwrap();
    look();
    fs::write(path, &good).unwrap();
}

#[test]
fn damaged_files_of_a_node_are_named_and_nothing_is_lost() {
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.init("n0");
    mesh.start(0, &[]);
    let bytes = noise(1, 100_000);
    mesh.pipe("n0", &["put", "--allow-degraded", "--", "-", "file"], &bytes).ok();
    mesh.kill(0);
    let home = mesh.path("n0");
    let refuses = |file: &str, says: &str| {
        // One that starts all the same ends by itself, with another code.
        let service = ["service", "--listen", "/ip4/127.0.0.1/tcp/0", "--timeout", "10s"];
        let done = mesh.run("n0", &service);
        assert_eq!(done.code, 1, "{file}: {}", done.err);
        assert!(done.err.contains(says), "{file}: {}", done.err);
        assert!(!done.err.contains("panicked"), "{file}: {}", done.err);
    };
    let flip = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);

    for (file, flipped) in [
        ("node/key", "not the key that the mesh admitted"),
        ("node/store/identity", "identity file is damaged"),
        ("mesh/genesis", "mesh/genesis is damaged"),
        ("mesh/certificate", "mesh/certificate is damaged"),
        ("mesh/delegate.key", "mesh/delegate.key"),
        ("account/public", "account/public is damaged"),
    ] {
        damaged(&home.join(file), flip, || refuses(file, flipped));
        damaged(&home.join(file), cut, || refuses(file, "damaged"));
    }
    // The permission to store: what is stored can be read without it.
    for change in [&flip as &dyn Fn(&mut Vec<u8>), &cut] {
        damaged(&home.join("mesh/grant"), change, || {
            let source = mesh.text(&mesh.path("password"));
            let done = mesh.run("n0", &["put", "--allow-degraded", "--", &source, "x"]).code(1);
            assert!(done.err.contains("mesh/grant is damaged"), "{}", done.err);
        });
    }
    // What was only remembered is begun anew.
    for file in ["node/peers", "node/memory.db", "node/listening"] {
        let path = home.join(file);
        fs::write(&path, noise(3, 5000)).unwrap();
    }
    mesh.start(0, &[]);
    assert!(mesh.bytes("n0", &["get", "--", "file", "-"]) == bytes);
    mesh.kill(0);

    // A setting that does not exist.
    fs::write(home.join("config.toml"), "[service]\nstorge = \"1GiB\"\n").unwrap();
    for arguments in [&["service"][..], &["put", "--", "/etc/hosts", "hosts"]] {
        let done = mesh.run("n0", arguments).code(2);
        assert!(done.err.contains("service.storage"), "{arguments:?}: {}", done.err);
    }
    fs::remove_file(home.join("config.toml")).unwrap();
    mesh.start(0, &[]);
    assert!(mesh.bytes("n0", &["get", "--", "file", "-"]) == bytes);
}

#[test]
fn a_catalog_that_is_damaged_in_the_middle_gives_nothing_wrong() {
    let mesh = Mesh::of(PROGRAM, 6);
    mesh.client("client");
    let tree = mesh.path("tree");
    fs::create_dir(&tree).unwrap();
    for i in 0..40u64 {
        // Some in the catalog, some in segments.
        fs::write(tree.join(format!("file {i}")), noise(i, 200 + i as usize * 400)).unwrap();
    }
    let source = mesh.text(&tree);
    mesh.run("client", &["put", "-r", "--", &source, "tree"]).ok();
    let whole = mesh.run("client", &["list", "-r", "--json"]).ok().out;
    let catalog = mesh.path("client").join("account/catalog.db");
    let length = fs::metadata(&catalog).unwrap().len() as usize;
    let mut refused = 0;
    for place in 0..24 {
        let at = 200 + place * (length - 400) / 24;
        let change = |bytes: &mut Vec<u8>| {
            for byte in &mut bytes[at..at + 64] {
                *byte ^= 0x55;
            }
        };
        damaged(&catalog, change, || {
            let listed = mesh.run("client", &["list", "-r", "--json"]);
            match listed.code {
                0 => assert_eq!(listed.out, whole, "at {at}"),
                _ => {
                    refused += 1;
                    let text = listed.err.to_lowercase();
                    assert_eq!(listed.code, 1, "at {at}: {text}");
                    assert!(text.contains("catalog") || text.contains("database"), "{text}");
                    assert!(text.contains("hint:"), "{text}");
                }
            }
            let i = place as u64;
            let name = format!("tree/file {i}");
            let output = mesh.command("client", &["get", "--", &name, "-"]).output().unwrap();
            if output.status.success() {
                assert!(
                    output.stdout == noise(i, 200 + i as usize * 400),
                    "{name}, damage at {at}"
                );
            } else {
                let done = Done::from(output);
                assert!(done.code == 1 || done.code == 3, "{}", done.err);
                assert_ne!(done.code, 3, "a damaged entry is no missing one: {}", done.err);
            }
        });
    }
    assert!(refused > 0, "no damage was noticed, so nothing was tested");
    assert_eq!(mesh.run("client", &["list", "-r", "--json"]).ok().out, whole);
    let back = mesh.path("back");
    let dest = mesh.text(&back);
    mesh.run("client", &["get", "-r", "--", "tree", &dest]).ok();
    for i in 0..40u64 {
        let got = fs::read(back.join(format!("file {i}"))).unwrap();
        assert!(got == noise(i, 200 + i as usize * 400));
    }
}

#[test]
fn a_ticket_counts_its_nodes_and_not_those_who_only_joined() {
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.init("n0");
    mesh.start(0, &[]);
    let ticket = mesh.run("n0", &["invite", "--uses", "1"]).ok().out.trim().to_owned();
    // Nodes without an account redeem the ticket at their first start.
    for home in ["n1", "n2"] {
        mesh.run(home, &["join", &ticket]).ok();
    }
    mesh.start(1, &["--domain", "zone-1/host-1"]);
    let late = mesh.run("n2", &["service", "--listen", "/ip4/127.0.0.1/tcp/0"]).code(1);
    assert!(late.err.contains("no use left") && late.err.contains("hint:"), "{}", late.err);
    assert!(!mesh.path("n2").join("mesh/certificate").exists());
    // The admitted one is admitted for good.
    mesh.kill(1);
    mesh.start(1, &[]);
}
