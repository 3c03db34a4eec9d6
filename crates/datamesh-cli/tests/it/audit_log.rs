//! The audit log of real homes: what was done stands there, and what was changed shows.

use std::fs;

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;

use crate::PROGRAM;

#[test]
fn what_is_done_in_a_home_is_recorded_and_a_change_of_the_record_shows() {
    let mesh = Mesh::of(PROGRAM, 6);
    mesh.client("client");
    mesh.pipe("client", &["put", "--", "-", "letters/one"], &noise(1, 20_000)).ok();
    mesh.bytes("client", &["get", "--", "letters/one", "-"]);
    mesh.run("client", &["remove", "--", "letters/one"]).ok();
    let kit = mesh.text(&mesh.path("key-file"));
    mesh.run("client", &["keys", "export", &kit]).ok();
    let wrong = mesh.path("wrong");
    fs::write(&wrong, "not the password").unwrap();
    let mut guess = mesh.command("client", &["put", "--", PROGRAM, "x"]);
    guess.env("DATAMESH_PASSWORD_FILE", &wrong);
    assert_eq!(guess.output().unwrap().status.code(), Some(1));

    let events = |home: &str| -> Vec<String> {
        let listed = mesh.run(home, &["audit", "list", "--json"]).ok().json();
        let name = |entry: &serde_json::Value| entry["event"].as_str().unwrap().to_owned();
        listed.as_array().unwrap().iter().map(name).collect()
    };
    let done = [
        "account.init",
        "mesh.join",
        "file.put",
        "file.get",
        "file.remove",
        "key.export",
        "password.wrong",
        "file.put",
    ];
    assert_eq!(events("client"), done);
    let founder = events("n0");
    for event in ["account.init", "service.start", "invite.issue", "invite.redeemed"] {
        assert!(founder.iter().any(|found| found == event), "{event}: {founder:?}");
    }
    let put = mesh.run("client", &["audit", "list", "--json", "--event", "file.remove"]);
    assert_eq!(put.ok().json()[0]["detail"]["names"], "letters/one");
    let csv = mesh.run("client", &["audit", "export", "--as", "csv", "--", "-"]).ok().out;
    assert_eq!(csv.lines().count(), 1 + done.len(), "{csv}");

    let checked = mesh.run("client", &["audit", "verify", "--json"]).ok().json();
    assert_eq!(checked["entries"], done.len());
    let noted = format!("{}:{}", checked["last"], checked["hash"].as_str().unwrap());
    mesh.run("client", &["audit", "verify", "--noted", &noted]).ok();
    let folder = mesh.path("client").join("audit");
    let log = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let log = log.into_iter().find(|path| path.extension().is_some_and(|e| e == "log")).unwrap();
    let whole = fs::read_to_string(&log).unwrap();
    fs::write(&log, whole.replacen("letters/one", "letters/two", 1)).unwrap();
    let found = mesh.run("client", &["audit", "verify"]).code(1);
    assert!(found.err.contains("line 3"), "{}", found.err);
    let without: Vec<&str> = whole.lines().filter(|line| !line.contains("file.remove")).collect();
    fs::write(&log, without.join("\n") + "\n").unwrap();
    let found = mesh.run("client", &["audit", "verify"]).code(1);
    assert!(found.err.contains("line 5"), "{}", found.err);
    let short: Vec<&str> = whole.lines().take(5).collect();
    fs::write(&log, short.join("\n") + "\n").unwrap();
    mesh.run("client", &["audit", "verify"]).ok();
    mesh.run("client", &["audit", "verify", "--noted", &noted]).code(1);
}
