//! Files that are shared, with people and by links, over real processes.

use std::time::Duration;

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::{Done, Mesh, wait_for};

use crate::PROGRAM;
use crate::recover::address;

/// Stores noise under a name, from a home.
fn put(mesh: &Mesh, home: &str, name: &str, seed: u64, size: usize) {
    let file = mesh.path("source");
    std::fs::write(&file, noise(seed, size)).unwrap();
    let file = mesh.text(&file);
    let reply = mesh.run(home, &["put", "--json", "--", &file, name]).ok().json();
    assert_eq!(reply["pending"], 0);
}

/// Shares a file by link, with these flags, and returns the link.
fn link(mesh: &Mesh, home: &str, name: &str, flags: &[&str]) -> String {
    let all = [&["share", name, "--link"], flags].concat();
    let out = mesh.run(home, &all).ok().out;
    let link = out.lines().next().unwrap().to_owned();
    assert!(link.starts_with("datamesh://share/") && link.contains('#'), "{link}");
    link
}

/// Opens a link on a machine that has no home.
fn open(mesh: &Mesh, link: &str, flags: &[&str]) -> Done {
    mesh.run("nobody", &[&["get"], flags, &[link, &mesh.text(&mesh.path("there"))]].concat())
}

/// The same, where it must succeed: what it leads to.
#[track_caller]
fn opened(mesh: &Mesh, link: &str, flags: &[&str]) -> Vec<u8> {
    drop(std::fs::remove_file(mesh.path("there")));
    open(mesh, link, flags).ok();
    std::fs::read(mesh.path("there")).unwrap()
}

fn id(mesh: &Mesh, home: &str, at: usize) -> String {
    let list = mesh.run(home, &["share", "list", "--json"]).ok().json();
    list["shares"][at]["share"].as_str().unwrap()[..8].to_owned()
}

#[test]
fn a_link_opens_without_an_account_and_follows_its_file_until_it_is_revoked() {
    let mesh = Mesh::of(PROGRAM, 7);
    mesh.client("client");
    put(&mesh, "client", "folder/report.pdf", 1, 5_000_000);
    put(&mesh, "client", "small", 2, 900);
    let (large, small) =
        (link(&mesh, "client", "folder/report.pdf", &[]), link(&mesh, "client", "small", &[]));
    assert!(opened(&mesh, &large, &[]) == noise(1, 5_000_000));
    assert!(opened(&mesh, &small, &[]) == noise(2, 900));
    assert!(!mesh.path("nobody").exists(), "a home was made");
    // Under its own name, without the folders that it lies in; and to standard output.
    let folder = mesh.path("desk");
    std::fs::create_dir(&folder).unwrap();
    mesh.run("nobody", &["get", &large, &mesh.text(&folder)]).ok();
    assert!(std::fs::read(folder.join("report.pdf")).unwrap() == noise(1, 5_000_000));
    // Nothing is replaced by a name that somebody else chose.
    std::fs::write(folder.join("small"), b"mine").unwrap();
    let refused = mesh.run("nobody", &["get", &small, &mesh.text(&folder)]).code(1);
    assert!(refused.err.contains("is there already"), "{}", refused.err);
    assert_eq!(std::fs::read(folder.join("small")).unwrap(), b"mine");
    assert!(mesh.bytes("nobody", &["get", &small, "-"]) == noise(2, 900));
    // A home in the mesh, another account's, opens it too; so does a node's service.
    mesh.client("friend");
    assert!(mesh.bytes("friend", &["get", &large, "-"]) == noise(1, 5_000_000));
    assert!(mesh.bytes("n3", &["get", &large, "-"]) == noise(1, 5_000_000));

    // A later version, by the same link; the links say so to whoever asks the owner.
    put(&mesh, "client", "folder/report.pdf", 3, 70_000);
    assert!(opened(&mesh, &large, &[]) == noise(3, 70_000));
    let info = mesh.run("client", &["info", "--json", "folder/report.pdf"]).ok().json();
    assert_eq!(info["shares"][0]["state"], "current");
    assert_eq!(info["shares"][0]["link"], serde_json::Value::Null);
    let told = mesh.run("client", &["share", "list", "--links"]).ok().out;
    assert!(told.contains(&large) && told.contains(&small), "{told}");
    let quiet = mesh.run("client", &["share", "list"]).ok().out;
    assert!(!quiet.contains("datamesh://"), "{quiet}");
    let csv = mesh.run("client", &["share", "list", "--format", "csv", "small"]).ok().out;
    assert_eq!(csv.lines().count(), 2, "{csv}");

    let share = id(&mesh, "client", 0);
    let revoked = mesh.run("client", &["share", "revoke", &share]).ok();
    assert!(revoked.out.contains("revoked") && revoked.err.contains("cannot be taken back"));
    for home in ["nobody", "friend", "n3"] {
        let refused = mesh.run(home, &["get", &large, "-"]).code(3);
        assert!(refused.err.contains("revoked") && refused.out.is_empty(), "{}", refused.err);
    }
    put(&mesh, "client", "folder/report.pdf", 4, 70_000);
    open(&mesh, &large, &[]).code(3);
    // What was fetched stays, and nothing half is beside it.
    assert!(std::fs::read(mesh.path("there")).unwrap() == noise(3, 70_000));
    assert!(opened(&mesh, &small, &[]) == noise(2, 900));
    mesh.run("client", &["share", "revoke", "ffffffff"]).code(3);
    mesh.run("client", &["remove", "small"]).ok();
    open(&mesh, &small, &[]).code(3);
    // The secrets are in no log.
    let log = mesh.run("client", &["audit", "list", "--json"]).ok().out;
    assert!(log.contains("file.share") && log.contains("share.revoke"), "{log}");
    assert!(!log.contains("datamesh://share/"), "{log}");
    let friend = mesh.run("friend", &["audit", "list", "--json"]).ok().out;
    assert!(friend.contains("file.get") && !friend.contains("datamesh://share/"), "{friend}");
}

