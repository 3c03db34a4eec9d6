//! Wrong use and damaged homes: a clear error, the right exit code, nothing else lost.

use std::fs;

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;

use crate::{PROGRAM, program, small_disk};

#[test]
fn a_home_with_nothing_says_what_to_do() {
    let mesh = Mesh::empty(PROGRAM);
    for arguments in [&["list"][..], &["service"], &["put", "--", "/etc/hosts"], &["invite"]] {
        let done = mesh.run("blank", arguments).code(2);
        assert!(done.err.contains("hint:"), "{arguments:?}: {}", done.err);
    }
    let unknown = program().arg("frobnicate").output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn settings_are_checked_and_the_nearest_key_is_named() {
    let mesh = Mesh::empty(PROGRAM);
    mesh.run("home", &["config", "set", "membership.offline_after", "2m"]).ok();
    let shown = mesh.run("home", &["config", "get", "membership.offline_after"]).ok();
    assert!(shown.out.contains("2m"), "{}", shown.out);
    let done = mesh.run("home", &["config", "set", "membership.offline_aftr", "2m"]).code(2);
    assert!(done.err.contains("membership.offline_after"), "{}", done.err);
    mesh.run("home", &["config", "set", "membership.offline_after", "soon"]).code(2);
    fs::write(mesh.path("home").join("config.toml"), "[service]\nstorge = \"1GiB\"\n").unwrap();
    let done = mesh.run("home", &["config", "validate"]).code(2);
    assert!(done.err.contains("service.storage"), "{}", done.err);
}

#[test]
fn a_mesh_of_one_node_refuses_a_put_unless_it_is_allowed() {
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.init("n0");
    mesh.run("n0", &["init", "--non-interactive", "--words-out", "/dev/null"]).code(2);
    // A service waits for a command that works in its home.
    let held = fs::File::open(mesh.path("n0").join("lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let working = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        drop(held);
    });
    mesh.start(0, &[]);
    working.join().unwrap();
    // A second service in the same home.
    let second = mesh.run("n0", &["service", "--listen", "/ip4/127.0.0.1/tcp/0"]).code(1);
    assert!(
        second.err.contains("already") && second.err.contains("a home has one service"),
        "{}",
        second.err
    );
    // A port that is in use.
    let status: serde_json::Value =
        serde_json::from_slice(&fs::read(mesh.path("n0").join("status.json")).unwrap()).unwrap();
    let address = status["listen"][0].as_str().unwrap().to_owned();
    mesh.init("other");
    let taken = mesh.run("other", &["service", "--listen", &address]).code(1);
    assert!(taken.err.contains("in use"), "{}", taken.err);

    let file = mesh.path("file");
    fs::write(&file, noise(1, 100_000)).unwrap();
    let source = mesh.text(&file);
    let refused = mesh.run("n0", &["put", "--", &source, "file"]).code(5);
    assert!(refused.err.contains("--allow-degraded"), "{}", refused.err);
    let done = mesh.run("n0", &["put", "--json", "--allow-degraded", "--", &source, "file"]).ok();
    assert_eq!(done.json()["stored"][0]["degraded"], true);
    let info = mesh.run("n0", &["info", "--json", "file"]).ok().json();
    assert_eq!(info["version"]["degraded"], true);
    let back = mesh.text(&mesh.path("back"));
    mesh.run("n0", &["get", "--", "file", &back]).ok();
    assert!(fs::read(&back).unwrap() == noise(1, 100_000));

    mesh.run("n0", &["get", "--", "no such file", "-"]).code(3);
    mesh.run("n0", &["put", "--", "/no/such/file", "x"]).code(3);
    mesh.run("n0", &["remove", "file"]).ok();
    mesh.run("n0", &["get", "--", "file", "-"]).code(3);
    mesh.run("n0", &["get", "--version", "1", "--", "file", &back]).ok();

    // A ticket that expires at once, a damaged one, and a ticket for a home that is in a mesh.
    let ticket = mesh.run("n0", &["invite", "--expires", "1ms"]).ok().out.trim().to_owned();
    std::thread::sleep(std::time::Duration::from_millis(5));
    let late = mesh.run("late", &["join", &ticket]).code(1);
    assert!(late.err.contains("expired"), "{}", late.err);
    mesh.run("late", &["join", &ticket[..ticket.len() - 1]]).code(2);
    let ticket = mesh.run("n0", &["invite", "--uses", "1"]).ok().out.trim().to_owned();
    mesh.run("n0", &["join", &ticket]).code(2);
    // One use is one home.
    mesh.init("first");
    mesh.init("second");
    mesh.run("first", &["join", &ticket]).ok();
    let used = mesh.run("second", &["join", &ticket]).code(1);
    assert!(used.err.contains("no use left"), "{}", used.err);
    // A member that does not issue.
    let done = mesh.run("first", &["invite"]).code(2);
    assert!(done.err.contains("hint:"), "{}", done.err);
}

#[test]
fn a_wrong_password_and_damaged_files_are_told_apart_and_change_nothing() {
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.init("n0");
    mesh.start(0, &[]);
    let file = mesh.path("file");
    fs::write(&file, noise(1, 10_000)).unwrap();
    let source = mesh.text(&file);
    mesh.run("n0", &["put", "--allow-degraded", "--", &source, "file"]).ok();
    mesh.kill(0);

    let wrong = mesh.path("wrong");
    fs::write(&wrong, "not the password").unwrap();
    let wrong = mesh.text(&wrong);
    let done = mesh.run("n0", &["--password-file", &wrong, "get", "--", "file", "-"]).code(1);
    assert!(done.err.contains("wrong password"), "{}", done.err);

    let keystore = mesh.path("n0").join("account/keystore");
    let good = fs::read(&keystore).unwrap();
    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    fs::write(&keystore, &bad).unwrap();
    mesh.run("n0", &["get", "--", "file", "-"]).code(1);
    fs::write(&keystore, &good[..20]).unwrap();
    mesh.run("n0", &["get", "--", "file", "-"]).code(1);
    fs::write(&keystore, &good).unwrap();

    let catalog = mesh.path("n0").join("account/catalog.db");
    let good = fs::read(&catalog).unwrap();
    fs::write(&catalog, &good[..good.len() / 2]).unwrap();
    let done = mesh.run("n0", &["list"]).code(1);
    assert!(done.err.contains("catalog") || done.err.contains("database"), "{}", done.err);
    // A catalog that is gone is not an empty one.
    fs::remove_file(&catalog).unwrap();
    for (arguments, why) in [
        (&["list"][..], "restored from the mesh"),
        (&["put", "--allow-degraded", "--", &source, "other"], "no node of the mesh"),
    ] {
        let done = mesh.run("n0", arguments).code(5);
        assert!(done.err.contains(why), "{}", done.err);
    }
    fs::write(&catalog, &good).unwrap();
    assert!(mesh.run("n0", &["list"]).ok().out.contains("file"));

    // The store's disk is not there: the node refuses to serve, and nothing counts as lost.
    let (store, away) = (mesh.path("n0").join("node/store"), mesh.path("n0").join("node/away"));
    fs::rename(&store, &away).unwrap();
    let done = mesh.run("n0", &["service", "--listen", "/ip4/127.0.0.1/tcp/0"]).code(1);
    assert!(done.err.contains("mount"), "{}", done.err);
    fs::remove_dir_all(&store).unwrap();
    fs::rename(&away, &store).unwrap();
    drop(fs::remove_file(mesh.path("n0").join("status.json")));
    mesh.start(0, &[]);
    let back = mesh.text(&mesh.path("back"));
    mesh.run("n0", &["get", "--", "file", &back]).ok();
    assert!(fs::read(&back).unwrap() == noise(1, 10_000));
}

#[test]
fn what_fits_nothing_or_contradicts_itself_is_said() {
    let mesh = Mesh::of(PROGRAM, 1);
    for name in ["a/one.txt", "a/two.txt"] {
        let put = ["put", "--allow-degraded", "--", "-", name];
        mesh.pipe("n0", &put, &noise(1, 500)).ok();
    }
    // A pattern that no file fits is a failure beside others that have files.
    let dest = mesh.text(&mesh.path("fetched"));
    for command in [
        &["batch-tag", "--add-tags", "x", "a/*", "b*"][..],
        &["pin", "a/*", "b*"],
        &["unpin", "a/*", "b*"],
        &["batch-get", "a/*", "b*", &dest],
    ] {
        let done = mesh.run("n0", &[&["--json"], command].concat()).code(4).json();
        assert_eq!(done["failed"][0]["path"], "b*", "{command:?}: {done}");
        assert_eq!(done["failed"].as_array().unwrap().len(), 1, "{command:?}: {done}");
    }
    assert_eq!(fs::read_dir(&dest).unwrap().count(), 2);

    let folder = mesh.path("folder");
    fs::create_dir(&folder).unwrap();
    let folder = mesh.text(&folder);
    for (command, code, why) in [
        (
            &["batch-tag", "a/*", "--add-tags", "x", "--remove-tags", "x"][..],
            2,
            "added or taken away",
        ),
        (&["share", "a/one.txt", "--link", "--expires", "99999999d"], 2, "hundred years"),
        (&["invite", "--expires", "99999999d"], 2, "hundred years"),
        (&["pin", "a/one.txt", "--duration", "99999999d"], 2, "hundred years"),
        (&["share", "a/one.txt", "--link", "--qr-file", "/no/such/x.png"], 2, "is not there"),
        (&["get", "datamesh://bogus"], 2, "link"),
        (&["get", "-r", "datamesh://share/x", "there"], 2, "newest version of one file"),
        (&["sync", "--download", &folder, "nowhere"], 3, "nothing at or below \"nowhere\""),
    ] {
        let done = mesh.run("n0", command).code(code);
        assert!(done.err.contains(why) && done.out.is_empty(), "{command:?}: {}", done.err);
    }
    // What was refused was not made.
    let shares = mesh.run("n0", &["--json", "share", "list"]).ok().json();
    assert_eq!(shares["shares"].as_array().unwrap().len(), 0, "{shares}");
}

#[test]
fn what_was_fetched_before_the_disk_was_full_is_told() {
    let mesh = Mesh::of(PROGRAM, 1);
    for (name, length) in [("a", 5000), ("b", 2_000_000)] {
        let put = ["put", "--allow-degraded", "--", "-", name];
        mesh.pipe("n0", &put, &noise(1, length)).ok();
    }
    let disk = mesh.path("disk");
    fs::create_dir(&disk).unwrap();
    let script = r#"set -f; for get in "batch-get *" "get -r /"; do
        "$PROGRAM" --home "$HOME_OF" $get "$FOLDER"; echo "code $?"; wc -c < "$FOLDER/a"; find "$FOLDER" -type f -delete; done"#;
    let Some(done) = small_disk::run(&mesh, (&disk, 400 << 10), script, &[]) else { return };
    assert_eq!(done.out, "code 4\n5000\ncode 4\n5000\n", "{}", done.err);
    for said in ["no space left", "written before it: 1"] {
        assert_eq!(done.err.matches(said).count(), 2, "{}", done.err);
    }
}
