//! What the program makes of its arguments, before any mesh is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use datamesh_testkit::processes::{Done, Mesh, PASSWORD};

use crate::{PROGRAM, program};

/// Every command and its other name.
const COMMANDS: [(&str, Option<&str>); 49] = [
    ("put", Some("upload")),
    ("get", Some("download")),
    ("list", Some("ls")),
    ("info", Some("show")),
    ("versions", None),
    ("remove", Some("rm")),
    ("duplicate", None),
    ("rename", None),
    ("share", None),
    ("sync", None),
    ("export", None),
    ("import", None),
    ("search", Some("find")),
    ("recent", None),
    ("popular", None),
    ("batch-put", None),
    ("batch-get", None),
    ("batch-tag", None),
    ("pin", None),
    ("unpin", None),
    ("cleanup", None),
    ("optimize", None),
    ("benchmark", None),
    ("init", None),
    ("recover", None),
    ("service", None),
    ("interactive", Some("console")),
    ("invite", None),
    ("join", None),
    ("bootstrap", None),
    ("keys", None),
    ("audit", None),
    ("security", None),
    ("transport", None),
    ("peers", None),
    ("stats", None),
    ("health", None),
    ("distribution", None),
    ("discover", None),
    ("network", None),
    ("bandwidth", None),
    ("networks", None),
    ("repair", None),
    ("config", None),
    ("advanced", None),
    ("doctor", None),
    ("demo", None),
    ("generate-completion", None),
    ("quick-help", None),
];

fn run(arguments: &[&str]) -> Done {
    program().args(arguments).output().unwrap().into()
}

#[test]
fn help_names_every_command_and_no_other() {
    let help = run(&["--help"]).ok().out;
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    // A command's line is indented by two; what follows of a long one by more.
    let listed: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    let expected: Vec<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, expected);
    for (name, other) in COMMANDS {
        let own = run(&[name, "--help"]).ok().out;
        assert!(own.contains("Usage: datamesh "), "{own}");
        if let Some(other) = other {
            assert_eq!(run(&[other, "--help"]).ok().out.lines().next(), own.lines().next());
        }
    }
    assert!(run(&["--version"]).ok().out.starts_with("datamesh "));
}

#[test]
fn wrong_use_ends_with_2_and_says_why() {
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["put"],
        &["get"],
        &["list", "--limit", "many"],
        &["put", "--scheme", "3+1", "--", "/etc/hosts"],
        &["put", "--", "/etc/hosts", "../escape"],
        &["put", "--", "/etc"],
        &["put", "-r", "--", "-", "x"],
        &["put", "--", "-"],
        &["get", "--range", "9-3", "x"],
        &["get", "-r", "--", "x", "-"],
        &["get", "-r", "--", "/"],
        &["get", "--", "x", "/no/such/folder/x"],
        &["invite", "--expires", "soon"],
        &["invite", "--uses", "0"],
        &["invite", "--node-only", "--account-only"],
        &["service", "--storage", "lots"],
        &["service", "--storage", "5"],
        &["service", "--timeout", "0"],
        &["config", "set", "service.storage", "15MiB"],
        &["bandwidth", "--duration", "0s"],
        &["service", "--domain", "a b"],
        &["init", "--non-interactive"],
        &["config", "get"],
        &["duplicate", "a"],
        &["duplicate", "-r", "--version", "1", "a", "b"],
        &["rename", "a", "../b"],
        &["share", "a"],
        &["share", "a", "--link", "--with", "b"],
        &["share", "a", "--link", "--expires", "soon"],
        &["share", "a", "--with", "b", "--password"],
        &["share", "a", "--link", "--max-downloads", "1"],
        &["share", "revoke"],
        &["search", "--size", "big", "a"],
        &["search", "--date", "someday", "a"],
        &["search", "--type", "tar.gz"],
        &["search", "--sort", "taste"],
        &["recent", "--limit", "many"],
        &["search", "--limit", "10001"],
        &["popular", "--period", "aeon"],
        &["batch-put"],
        &["batch-put", "--parallel", "0", "x"],
        &["batch-put", "--tag-pattern", "{", "x"],
        &["batch-get", "x"],
        &["batch-tag", "*"],
        &["batch-tag", "--add-tags", "a"],
        &["remove"],
        &["remove", "-r", "/"],
        &["demo", "--nodes", "3"],
        &["list", "-q", "-v"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = program().arg("--home").arg(folder.path()).args(arguments).output().unwrap();
        let done = Done::from(output).code(2);
        assert!(!done.err.is_empty() && done.out.is_empty(), "{arguments:?}");
    }
}

#[test]
fn errors_are_json_on_standard_output_where_json_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    for arguments in [
        &["--home", home, "--json", "list"][..],
        &["--home", home, "list", "--format", "json"],
        &["--home", home, "list", "--format=json", "--limit", "many"],
    ] {
        let done = run(arguments).code(2);
        let error = &done.json()["error"];
        assert_eq!(error["kind"], "usage", "{}", done.out);
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(done.err.starts_with("error: "), "{}", done.err);
    }
}