#[test]
fn a_link_has_a_password_an_expiry_and_a_code_to_show() {
    let mesh = Mesh::of(PROGRAM, 6);
    put(&mesh, "n0", "file", 1, 70_000);
    for (name, password) in
        [("right", "correct horse\n"), ("wrong", "battery staple\n"), ("short", "no\n")]
    {
        std::fs::write(mesh.path(name), password).unwrap();
    }
    let [right, wrong, short] = ["right", "wrong", "short"].map(|name| mesh.text(&mesh.path(name)));
    let guarded = link(&mesh, "n0", "file", &["--password", "--link-password-file", &right]);
    assert!(opened(&mesh, &guarded, &["--link-password-file", &right]) == noise(1, 70_000));
    drop(std::fs::remove_file(mesh.path("there")));
    let refused = open(&mesh, &guarded, &["--link-password-file", &wrong]).code(1);
    assert!(refused.err.contains("wrong password"), "{}", refused.err);
    let refused = open(&mesh, &guarded, &[]).code(2);
    assert!(refused.err.contains("--link-password-file"), "{}", refused.err);
    assert!(!mesh.path("there").exists());
    mesh.run("n0", &["share", "file", "--link", "--link-password-file", &short]).code(2);

    let picture = |name: &str| mesh.text(&mesh.path(name));
    let out =
        mesh.run("n0", &["share", "file", "--link", "--qr-code", "--qr-file", &picture("a.png")]);
    let out = out.ok().out;
    assert!(out.lines().count() > 20 && out.contains('█'), "{out}");
    assert!(std::fs::read(mesh.path("a.png")).unwrap().starts_with(b"\x89PNG"));
    mesh.run("n0", &["share", "file", "--link", "--qr-file", &picture("a.png")]).code(2);
    mesh.run("n0", &["share", "file", "--link", "--qr-file", &picture("a.gif")]).code(2);
    mesh.run("n0", &["share", "file", "--link", "--qr-file", &picture("a.svg")]).ok();
    assert!(std::fs::read_to_string(mesh.path("a.svg")).unwrap().starts_with("<svg"));
    mesh.run("n0", &["share", "file", "--link", "--qr-code", "--json"]).code(2);

    let limited = mesh.run("n0", &["share", "file", "--link", "--max-downloads", "3"]).code(2);
    assert!(limited.err.contains("count downloads") && limited.err.contains("hint:"));
    mesh.run("n0", &["share", "file"]).code(2);
    mesh.run("n0", &["share"]).code(2);
    mesh.run("n0", &["share", "file", "--link", "--expires", "0s"]).code(2);
    mesh.run("n0", &["share", "nothing", "--link"]).code(3);
    mesh.run("n0", &["share", "file", "--with", "datamesh-contact-xyz"]).code(2);
    let passing = link(&mesh, "n0", "file", &["--expires", "6s"]);
    assert!(opened(&mesh, &passing, &[]) == noise(1, 70_000));
    wait_for("the share expires", || open(&mesh, &passing, &[]).code == 3);
    let list = mesh.run("n0", &["share", "list", "--json"]).ok().json();
    let expired = |share: &&serde_json::Value| share["state"] == "expired";
    let expired: Vec<_> = list["shares"].as_array().unwrap().iter().filter(expired).collect();
    assert_eq!(expired.len(), 1);
    // There is nothing to end any more.
    let revoked = ["share", "revoke", expired[0]["share"].as_str().unwrap()];
    mesh.run("n0", &revoked).ok();
}

#[test]
fn what_is_no_whole_link_of_this_mesh_says_so() {
    let mesh = Mesh::of(PROGRAM, 6);
    put(&mesh, "n0", "file", 1, 70_000);
    let whole = link(&mesh, "n0", "file", &[]);
    let (public, secret) = whole.split_once('#').unwrap();
    for cut in [
        public,
        &whole[..40],
        &whole[..whole.len() - 1],
        "datamesh://share/",
        "datamesh://share/#x",
    ] {
        let refused = open(&mesh, cut, &[]).code(2);
        assert!(refused.err.contains("copy the whole line again"), "{cut}: {}", refused.err);
    }
    open(&mesh, &whole, &["--version", "1"]).code(2);
    open(&mesh, &whole, &["-r"]).code(2);
    // Another mesh answers at the addresses, or nobody does.
    let mut other = Mesh::empty(PROGRAM);
    other.found(6);
    put(&other, "n0", "file", 2, 70_000);
    let foreign = link(&other, "n0", "file", &[]);
    // A home of one mesh opens a link into another as a visitor.
    assert!(mesh.bytes("n1", &["get", &foreign, "-"]) == noise(2, 70_000));
    drop(other);
    let refused = open(&mesh, &foreign, &[]).code(5);
    assert!(refused.err.contains("nobody answers"), "{}", refused.err);
    assert!(!secret.is_empty() && !mesh.path("there").exists());
}

