//! A lost device is put out of the account; the others go on, and the words find everything.

use datamesh_testkit::fixtures;
use datamesh_testkit::processes::Mesh;

use crate::PROGRAM;

/// Another device of the account, which has put one file.
fn another(mesh: &Mesh, home: &str, words: &str, file: &str) {
    let keys = mesh.text(&mesh.path(&format!("{home}.keys")));
    mesh.run("client", &["keys", "add", "--words-file", words, &keys]).ok();
    mesh.run(home, &["keys", "import", &keys]).ok();
    mesh.run(home, &["put", "--", file, &format!("by {home}")]).ok();
}

fn names(mesh: &Mesh, home: &str) -> Vec<String> {
    let listed = mesh.run(home, &["list", "-r", "--json"]).ok().json();
    let name = |entry: &serde_json::Value| entry["path"].as_str().unwrap().to_owned();
    listed["entries"].as_array().unwrap().iter().map(name).collect()
}

#[test]
fn a_revoked_device_is_told_and_the_others_go_on_without_the_words() {
    let mesh = Mesh::of(PROGRAM, 7);
    mesh.client("client");
    std::fs::write(mesh.path("file"), b"a small file").unwrap();
    let file = mesh.text(&mesh.path("file"));
    mesh.run("client", &["put", "--", &file, "by client"]).ok();
    let content = fixtures::noise(1, 5_000_000);
    std::fs::write(mesh.path("large"), &content).unwrap();
    mesh.run("client", &["put", "--", &mesh.text(&mesh.path("large")), "large"]).ok();
    let words = mesh.text(&mesh.path("client.words"));
    for home in ["laptop", "lost"] {
        another(&mesh, home, &words, &file);
    }
    let keys = mesh.run("lost", &["keys", "list", "--json"]).ok().json();
    let lost = keys["device"].as_str().unwrap().to_owned();

    let rotate = |arguments: &[&str]| {
        let all = [&["keys", "rotate", "--yes", "--words-file"], arguments].concat();
        mesh.run("client", &all)
    };
    let words_of_n0 = mesh.text(&mesh.path("n0.words"));
    rotate(&[&words_of_n0, "--revoke", &lost]).code(2);
    rotate(&[&words, "--revoke", "no device"]).code(3);
    let own = mesh.run("client", &["keys", "list", "--json"]).ok().json();
    rotate(&[&words, "--revoke", own["device"].as_str().unwrap()]).code(2);
    assert_eq!(own["epoch"], serde_json::Value::Null);
    let done = rotate(&[&words, "--revoke", &lost[..12]]).ok();
    assert!(
        done.out.contains("epoch 1") && done.out.contains(&format!("revoked {lost}")),
        "{}",
        done.out
    );
    assert!(done.err.contains("can still read"), "{}", done.err);

    // The lost device is told by everything that writes, and keeps what it has.
    for writing in [
        &["put", "--", &file, "too late"][..],
        &["remove", "--", "by client"],
        &["versions", "--purge", "--", "by client"],
        &["keys", "rotate", "--yes", "--words-file", &words],
    ] {
        let told = mesh.run("lost", writing).code(1);
        assert!(told.err.contains("this device was revoked"), "{writing:?}: {}", told.err);
    }
    assert_eq!(names(&mesh, "lost"), ["by client", "by laptop", "by lost", "large"]);
    assert!(mesh.bytes("lost", &["get", "--", "by lost", "-"]) == b"a small file");

    // What it knew is open to it until everything is sealed anew.
    assert!(mesh.bytes("lost", &["get", "--", "large", "-"]) == content);
    let anew = mesh.run("client", &["keys", "rotate", "--deep", "--resume", "--json"]).ok().json();
    assert_eq!((&anew["epoch"], &anew["versions"]), (&1.into(), &1.into()), "{anew}");
    assert_eq!((&anew["bytes"], &anew["rewritten"]["made"]), (&5_000_000.into(), &2.into()));
    assert!(mesh.bytes("client", &["get", "--", "large", "-"]) == content);
    let late = mesh.text(&mesh.path("late"));
    assert_ne!(mesh.run("lost", &["get", "--", "large", &late]).code, 0);
    let again = mesh.run("client", &["keys", "rotate", "--deep", "--resume"]).ok().out;
    assert!(again.contains("0 of 0 versions"), "{again}");
    mesh.run("client", &["keys", "rotate", "--resume"]).code(2);

    // The others learn of the epoch by themselves, and seal in it.
    mesh.run("laptop", &["put", "--", &file, "by laptop later"]).ok();
    let keys = mesh.run("laptop", &["keys", "list", "--json"]).ok().json();
    assert_eq!(
        (&keys["epochs"], &keys["epoch"]["number"]),
        (&serde_json::json!([0, 1]), &1.into())
    );
    let revoked = keys["logs"].as_array().unwrap().iter().filter(|log| log["revoked"] == 1);
    let revoked: Vec<_> = revoked.map(|log| log["device"].as_str().unwrap()).collect();
    assert_eq!(revoked, [lost.as_str()]);
    let shown = mesh.run("laptop", &["keys", "list"]).ok().out;
    assert!(shown.contains("revoked in epoch 1"), "{shown}");
    another(&mesh, "late", &words, &file);
    let all = ["by client", "by laptop", "by laptop later", "by late", "by lost", "large"];
    for home in ["client", "late"] {
        // Listing asks nobody for keys; getting takes in what the others did.
        assert!(mesh.bytes(home, &["get", "--", "by laptop later", "-"]) == b"a small file");
        assert_eq!(names(&mesh, home), all, "{home}");
    }
    let status = std::fs::read(mesh.path("n3").join("status.json")).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    let node = status["listen"][0].as_str().unwrap().to_owned();
    mesh.run("blank", &["recover", "--words-file", &words, "--peer", &node]).ok();
    assert_eq!(names(&mesh, "blank"), all);
    assert!(mesh.bytes("blank", &["get", "--", "by laptop later", "-"]) == b"a small file");

    // A device that was made anew and wrote nothing is known, and goes on too.
    let done = rotate(&[&words, "--json"]).ok().json();
    assert_eq!((&done["epoch"], done["devices"].as_array().unwrap().len()), (&2.into(), 4));
    assert!(mesh.bytes("blank", &["get", "--", "by late", "-"]) == b"a small file");
    mesh.run("blank", &["put", "--", &file, "by blank"]).ok();
    let noted =
        mesh.run("client", &["audit", "list", "--json", "--event", "key.rotate"]).ok().json();
    let noted: Vec<_> = noted.as_array().unwrap().iter().map(|entry| &entry["detail"]).collect();
    assert_eq!(noted.len(), 5);
    assert!(mesh.bytes("blank", &["get", "--", "large", "-"]) == content);
    assert_eq!((&noted[3]["epoch"], &noted[3]["revoked"]), (&"1".into(), &lost.as_str().into()));
}