#[test]
fn a_file_that_is_not_there_ends_with_3_before_a_password_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let done = run(&["--home", home, "put", "--", "/no/such/file", "x"]).code(3);
    assert!(done.err.contains("/no/such/file"), "{}", done.err);
}

#[test]
fn without_a_terminal_both_ways_to_give_a_password_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words");
    let output = program()
        .arg("--home")
        .arg(folder.path().join("home"))
        .args(["init", "--words-out"])
        .arg(&words)
        .output()
        .unwrap();
    let done = Done::from(output).code(2);
    assert!(done.err.contains("--password-file"), "{}", done.err);
    assert!(done.err.contains("DATAMESH_PASSWORD_FILE"), "{}", done.err);
    assert!(!words.exists());
}

#[test]
fn init_writes_its_words_once_for_their_owner_alone() {
    let mesh = Mesh::empty(PROGRAM);
    let words = mesh.path("words");
    let text = mesh.text(&words);
    let arguments = ["init", "--non-interactive", "--json", "--words-out", &text];
    let answer = mesh.run("home", &arguments).ok().json();
    assert_eq!(answer["account"].as_str().unwrap().len(), 64);
    let written = fs::read_to_string(&words).unwrap();
    assert_eq!(written.split_whitespace().count(), 24, "{written}");
    assert_eq!(fs::metadata(&words).unwrap().permissions().mode() & 0o777, 0o600);

    // A file that is there is never overwritten, and no account is made without its words.
    let done = mesh.run("second", &arguments).code(2);
    assert!(done.err.contains("words"), "{}", done.err);
    assert_eq!(fs::read_to_string(&words).unwrap(), written);
    assert!(!mesh.path("second").join("account").exists());

    // An account that is there is never replaced, and the file for the words goes again.
    let other = mesh.path("other");
    let text = mesh.text(&other);
    mesh.run("home", &["init", "--non-interactive", "--words-out", &text]).code(2);
    assert!(!other.exists());
}

#[test]
fn passwords_are_taken_from_the_first_line_of_their_file() {
    let mesh = Mesh::empty(PROGRAM);
    let init = |home: &str, content: &[u8]| {
        let file = mesh.path(&format!("{home}.password"));
        fs::write(&file, content).unwrap();
        let (file, words) = (mesh.text(&file), mesh.text(&mesh.path(&format!("{home}.words"))));
        let arguments =
            ["--password-file", &file, "init", "--non-interactive", "--words-out", &words];
        mesh.run(home, &arguments)
    };
    init("unix", format!("{PASSWORD}\nnotes\n").as_bytes()).ok();
    init("windows", format!("{PASSWORD}\r\n").as_bytes()).ok();
    init("empty", b"").code(2);
    init("blank", b"\nsecond line\n").code(2);
    init("binary", &[0xff; 40]).code(2);
    init("long", &[b'x'; 5000]).code(2);
    // One that cannot be taken is in nobody's way afterwards.
    init("short", b"short\n").code(2);
    init("short", PASSWORD.as_bytes()).ok();
    // An account that lost its keystore is set aside, with all that it has.
    fs::remove_file(mesh.path("unix").join("account/keystore")).unwrap();
    fs::remove_file(mesh.path("unix.words")).unwrap();
    init("unix", PASSWORD.as_bytes()).ok();
    let mut kept = fs::read_dir(mesh.path("unix")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(kept.any(|name| name.to_str().unwrap().starts_with("account-")));
    for home in ["empty", "blank", "binary", "long"] {
        assert!(!mesh.path(&format!("{home}.words")).exists(), "{home}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = program()
        .arg("--home")
        .arg(folder.path())
        .args(["config", "show"])
        .stdout(Stdio::from(writer))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_environment_counts_more_than_the_file() {
    let mesh = Mesh::empty(PROGRAM);
    mesh.run("home", &["config", "set", "service.storage", "1GiB"]).ok();
    let show = |name: &str, value: &str| -> serde_json::Value {
        let mut command = program();
        command.env(name, value).arg("--home").arg(mesh.path("home"));
        let output = command.args(["config", "get", "service.storage", "--json"]).output().unwrap();
        Done::from(output).ok().json()
    };
    let set = show("DATAMESH_SERVICE_STORAGE", "2GiB");
    assert_eq!((&set["value"], &set["origin"]), (&"2GiB".into(), &"environment".into()));
    let set = show("DATAMESH_OTHER", "x");
    assert_eq!((&set["value"], &set["origin"]), (&"1GiB".into(), &"file".into()));
    // The home itself may come from there too.
    let mut command = program();
    command.env("DATAMESH_HOME", mesh.path("home"));
    let output = command.args(["config", "get", "service.storage"]).output().unwrap();
    assert_eq!(Done::from(output).ok().out.trim(), "1GiB");
}
