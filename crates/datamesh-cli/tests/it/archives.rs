//! Archives out of a mesh of real processes and into it, by a daemon and without.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use datamesh_testkit::fixtures::{TreeShape, noise, tree_digest, tree_of};
use datamesh_testkit::processes::{Done, Mesh};

use crate::PROGRAM;

fn export(mesh: &Mesh, home: &str, dest: &Path, flags: &[&str]) -> Done {
    let dest = mesh.text(dest);
    let mut arguments = vec!["export", "--json", &dest];
    arguments.extend(flags);
    mesh.run(home, &arguments)
}

fn import(mesh: &Mesh, home: &str, archive: &Path, flags: &[&str]) -> Done {
    let archive = mesh.text(archive);
    let mut arguments = vec!["import", "--json", &archive];
    arguments.extend(flags);
    mesh.run(home, &arguments)
}

/// A file with another password than the keystore's.
fn password(mesh: &Mesh) -> String {
    fs::write(mesh.path("archive-password"), "of the archive alone").unwrap();
    mesh.text(&mesh.path("archive-password"))
}

#[test]
fn a_tree_goes_out_and_comes_in_again_whoever_does_it() {
    let mesh = Mesh::of(PROGRAM, 6);
    // n0 has a daemon, this one does everything in its own process.
    mesh.client("client");
    let tree = mesh.path("tree");
    fs::create_dir(&tree).unwrap();
    tree_of(5, &tree, TreeShape { bytes: 12 << 20, small_files: 150 }).unwrap();
    let source = mesh.text(&tree);
    let put = mesh.run("n0", &["put", "-r", "--tags", "kept", "--", &source, "/"]);
    assert!(put.code == 0 || put.code == 4, "{}", put.err);
    let secret = password(&mesh);
    let sealing = ["--encrypt", "--archive-password-file", &secret];
    for (name, flags) in [
        ("a.tar", &["--include-metadata"][..]),
        ("a.tar.zst.age", &sealing),
        ("a.zip", &["--include-metadata"]),
    ] {
        let archive = mesh.path(name);
        let out = export(&mesh, "n0", &archive, flags).ok().json();
        assert_eq!(out["failed"].as_array().unwrap().len(), 0, "{out}");
        let opening = ["--archive-password-file", &secret];
        let mut keeping = vec!["--preserve-structure", "--odd-names", "--verify"];
        keeping.extend(opening);
        let into = format!("from {name}");
        keeping.extend(["--into", &into]);
        // Out by the daemon and in without one, into another account; then its way back.
        let report = import(&mesh, "client", &archive, &keeping).ok().json();
        assert_eq!(report["verified"], out["files"], "{report}");
        let back = mesh.path("back").join(name);
        fs::create_dir_all(back.parent().unwrap()).unwrap();
        let back = mesh.text(&back);
        mesh.run("client", &["get", "-r", "--", &into, &back]).ok();
        let had = mesh.path("had");
        drop(fs::remove_dir_all(&had));
        mesh.run("n0", &["get", "-r", "--", "/", &mesh.text(&had)]).ok();
        assert_eq!(tree_digest(&had).unwrap(), tree_digest(Path::new(&back)).unwrap(), "{name}");
        let listed = mesh.run("client", &["list", "-r", "--tags", "kept", &into]);
        assert_eq!(!listed.out.is_empty(), !name.contains("age"), "{}", listed.out);
    }
    let back = mesh.path("b.tar.zst");
    export(&mesh, "client", &back, &["--pattern", "from a.zip"]).ok();
    let report = import(&mesh, "n0", &back, &["--preserve-structure", "--odd-names"]).ok().json();
    // Everything is there already, under other names.
    assert_eq!(report["failed"].as_array().unwrap().len(), 0, "{report}");
}

