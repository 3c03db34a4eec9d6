//! Folders that are kept alike with the mesh: by daemons and without, one way and both, killed,
//! out of room, watched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use datamesh_testkit::fixtures::{TreeShape, noise, tree_digest, tree_of};
use datamesh_testkit::processes::{Done, Mesh};
use rustix::process::{Pid, Signal, kill_process};

use crate::{PROGRAM, small_disk};

/// How long what one side did may take to be seen on the other.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mesh, an account on its first node with a daemon, and a device of it without.
fn two_devices() -> Mesh {
    let mesh = Mesh::of(PROGRAM, 6);
    let (words, keys) = (mesh.text(&mesh.path("n0.words")), mesh.text(&mesh.path("keys")));
    mesh.run("n0", &["keys", "add", "--words-file", &words, &keys]).ok();
    mesh.run("second", &["keys", "import", &keys]).ok();
    mesh
}

fn folder(mesh: &Mesh, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = mesh.path(name);
    fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        write(&folder, file, text);
    }
    folder
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
}

fn sync(mesh: &Mesh, home: &str, flags: &[&str], folder: &Path) -> Done {
    let folder = mesh.text(folder);
    let mut arguments = vec!["sync", "--json"];
    arguments.extend(flags);
    arguments.extend(["--", &folder, "tree"]);
    mesh.run(home, &arguments)
}

/// The names below a folder.
fn names(folder: &Path) -> Vec<String> {
    fn collect(root: &Path, at: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    collect(folder, folder, &mut found);
    found.sort();
    found
}

fn actions(done: &Done) -> Vec<String> {
    let report = done.json();
    let actions = report["actions"].as_array().unwrap();
    actions.iter().map(|action| format!("{} {}", action["action"], action["path"])).collect()
}

#[test]
fn a_mirror_stores_what_changed_and_takes_back_what_was_removed() {
    let mesh = two_devices();
    let tree = folder(&mesh, "here", &[("a", "first"), ("b/c", "second"), ("b/x.log", "no")]);
    write(&tree, "large", noise(1, 3_000_000));
    write(&tree, ".datameshignore", "*.log\n");
    let trial = sync(&mesh, "n0", &["--dry-run"], &tree).ok();
    assert_eq!(actions(&trial).len(), 4);
    mesh.run("n0", &["list", "-r", "tree"]).code(3);
    for home in ["n0", "second"] {
        // The second device finds everything stored, and has nothing to do.
        let report = sync(&mesh, home, &[], &tree).ok().json();
        let expected = if home == "n0" { 4 } else { 0 };
        assert_eq!(report["uploaded"]["files"], expected, "{report}");
        assert_eq!(report["failed"].as_array().unwrap().len(), 0);
    }
    assert_eq!(mesh.bytes("second", &["get", "--", "tree/b/c", "-"]), b"second");

    // Another name: no byte is stored again on any node.
    let packed = |mesh: &Mesh| -> u64 { (0..6).map(|number| mesh.packed(number)).sum() };
    let before = packed(&mesh);
    fs::create_dir(tree.join("moved")).unwrap();
    fs::rename(tree.join("large"), tree.join("moved/large")).unwrap();
    fs::remove_file(tree.join("a")).unwrap();
    let done = sync(&mesh, "n0", &[], &tree).ok();
    let expected = ["\"rename_remote\" \"large\"", "\"remove_remote\" \"a\""];
    assert_eq!(actions(&done), expected);
    let now = packed(&mesh);
    assert!(now - before < 3_000_000 / 4, "{before} {now}");
    assert!(mesh.bytes("n0", &["get", "--", "tree/moved/large", "-"]) == noise(1, 3_000_000));
    mesh.run("n0", &["info", "--", "tree/a"]).code(3);
    mesh.run("n0", &["versions", "--undelete", "tree/a"]).ok();
    assert_eq!(mesh.bytes("n0", &["get", "--", "tree/a", "-"]), b"first");

    // The other way, to a folder that is not there yet.
    let back = mesh.path("back");
    sync(&mesh, "second", &["--download"], &back).ok();
    assert_eq!(names(&back), [".datameshignore", "a", "b/c", "moved/large"]);
    let again = sync(&mesh, "second", &["--download"], &back).ok().json();
    assert_eq!(again["actions"].as_array().unwrap().len(), 0);
    sync(&mesh, "n0", &[], &mesh.path("missing")).code(3);
    sync(&mesh, "n0", &["--download", "--bidirectional"], &tree).code(2);
    sync(&mesh, "n0", &["--exclude", "{a"], &tree).code(2);
}

#[test]
fn two_devices_keep_a_folder_alike_and_both_sides_of_a_conflict() {
    let mesh = two_devices();
    let files = [("notes/report.txt", "first"), ("notes/other", "other"), ("top", "top")];
    let (here, there) = (folder(&mesh, "here", &files), folder(&mesh, "there", &[]));
    // What the other device did lately may be seen some seconds later.
    let alike = || {
        let end = Instant::now() + PATIENCE;
        loop {
            sync(&mesh, "n0", &["--bidirectional"], &here).ok();
            sync(&mesh, "second", &["--bidirectional"], &there).ok();
            if tree_digest(&here).unwrap() == tree_digest(&there).unwrap() {
                return;
            }
            assert!(Instant::now() < end, "{:?} {:?}", names(&here), names(&there));
        }
    };
    alike();
    assert_eq!(names(&there), ["notes/other", "notes/report.txt", "top"]);

    write(&here, "notes/report.txt", "changed here");
    write(&there, "notes/report.txt", "changed there");
    fs::remove_file(there.join("top")).unwrap();
    fs::rename(here.join("notes/other"), here.join("renamed")).unwrap();
    alike();
    let found = names(&here);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("notes/report (conflict "), "{found:?}");
    let texts: Vec<String> =
        found[..2].iter().map(|name| fs::read_to_string(here.join(name)).unwrap()).collect();
    for text in ["changed here", "changed there"] {
        assert!(texts.iter().any(|found| found == text), "{texts:?}");
    }
    assert_eq!(found[2], "renamed");

    // A file that becomes a folder, and a folder that becomes a file.
    fs::remove_file(here.join("renamed")).unwrap();
    write(&here, "renamed/inner", "inner");
    alike();
    fs::remove_dir_all(there.join("notes")).unwrap();
    write(&there, "notes", "a file now");
    alike();
    assert_eq!(names(&here), ["notes", "renamed/inner"]);
}

