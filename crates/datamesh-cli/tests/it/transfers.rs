//! Files in and out of a mesh of real processes.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use datamesh_testkit::fixtures::{TreeShape, noise, tree_digest, tree_of};
use datamesh_testkit::processes::{Done, Mesh};
use rustix::process::{Pid, Signal, kill_process};

use crate::{PROGRAM, small_disk};

#[test]
fn files_go_in_and_out_the_same_with_and_without_a_daemon() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    // A home with an account alone: its commands do everything in their own process.
    let ticket = mesh.run("n0", &["invite", "--account-only"]).ok().out.trim().to_owned();
    mesh.init("client");
    fs::write(mesh.path("ticket"), format!("{ticket}\n")).unwrap();
    let from_file = format!("@{}", mesh.text(&mesh.path("ticket")));
    let joined = mesh.run("client", &["join", "--json", &from_file]).ok().json();
    assert_eq!(joined["node_pending"], false);
    let tree = mesh.path("tree");
    fs::create_dir(&tree).unwrap();
    tree_of(5, &tree, TreeShape { bytes: 12 << 20, small_files: 200 }).unwrap();
    let digest = tree_digest(&tree).unwrap();
    let source = mesh.text(&tree);

    for home in ["n0", "client"] {
        let put = mesh.run(home, &["put", "-r", "--json", "--tags", "b,a", "--", &source]).ok();
        let put = put.json();
        assert_eq!(put["failed"].as_array().unwrap().len(), 0);
        assert_eq!(put["pending"], 0);
        let stored = put["stored"].as_array().unwrap();
        assert!(stored.iter().all(|file| file["path"].as_str().unwrap().starts_with("tree/")));
        assert!(stored.iter().all(|file| file["owed"] == 0));

        let back = mesh.path(&format!("back {home}"));
        let dest = mesh.text(&back);
        let got = mesh.run(home, &["get", "-r", "--json", "--", "tree", &dest]).ok().json();
        assert_eq!(got["files"].as_u64().unwrap(), stored.len() as u64);
        assert_eq!(tree_digest(&back).unwrap(), digest, "{home}");
        // All files, with the folder's own name.
        let all = mesh.path(&format!("all {home}"));
        let dest = mesh.text(&all);
        mesh.run(home, &["get", "-r", "--", "/", &dest]).ok();
        assert_eq!(tree_digest(&all.join("tree")).unwrap(), digest, "{home}");

        let listed = mesh.run(home, &["list", "-r", "--json", "--tags", "a,b"]).ok().json();
        assert_eq!(listed["entries"].as_array().unwrap().len(), stored.len());
        assert_eq!(listed["more"], false);
        let some = mesh.run(home, &["list", "-r", "--json", "--limit", "3"]).ok().json();
        assert_eq!(some["entries"].as_array().unwrap().len(), 3);
        let top = mesh.run(home, &["list", "--json"]).ok().json();
        assert_eq!(top["entries"][0]["type"], "folder");
        // Names that could steer a terminal are written out.
        let table = mesh.run(home, &["list", "-r"]).ok().out;
        assert!(!table.contains('\u{1b}') && table.contains("\\u{1b}"), "{table}");

        let peers = mesh.run(home, &["peers", "--format", "json"]).ok().json();
        let peers = peers.as_array().unwrap().clone();
        assert_eq!(peers.len(), 7);
        let own = peers.iter().filter(|peer| peer["local"] == true).count();
        assert_eq!(own, usize::from(home == "n0"));
        let stats = mesh.run(home, &["stats", "--json"]).ok().json();
        assert_eq!(stats["mesh"]["one_machine"], true);
        // Folders have no hash.
        let entries = listed["entries"].as_array().unwrap();
        let files = entries.iter().filter(|entry| !entry["hash"].is_null()).count();
        assert_eq!(stats["catalog"]["files"].as_u64().unwrap(), files as u64);
        let health = mesh.run(home, &["health", "--json"]).ok().json();
        assert_ne!(health["severity"], "critical");
        mesh.run(home, &["doctor"]).ok();
    }

    // Two accounts, two name spaces.
    mesh.run("client", &["remove", "-r", "--", "tree/"]).ok();
    mesh.run("client", &["get", "-r", "--", "tree", "nowhere"]).code(3);
    for node in [2, 5] {
        mesh.kill(node);
    }
    let back = mesh.path("after");
    let dest = mesh.text(&back);
    mesh.run("n0", &["get", "-r", "--", "tree", &dest]).ok();
    assert_eq!(tree_digest(&back).unwrap(), digest);
}