#[test]
fn archives_go_through_pipes() {
    let mesh = Mesh::of(PROGRAM, 6);
    let file = mesh.path("file");
    fs::write(&file, noise(1, 3_000_000)).unwrap();
    mesh.run("n0", &["put", "--", &mesh.text(&file), "one/two/file"]).ok();
    for format in ["tar", "tar.zst", "zip"] {
        let archive = mesh.bytes("n0", &["export", "-", "--format", format]);
        let arguments = ["import", "-", "--preserve-structure", "--into", format];
        let done = mesh.pipe("n0", &arguments, &archive);
        if format == "zip" {
            assert!(done.code(2).err.contains("give it as a file"));
            continue;
        }
        done.ok();
        let name = format!("{format}/one/two/file");
        assert!(mesh.bytes("n0", &["get", "--", &name, "-"]) == noise(1, 3_000_000));
        // Cut short: what is missing is said, and nothing of it is under its name.
        let arguments = ["import", "-", "--preserve-structure", "--into", "cut"];
        let cut = mesh.pipe("n0", &arguments, &archive[..archive.len() / 2]).code(1);
        assert!(cut.err.contains("cut short"), "{}", cut.err);
        mesh.run("n0", &["info", "cut/one/two/file"]).code(3);
        mesh.run("n0", &["remove", "-r", format]).ok();
    }
    // Into a file that is not opened by its name: a zip too.
    let zip = mesh.path("by-name.zip");
    export(&mesh, "n0", &zip, &[]).ok();
    let mut command = mesh.command("n0", &["import", "-", "--json"]);
    let done = command.stdin(fs::File::open(&zip).unwrap()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // A reader that leaves early is told of by the exit code.
    let mut command = mesh.command("n0", &["export", "-", "--format", "tar"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn wrong_use_is_told_before_anything_is_done() {
    let mesh = Mesh::empty(PROGRAM);
    mesh.init("home");
    let secret = password(&mesh);
    let dest = |name: &str| mesh.text(&mesh.path(name));
    for (arguments, expected) in [
        (&["export", &dest("archive")][..], "--format"),
        (&["export", &dest("archive"), "--format", "rar"], "tar.zst"),
        (&["export", &dest("a.tar.age")], "--encrypt"),
        (&["export", "-", "--format", "tar", "--json"], "standard output"),
        (&["export", &dest("a.tar"), "--encrypt"], "--archive-password-file"),
        (&["export", &dest("a.tar"), "--pattern", "{a"], "glob"),
        (&["import", &dest("home")], "put -r"),
        (&["import", &secret], "neither tar"),
        (&["import", &secret, "--into", "../x"], "cannot be"),
    ] {
        let done = mesh.run("home", arguments).code(2);
        assert!(done.err.contains(expected), "{arguments:?}: {}", done.err);
    }
    mesh.run("home", &["import", &dest("missing")]).code(3);
    // The flag of all commands is not lost by export's own.
    let done = mesh.run("home", &["export", &dest("a.tar"), "--format", "json"]);
    assert!(done.out.starts_with("{\"error\""), "{}", done.out);
    let done = mesh.run("home", &["--format", "json", "export", &dest("a.tar")]);
    assert!(done.out.starts_with("{\"error\""), "{}", done.out);
    let done = mesh.run("home", &["export", &dest("a"), "--format", "tar", "--json"]);
    assert!(done.out.starts_with("{\"error\""), "{}", done.out);
    assert!(!mesh.path("a.tar").exists() && !mesh.path("a").exists());
}

#[test]
fn what_is_passed_over_is_listed_and_a_bad_archive_leaves_nothing() {
    let mesh = Mesh::of(PROGRAM, 6);
    let folder = mesh.path("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "content").unwrap();
    std::os::unix::fs::symlink("file", folder.join("link")).unwrap();
    let tar = mesh.path("a.tar");
    let mut made = std::process::Command::new("tar");
    made.arg("-cf").arg(&tar).arg("-C").arg(&folder).arg(".");
    assert!(made.status().unwrap().success());
    let trial = import(&mesh, "n0", &tar, &["--dry-run"]).code(4).json();
    assert_eq!(trial["files"][0]["path"], "file");
    mesh.run("n0", &["info", "file"]).code(3);
    let report = import(&mesh, "n0", &tar, &[]).code(4).json();
    assert_eq!(report["skipped"][0]["path"], "./link", "{report}");
    assert_eq!(mesh.bytes("n0", &["get", "--", "file", "-"]), b"content");
    let again = import(&mesh, "n0", &tar, &["--skip-existing"]).code(4).json();
    assert_eq!(again["existing"][0], "file");
    let mut bytes = fs::read(&tar).unwrap();
    bytes.truncate(700);
    fs::write(&tar, bytes).unwrap();
    import(&mesh, "n0", &tar, &["--into", "cut"]).code(1);
    mesh.run("n0", &["list", "cut"]).code(3);
}