#[test]
fn a_nasty_tree_comes_back_as_it_was() {
    let mesh = Mesh::of(PROGRAM, 6);
    let (tree, back) = (mesh.path("here"), mesh.path("back"));
    fs::create_dir(&tree).unwrap();
    tree_of(3, &tree, TreeShape { bytes: 24 << 20, small_files: 200 }).unwrap();
    sync(&mesh, "n0", &[], &tree).ok();
    sync(&mesh, "n0", &["--download"], &back).ok();
    assert_eq!(tree_digest(&tree).unwrap(), tree_digest(&back).unwrap());
    let again = sync(&mesh, "n0", &["--bidirectional"], &back).ok().json();
    assert_eq!(again["actions"].as_array().unwrap().len(), 0, "{again}");
}

#[test]
fn a_sync_that_is_killed_goes_on() {
    let mesh = Mesh::of(PROGRAM, 6);
    mesh.client("client");
    let tree = mesh.path("here");
    fs::create_dir(&tree).unwrap();
    tree_of(4, &tree, TreeShape { bytes: 48 << 20, small_files: 400 }).unwrap();
    let source = mesh.text(&tree);
    let before: u64 = (0..6).map(|number| mesh.packed(number)).sum();
    for _ in 0..3 {
        let mut command = mesh.command("client", &["sync", "-q", "--", &source, "tree"]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        // Until something of it is on the nodes' disks.
        loop {
            let packed: u64 = (0..6).map(|number| mesh.packed(number)).sum();
            if packed > before + (8 << 20) || child.try_wait().unwrap().is_some() {
                break;
            }
            assert!(Instant::now() < end, "nothing is stored");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    sync(&mesh, "client", &[], &tree).ok();
    let again = sync(&mesh, "client", &[], &tree).ok().json();
    assert_eq!(again["actions"].as_array().unwrap().len(), 0, "{again}");

    let back = mesh.path("back");
    let target = mesh.text(&back);
    for _ in 0..3 {
        let arguments = ["sync", "-q", "--download", "--", &target, "tree"];
        let mut child = mesh.command("client", &arguments).stdout(Stdio::null()).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while !back.join("names").exists() && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "nothing is fetched");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    sync(&mesh, "client", &["--download"], &back).ok();
    assert_eq!(tree_digest(&tree).unwrap(), tree_digest(&back).unwrap());
}

#[test]
fn a_full_disk_and_one_that_cannot_be_written_lose_nothing() {
    let mesh = Mesh::of(PROGRAM, 6);
    let tree = folder(&mesh, "here", &[("a", "small"), ("z", "last")]);
    write(&tree, "large", noise(1, 3_000_000));
    sync(&mesh, "n0", &[], &tree).ok();
    let disk = folder(&mesh, "disk", &[]);
    let script = "SYNC() { \"$PROGRAM\" --home \"$HOME_OF\" sync -q \"$@\" \"$FOLDER\" tree >&2; echo \"code $?\"; }
         SYNC --download --parallel 1; find \"$FOLDER\" -type f | sort; echo edited > \"$FOLDER/a\"
         mount -o remount,size=16m \"$FOLDER\"; SYNC --bidirectional
         cat \"$FOLDER/a\"; cmp \"$FOLDER/large\" \"$WHOLE\"
         mount -o remount,ro \"$FOLDER\"; SYNC; echo newer > \"$NEWER\"
         \"$PROGRAM\" --home \"$HOME_OF\" put -q -- \"$NEWER\" tree/z >&2; SYNC --bidirectional";
    let Some(done) = small_disk::run(
        &mesh,
        (&disk, 1 << 20),
        script,
        &[("WHOLE", tree.join("large").as_os_str()), ("NEWER", mesh.path("newer").as_os_str())],
    ) else {
        return;
    };
    assert!(done.err.contains("no space left"), "{}", done.err);
    assert!(done.err.contains("read-only"), "{}", done.err);
    let small = format!("{}\n", disk.join("a").display());
    let lines = done.out.replacen(&small, "", 1).replacen(
        &format!("{}\n", disk.join("z").display()),
        "",
        1,
    );
    assert_eq!(lines, "code 4\ncode 0\nedited\ncode 0\ncode 1\n", "{}", done.err);
    assert_eq!(mesh.bytes("n0", &["get", "--", "tree/a", "-"]), b"edited\n");
    assert_eq!(mesh.bytes("n0", &["get", "--", "tree/z", "-"]), b"newer\n");
}

#[test]
fn a_watched_folder_follows_by_itself_until_it_is_interrupted() {
    let mesh = two_devices();
    let here = folder(&mesh, "here", &[("a", "first")]);
    let source = mesh.text(&here);
    let arguments =
        ["sync", "--json", "--watch", "--bidirectional", "--interval", "1s", "--", &source, "tree"];
    let log = fs::File::create(mesh.path("watch.log")).unwrap();
    let mut command = mesh.command("n0", &arguments);
    let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let end = Instant::now() + PATIENCE;
        while !done() {
            let log = fs::read_to_string(mesh.path("watch.log")).unwrap();
            assert!(Instant::now() < end, "{what}: {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let has = |name: &str, text: &str| {
        let got: Done = mesh.command("second", &["get", "--", name, "-"]).output().unwrap().into();
        got.code == 0 && got.out == text
    };
    wait("the first file", &|| has("tree/a", "first"));
    write(&here, "sub/b", "second");
    wait("a file that was made", &|| has("tree/sub/b", "second"));
    write(&here, "a", "changed");
    wait("a file that was changed", &|| has("tree/a", "changed"));
    mesh.pipe("second", &["put", "--", "-", "tree/c"], b"from the other").ok();
    wait("a file of the other device", &|| {
        fs::read_to_string(here.join("c")).is_ok_and(|text| text == "from the other")
    });
    // Another sync of the folder would be in the way.
    sync(&mesh, "n0", &["--bidirectional"], &here).code(1);
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let again = sync(&mesh, "n0", &["--bidirectional"], &here).ok().json();
    assert_eq!(again["actions"].as_array().unwrap().len(), 0, "{again}");
}