#[test]
fn versions_ranges_and_streams() {
    let mesh = Mesh::of(PROGRAM, 6);
    let (first, second) = (noise(1, 300_000), noise(2, 5_000_000));
    let file = mesh.path("file");
    let source = mesh.text(&file);
    fs::write(&file, &first).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o750)).unwrap();
    mesh.run("n0", &["put", "--", &source, "folder/"]).ok();
    fs::write(&file, &second).unwrap();
    // Standard input, and a name that looks like an option.
    let put = mesh.pipe("n0", &["put", "--", "-", "folder/file"], &second);
    put.ok();
    mesh.pipe("n0", &["put", "--", "-", "-rf"], b"dash").ok();
    assert_eq!(mesh.run("n0", &["get", "--", "-rf", "-"]).ok().out, "dash");

    let versions = mesh.run("n0", &["versions", "--json", "folder/file"]).ok().json();
    let versions = versions["versions"].as_array().unwrap().clone();
    assert_eq!((&versions[0]["number"], &versions[1]["number"]), (&2.into(), &1.into()));
    let info = mesh.run("n0", &["info", "--json", "folder/file"]).ok().json();
    assert_eq!(info["margin"], 2);
    let domains: std::collections::BTreeSet<&str> = info["segments"][0]["shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|shard| shard["domain"].as_str().unwrap())
        .collect();
    assert_eq!(domains.len(), 6, "one shard a domain");

    let out = |arguments: &[&str]| mesh.bytes("n0", arguments);
    assert!(out(&["get", "--", "folder/file", "-"]) == second);
    assert!(out(&["get", "--version", "1", "--", "folder/file", "-"]) == first);
    let id = versions[1]["version"].as_str().unwrap();
    assert!(out(&["get", "--", &id[..12], "-"]) == first, "by the beginning of an id");
    assert!(
        out(&["get", "--range", "65000-4300000", "folder/file", "-"]) == second[65_000..4_300_000]
    );
    assert!(out(&["get", "--range", "4999990-", "folder/file", "-"]) == second[4_999_990..]);
    assert!(out(&["get", "--range", "7-7", "folder/file", "-"]).is_empty());
    mesh.run("n0", &["get", "--range", "0-5000001", "folder/file", "-"]).code(2);

    // Into a folder that is there; with the permission bits it had.
    let dest = mesh.path("dest");
    fs::create_dir(&dest).unwrap();
    let text = mesh.text(&dest);
    mesh.run("n0", &["get", "--version", "1", "folder/file", &text]).ok();
    assert!(fs::read(dest.join("file")).unwrap() == first);
    let mode = fs::metadata(dest.join("file")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o750);

    // Links and devices are not stored, and that is not all well.
    let tree = mesh.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("kept"), b"kept").unwrap();
    symlink("kept", tree.join("link")).unwrap();
    let source = mesh.text(&tree);
    let partly = mesh.run("n0", &["put", "-r", "--json", "--", &source]).code(4);
    assert_eq!(partly.json()["failed"][0]["path"], "tree/link");
    assert!(partly.err.contains("symbolic link"), "{}", partly.err);
    // A folder that was stored empty comes back, and goes, by its own name.
    let hollow = mesh.path("hollow");
    fs::create_dir(&hollow).unwrap();
    let source = mesh.text(&hollow);
    mesh.run("n0", &["put", "-r", "--", &source]).ok();
    let back = mesh.path("hollow back");
    let text = mesh.text(&back);
    mesh.run("n0", &["get", "-r", "--", "hollow", &text]).ok();
    assert_eq!(fs::read_dir(&back).unwrap().count(), 0);
    mesh.run("n0", &["remove", "-r", "--", "hollow"]).ok();
    // An empty file keeps its mode and time too.
    let empty = mesh.path("empty");
    fs::write(&empty, b"").unwrap();
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o640)).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_580_601_600);
    fs::File::options().write(true).open(&empty).unwrap().set_modified(then).unwrap();
    mesh.run("n0", &["put", "--", &mesh.text(&empty)]).ok();
    let back = mesh.path("empty back");
    mesh.run("n0", &["get", "--", "empty", &mesh.text(&back)]).ok();
    let about = fs::metadata(&back).unwrap();
    assert_eq!((about.permissions().mode() & 0o777, about.modified().unwrap()), (0o640, then));
    // A file is taken as one where all below a folder is asked for.
    let single = mesh.path("single");
    fs::write(&single, b"alone").unwrap();
    mesh.run("n0", &["put", "-r", "--", &mesh.text(&single)]).ok();
    assert_eq!(mesh.bytes("n0", &["get", "--", "single", "-"]), b"alone");
    mesh.run("n0", &["remove", "-r", "--", "single"]).ok();
    mesh.run("n0", &["remove", "-r", "--", "single"]).code(3);
    mesh.run("n0", &["get", "-r", "--", "hollow", &text]).code(3);

    // A file is listed by its own name; what nobody stored is not found.
    let listed = mesh.run("n0", &["list", "--json", "folder/file"]).ok().json();
    assert_eq!(listed["entries"][0]["path"], "folder/file");
    assert_eq!(listed["entries"].as_array().unwrap().len(), 1);
    mesh.run("n0", &["list", "folder/fil"]).code(3);
    mesh.run("n0", &["list", "folder"]).ok();

    // A put that waits for the other end of a pipe ends with a signal all the same.
    let pipe = mesh.path("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let mut put = mesh.command("n0", &["put", "--", &mesh.text(&pipe), "pipe"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(put.try_wait().unwrap().is_none(), "it waits");
    kill_process(Pid::from_child(&put), Signal::TERM).unwrap();
    assert_eq!(put.wait().unwrap().code(), Some(143));

    // Where the reader of the output leaves, the command does too, and says that it was early.
    let mut get = mesh
        .command("n0", &["-q", "get", "--", "folder/file", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(get.stdout.take());
    let done = Done::from(get.wait_with_output().unwrap()).code(1);
    assert!(done.err.contains("cut short"), "{}", done.err);

    // One that reads no more keeps nobody: a signal ends the command all the same.
    let mut get = mesh
        .command("n0", &["-q", "get", "--", "folder/file", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = get.stdout.take().unwrap();
    reader.read_exact(&mut [0]).unwrap();
    kill_process(Pid::from_child(&get), Signal::INT).unwrap();
    assert_eq!(get.wait().unwrap().code(), Some(130));
    drop(reader);

    let removed = mesh.run("n0", &["remove", "--json", "--", "folder/file", "-rf"]).ok().json();
    assert_eq!(removed["removed"].as_array().unwrap().len(), 2);
    assert_eq!(removed["space_freed"], 0);
    mesh.run("n0", &["remove", "--", "folder/file"]).code(3);
}

#[test]
fn an_interrupted_get_of_a_small_file_leaves_nothing_behind() {
    let mesh = Mesh::of(PROGRAM, 6);
    let bytes = noise(7, 33_000_000);
    mesh.pipe("n0", &["put", "--", "-", "small"], &bytes).ok();
    let dest = mesh.path("dest");
    fs::create_dir(&dest).unwrap();
    let text = mesh.text(&dest);
    for signal in [Signal::INT, Signal::TERM] {
        let mut get = mesh.command("n0", &["get", "--", "small", &text]).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while fs::read_dir(&dest).unwrap().next().is_none() {
            assert!(Instant::now() < end, "nothing was begun");
            std::thread::sleep(Duration::from_millis(1));
        }
        let pid = Pid::from_raw(get.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
        let code = get.wait().unwrap().code().unwrap();
        let left: Vec<_> = fs::read_dir(&dest).unwrap().map(|e| e.unwrap().file_name()).collect();
        match code {
            // It was faster than the signal.
            0 => assert_eq!(left, ["small"]),
            code => {
                assert_eq!(code, if signal == Signal::INT { 130 } else { 143 });
                assert!(left.is_empty(), "{left:?}");
            }
        }
        for name in left {
            fs::remove_file(dest.join(name)).unwrap();
        }
    }
}

#[test]
fn what_a_killed_get_of_a_small_file_leaves_goes_with_the_next_one() {
    let mesh = Mesh::of(PROGRAM, 6);
    let bytes = noise(7, 33_000_000);
    mesh.pipe("n0", &["put", "--", "-", "small"], &bytes).ok();
    let dest = mesh.path("dest");
    fs::create_dir(&dest).unwrap();
    let text = mesh.text(&dest);
    let mut get = mesh.command("n0", &["get", "--", "small", &text]).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while fs::read_dir(&dest).unwrap().next().is_none() {
        assert!(Instant::now() < end, "nothing was begun");
        std::thread::sleep(Duration::from_millis(1));
    }
    get.kill().unwrap();
    get.wait().unwrap();
    mesh.run("n0", &["get", "--", "small", &text]).ok();
    let left: Vec<_> = fs::read_dir(&dest).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["small"]);
    assert!(fs::read(dest.join("small")).unwrap() == bytes);
}

#[test]
fn a_full_disk_fails_the_get_and_leaves_nothing_behind() {
    let mesh = Mesh::of(PROGRAM, 6);
    let folder = mesh.path("small");
    fs::create_dir(&folder).unwrap();
    mesh.pipe("n0", &["put", "--", "-", "large"], &noise(1, 8_000_000)).ok();
    mesh.pipe("n0", &["put", "--", "-", "tree/large"], &noise(2, 8_000_000)).ok();
    let script = "echo old > \"$FOLDER/large\"
         \"$PROGRAM\" --home \"$HOME_OF\" get -- large \"$FOLDER\"; echo \"code $?\"
         \"$PROGRAM\" --home \"$HOME_OF\" get -r -- tree \"$FOLDER/tree\"; echo \"code $?\"
         cat \"$FOLDER/large\"; find \"$FOLDER\" -type f";
    let Some(done) = small_disk::run(&mesh, (&folder, 1 << 20), script, &[]) else { return };
    let large = folder.join("large");
    assert_eq!(done.out, format!("code 1\ncode 1\nold\n{}\n", large.display()), "{}", done.err);
    assert!(done.err.contains("no space left"), "{}", done.err);
}
