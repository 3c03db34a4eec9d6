//! Files get other names, tags and notes, and are found again: with a daemon and without, alike.

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::{Mesh, wait_for};
use serde_json::Value;

use crate::PROGRAM;

/// Names of what a command found, in order.
fn names(found: &Value) -> Vec<&str> {
    paths(&found["files"])
}

/// Names of what a list has, which ends there.
fn listed(list: &Value) -> Vec<&str> {
    assert_eq!(list["more"], false);
    paths(&list["entries"])
}

fn paths(files: &Value) -> Vec<&str> {
    files.as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect()
}

#[test]
fn files_are_renamed_labelled_and_found() {
    let mesh = Mesh::of(PROGRAM, 6);
    mesh.pipe(
        "n0",
        &["put", "--tags", "finance", "--", "-", "work/annual report.pdf"],
        &noise(1, 3_000_000),
    )
    .ok();
    mesh.pipe("n0", &["put", "--", "-", "work/draft.txt"], &noise(2, 5_000)).ok();
    mesh.pipe("n0", &["put", "--", "-", "holidays/paris.jpg"], &noise(3, 90_000)).ok();
    let json = |arguments: &[&str]| mesh.run("n0", &[&["--json"], arguments].concat()).ok().json();

    assert_eq!(names(&json(&["search", "rep"])), ["work/annual report.pdf"]);
    assert_eq!(names(&json(&["find", "--type", "image"])), ["holidays/paris.jpg"]);
    assert_eq!(listed(&json(&["list", "--size", ">1MB"])), ["work/annual report.pdf"]);
    assert_eq!(
        listed(&json(&["list", "--sort", "size", "--reverse"])),
        ["work/annual report.pdf", "holidays/paris.jpg", "work/draft.txt"]
    );
    let first = json(&["list", "--sort", "name", "--limit", "2"]);
    assert_eq!(first["more"], true);
    assert_eq!(paths(&first["entries"]), ["holidays/paris.jpg", "work/annual report.pdf"]);
    assert_eq!(names(&json(&["recent", "--limit", "1"])), ["holidays/paris.jpg"]);
    assert_eq!(names(&json(&["recent", "--date", "<2020-01-01"])), [] as [&str; 0]);
    assert_eq!(names(&json(&["search", "--regex", r"^work/.*\.txt$"])), ["work/draft.txt"]);

    // Tags and notes, of one file and by a pattern.
    let seen = json(&["batch-tag", "--dry-run", "--add-tags", "old", "work/*"]);
    assert_eq!(seen["files"].as_array().unwrap().len(), 2);
    assert_eq!(names(&json(&["search", "--tags", "old"])), [] as [&str; 0]);
    let tagged = json(&["batch-tag", "--add-tags", "old", "--remove-tags", "finance", "work/*"]);
    assert_eq!(tagged["files"][0]["tags"], serde_json::json!(["old"]));
    json(&["batch-tag", "--note", "with the whole family", "holidays/paris.jpg"]);
    assert_eq!(names(&json(&["search", "family"])), ["holidays/paris.jpg"]);
    let mixed =
        mesh.run("n0", &["--json", "batch-tag", "--add-tags", "x", "none", "work/draft.txt"]);
    let mixed = mixed.code(4).json();
    assert_eq!(mixed["failed"][0]["path"], "none");
    assert_eq!(
        listed(&json(&["list", "-r", "--type", "txt", "--tags", "x,old"])),
        ["work/draft.txt"]
    );
    mesh.run("n0", &["batch-tag", "--add-tags", "x", "nothing/**"]).code(3);
    mesh.run("n0", &["batch-tag", "--add-tags", "x", "a[b"]).code(2);

    // Other names: what was there is not overwritten, what was found is found there.
    let before = json(&["stats"])["store"]["shards"].clone();
    json(&["duplicate", "work/draft.txt", "work/second.txt"]);
    mesh.run("n0", &["rename", "work/draft.txt", "work/second.txt"]).code(2);
    mesh.run("n0", &["rename", "work/draft.txt", "holidays"]).code(2);
    mesh.run("n0", &["rename", "nobody", "somebody"]).code(3);
    let moved = json(&["rename", "holidays/paris.jpg", "work/"]);
    assert_eq!(moved["files"][0]["to"], "work/paris.jpg");
    let moved = json(&["rename", "work/paris.jpg", "/"]);
    assert_eq!(moved["files"][0]["to"], "paris.jpg");
    json(&["rename", "paris.jpg", "work/"]);
    let moved = json(&["rename", "work", "archive"]);
    assert_eq!(moved["files"].as_array().unwrap().len(), 4);
    assert_eq!(json(&["stats"])["store"]["shards"], before, "no byte moved");
    assert_eq!(names(&json(&["search", "family"])), ["archive/paris.jpg"]);
    assert!(
        mesh.bytes("n0", &["get", "--", "archive/annual report.pdf", "-"]) == noise(1, 3_000_000)
    );
    assert!(mesh.bytes("n0", &["get", "--", "archive/second.txt", "-"]) == noise(2, 5_000));

    // A folder that was stored empty goes with what came into it.
    let empty = mesh.path("empty");
    std::fs::create_dir(&empty).unwrap();
    mesh.run("n0", &["put", "-r", "--", empty.to_str().unwrap(), "box"]).ok();
    mesh.pipe("n0", &["put", "--", "-", "box/in it"], &noise(5, 100)).ok();
    let moved = json(&["rename", "box", "chest"]);
    assert_eq!(moved["files"].as_array().unwrap().len(), 2);
    assert!(mesh.bytes("n0", &["get", "--", "chest/in it", "-"]) == noise(5, 100));
    mesh.run("n0", &["list", "box"]).code(3);

    // A new version keeps tags and note, unless it brings tags of its own.
    mesh.pipe("n0", &["put", "--", "-", "archive/paris.jpg"], &noise(4, 1000)).ok();
    let info = json(&["info", "archive/paris.jpg"]);
    assert_eq!(info["version"]["note"], "with the whole family");
    mesh.pipe("n0", &["put", "--tags", "fresh", "--", "-", "archive/second.txt"], &noise(4, 10))
        .ok();
    assert_eq!(
        json(&["info", "archive/second.txt"])["version"]["tags"],
        serde_json::json!(["fresh"])
    );

    // What was fetched most.
    for _ in 0..2 {
        mesh.bytes("n0", &["get", "--", "archive/draft.txt", "-"]);
    }
    let popular = json(&["popular", "--period", "week"]);
    assert_eq!(popular["files"][0]["file"]["path"], "archive/draft.txt");
    assert_eq!(popular["files"][0]["fetches"], 2);
    mesh.bytes("n0", &["get", "--", "archive/second.txt", "-"]);
    let fetched = |arguments: &[&str]| -> Vec<String> {
        let found = json(&[&["popular"], arguments].concat());
        let files = found["files"].as_array().unwrap().iter();
        files.map(|file| file["file"]["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        fetched(&["--sort", "name", "archive"]),
        ["archive/annual report.pdf", "archive/draft.txt", "archive/second.txt"]
    );
    assert_eq!(fetched(&["--sort", "size", "--type", "txt"])[0], "archive/second.txt");
    assert_eq!(fetched(&["--tags", "fresh"]), ["archive/second.txt"]);
    assert_eq!(fetched(&["--limit", "1", "--size", "<=10", "archive"]), ["archive/second.txt"]);
    assert_eq!(fetched(&["--regex", "nothing"]), [""; 0]);

    // Without the daemon all is the same; an index that is damaged or gone is made anew.
    let with = json(&["search", "--sort", "name", "archive"]);
    let popular = json(&["popular"]);
    let mut mesh = mesh;
    mesh.kill(0);
    let alone = |arguments: &[&str]| mesh.run("n0", &[&["--json"], arguments].concat()).ok().json();
    assert_eq!(alone(&["search", "--sort", "name", "archive"]), with);
    assert_eq!(alone(&["popular"]), popular);
    let index = mesh.path("n0").join("account/search.db");
    let length = std::fs::metadata(&index).unwrap().len();
    std::fs::write(&index, noise(9, length as usize)).unwrap();
    assert_eq!(alone(&["search", "--sort", "name", "archive"]), with);
    std::fs::remove_file(&index).unwrap();
    assert_eq!(alone(&["search", "--sort", "name", "archive"]), with);
    let renamed = alone(&["rename", "archive/draft.txt", "draft.txt"]);
    assert_eq!(renamed["files"][0]["to"], "draft.txt");
    assert_eq!(names(&alone(&["search", "draft"])), ["draft.txt"]);
}

/// What a shell is told that may come next, behind these words.
fn completions(home: &std::path::Path, words: &[&str]) -> Vec<String> {
    let mut command = crate::program();
    command.env("DATAMESH_HOME", home).env("DATAMESH_COMPLETE", "bash");
    // As the script of `generate-completion bash` calls it.
    command.env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
    command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "true");
    command.env("_CLAP_IFS", "\n").arg("--").args(words);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn shells_complete_commands_flags_and_names() {
    let mesh = Mesh::of(PROGRAM, 6);
    for name in ["photos/paris.jpg", "photos/rome.jpg", "notes.txt"] {
        mesh.pipe("n0", &["put", "--", "-", name], &noise(1, 500)).ok();
    }
    let home = mesh.path("n0");
    let told = |words: &[&str]| completions(&home, &[&["datamesh"], words].concat());
    assert_eq!(told(&["rena"]), ["rename"]);
    assert!(told(&["search", "--ta"]).contains(&"--tags".to_owned()));
    assert_eq!(told(&["get", "ph"]), ["photos/"]);
    assert_eq!(told(&["get", "photos/"]), ["photos/paris.jpg", "photos/rome.jpg"]);
    assert_eq!(told(&["remove", "notes.txt", "photos/r"]), ["photos/rome.jpg"]);
    assert_eq!(told(&["info", "nothing"]), [] as [&str; 0]);
    assert_eq!(told(&["info", "../"]), [] as [&str; 0]);
    let (peer, other) = (mesh.id_of(1), mesh.id_of(2));
    let rest = peer.strip_prefix("12D3KooW").unwrap();
    // Members are remembered on the disk some time after they came.
    wait_for("all others are completed", || told(&["bandwidth", "--test-peer", ""]).len() >= 5);
    assert_eq!(told(&["bandwidth", "--test-peer", &rest[..6]]), [rest]);
    assert_eq!(told(&["bandwidth", "--test-peer", &other[..14]]), [other.as_str()]);
    let share = mesh.run("n0", &["--json", "share", "notes.txt", "--link"]).ok().json();
    let share = share["share"].as_str().unwrap();
    assert_eq!(told(&["share", "revoke", &share[..3]]), [share]);
    mesh.run("n0", &["share", "revoke", share]).ok();
    assert_eq!(told(&["share", "revoke", &share[..3]]), [] as [&str; 0]);
    mesh.run("n0", &["bootstrap", "add", "/ip4/127.0.0.1/tcp/1"]).ok();
    assert_eq!(told(&["bootstrap", "remove", "/ip4"]), ["/ip4/127.0.0.1/tcp/1"]);
    assert_eq!(told(&["config", "get", "repair.g"]), ["repair.grace"]);
    // Without an account nothing is completed, and nothing is made.
    let blank = tempfile::tempdir().unwrap();
    assert_eq!(completions(blank.path(), &["datamesh", "get", "x"]), [] as [&str; 0]);
    assert_eq!(std::fs::read_dir(blank.path()).unwrap().count(), 0);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = crate::program().args(["generate-completion", shell]).output().unwrap();
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(script.contains("DATAMESH_COMPLETE") && script.contains("datamesh"), "{script}");
    }
}

#[test]
fn answers_are_written_as_csv_with_times_that_are_text() {
    let mesh = Mesh::of(PROGRAM, 1);
    let put = ["put", "--allow-degraded", "--tags", "a,b", "--", "-", "work/one, two"];
    mesh.pipe("n0", &put, &noise(1, 500)).ok();
    mesh.pipe("n0", &["put", "--allow-degraded", "--", "-", "work/three"], &noise(2, 600)).ok();
    let csv = |arguments: &[&str]| {
        let out = mesh.run("n0", &[arguments, &["--format", "csv"]].concat()).ok().out;
        let mut rows = csv::Reader::from_reader(out.as_bytes());
        let head: Vec<String> = rows.headers().unwrap().iter().map(str::to_owned).collect();
        let rows = rows.records().map(|row| row.unwrap().iter().map(str::to_owned).collect());
        (head, rows.collect::<Vec<Vec<String>>>())
    };
    let (head, rows) = csv(&["list", "-r"]);
    let column = |name: &str| head.iter().position(|column| column == name).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0][column("path")], "work/one, two");
    assert_eq!(rows[0][column("tags")], "a;b");
    assert_eq!((&rows[0][column("size")][..], &rows[1][column("size")][..]), ("500", "600"));
    let created: jiff::Timestamp = rows[0][column("created")].parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(created).as_secs() < 3600);
    // What standard input was last changed is not known.
    assert_eq!(rows[0][column("modified")], "");
    assert_eq!(csv(&["list"]).1[0][..2], ["folder", "work"]);
    assert_eq!(csv(&["versions", "work/three"]).1.len(), 1);
    assert_eq!(csv(&["search", "three"]).1.len(), 1);
    assert_eq!(csv(&["peers"]).1.len(), 1);
    assert!(csv(&["config", "show"]).1.len() > 30);
    // What is about one thing has a row for each value, and what is about nothing its head.
    let (head, rows) = csv(&["stats"]);
    assert_eq!(head, ["name", "value"]);
    assert!(rows.contains(&vec!["catalog.files".to_owned(), "2".to_owned()]), "{rows:?}");
    let (_, rows) = csv(&["info", "work/three"]);
    assert!(rows.iter().any(|row| row[0] == "version.path" && row[1] == "work/three"), "{rows:?}");
    let (head, rows) = csv(&["search", "nothing"]);
    assert_eq!((&head[0][..], rows.len()), ("path", 0));
    let wrong = mesh.run("n0", &["get", "nobody", "--format", "csv"]).code(3);
    assert!(wrong.out.is_empty());
    let json = mesh.run("n0", &["list", "-r", "--json"]).ok().json();
    assert!(json["entries"][0]["modified"].is_null());
}