#[test]
fn a_person_gets_what_is_shared_with_them_and_a_recovered_owner_goes_on() {
    let mesh = Mesh::of(PROGRAM, 7);
    mesh.client("owner");
    mesh.client("friend");
    mesh.client("other");
    put(&mesh, "owner", "letter", 1, 70_000);
    let key = mesh.run("friend", &["keys", "recipient"]).ok().out.trim().to_owned();
    assert!(key.starts_with("datamesh-contact-"));
    let reply = mesh.run("friend", &["keys", "recipient", "--json"]).ok().json();
    assert_eq!((reply["recipient"].as_str(), &reply["published"]), (Some(&*key), &true.into()));

    let code = mesh.run("owner", &["share", "letter", "--with", &key]).ok().out.trim().to_owned();
    assert!(code.starts_with("datamesh://share/") && !code.contains('#'));
    assert!(mesh.bytes("friend", &["get", &code, "-"]) == noise(1, 70_000));
    let refused = mesh.run("other", &["get", &code, "-"]).code(1);
    assert!(refused.err.contains("somebody else"), "{}", refused.err);
    mesh.run("nobody", &["get", &code, "-"]).code(2);

    // Stored and shared in one step.
    let file = mesh.text(&mesh.path("source"));
    std::fs::write(mesh.path("source"), noise(5, 3000)).unwrap();
    let stored =
        mesh.run("owner", &["put", "--json", "--to", &key, "--", &file, "note"]).ok().json();
    assert_eq!(stored["shares"][0]["person"].as_str(), Some(&*key));
    let second = stored["shares"][0]["link"].as_str().unwrap();
    assert!(mesh.bytes("friend", &["get", second, "-"]) == noise(5, 3000));
    mesh.run("owner", &["put", "--to", "nobody", "--", &file, "lost"]).code(2);
    mesh.run("owner", &["info", "lost"]).code(3);

    // The owner's home is lost; the words bring the shares back, and the new device goes on with them.
    let link = link(&mesh, "owner", "letter", &[]);
    let words = mesh.text(&mesh.path("owner.words"));
    std::fs::rename(mesh.path("owner"), mesh.path("gone")).unwrap();
    let peer = address(&mesh, "n5");
    mesh.run("back", &["recover", "--words-file", &words, "--peer", &peer]).ok();
    let list = mesh.run("back", &["share", "list", "--links", "--json"]).ok().json();
    assert_eq!(list["shares"].as_array().unwrap().len(), 3);
    assert!(list.to_string().contains(&link) && list.to_string().contains(&key));
    put(&mesh, "back", "letter", 2, 70_000);
    assert!(opened(&mesh, &link, &[]) == noise(2, 70_000));
    assert!(mesh.bytes("friend", &["get", &code, "-"]) == noise(2, 70_000));
    let ids: Vec<String> = (0..3).map(|at| id(&mesh, "back", at)).collect();
    let all = [&["share", "revoke"], &*ids.iter().map(String::as_str).collect::<Vec<_>>()].concat();
    mesh.run("back", &all).ok();
    for (home, link) in [("nobody", &*link), ("friend", &code), ("friend", second)] {
        mesh.run(home, &["get", link, "-"]).code(3);
    }
}

#[test]
fn a_share_outlives_some_nodes_and_is_told_of_when_too_many_are_away() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    put(&mesh, "n0", "file", 1, 70_000);
    let link = link(&mesh, "n0", "file", &[]);
    mesh.kill(5);
    mesh.kill(6);
    assert!(opened(&mesh, &link, &[]) == noise(1, 70_000));
    mesh.kill(4);
    mesh.kill(3);
    drop(std::fs::remove_file(mesh.path("there")));
    // Whether it was revoked cannot be known; nor can it be revoked for all.
    open(&mesh, &link, &[]).code(5);
    assert!(!mesh.path("there").exists());
    let share = id(&mesh, "n0", 0);
    let revoked = mesh.run("n0", &["share", "revoke", "--json", &share]).code(4).json();
    assert_eq!(revoked["shares"][0]["state"], "ending");
    for number in 3..7 {
        mesh.start(number, &["--domain", &format!("zone-{number}/host-{number}")]);
    }
    wait_for("the service tells the others", || {
        std::thread::sleep(Duration::from_secs(1));
        let list = mesh.run("n0", &["share", "list", "--json"]).ok().json();
        list["shares"][0]["state"] == "revoked"
    });
    open(&mesh, &link, &[]).code(3);
}
