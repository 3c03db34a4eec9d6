//! The commands about connections, on loopback, with a service and without.

use std::time::{Duration, Instant};

use datamesh_testkit::processes::Mesh;

use crate::PROGRAM;

#[test]
fn transport_tells_addresses_and_ciphers_of_a_service_and_of_a_command() {
    let mesh = Mesh::of(PROGRAM, 3);
    let reply = mesh.run("n0", &["transport", "--json"]).ok().json();
    assert_eq!((&reply["service"], &reply["nat"]), (&true.into(), &"unknown".into()));
    assert_eq!(reply["node"], *mesh.id_of(0));
    assert!(reply["listening"][0].as_str().unwrap().starts_with("/ip4/127.0.0.1/tcp/"));
    let connections = reply["connections"].as_array().unwrap();
    assert_eq!(connections.len(), 2);
    for connection in connections {
        assert_eq!(connection["protocol"], "tls");
        assert_eq!(connection["key_exchange"], "X25519MLKEM768");
        assert_eq!(connection["post_quantum"], true);
        assert_eq!(connection["breaker"], "closed");
    }
    assert!(reply["traffic"]["served"].as_u64().unwrap() > 0);
    let table = mesh.run("n0", &["transport"]).ok().out;
    assert!(table.contains("X25519MLKEM768") && table.contains("public"), "{table}");

    mesh.client("c");
    let reply = mesh.run("c", &["transport", "--json"]).ok().json();
    assert_eq!(reply["service"], false);
    assert_eq!(reply["listening"].as_array().unwrap().len(), 0);
    assert!(!reply["connections"].as_array().unwrap().is_empty());
}

#[test]
fn bootstrap_peers_bring_a_client_back_whose_mesh_has_moved() {
    let mut mesh = Mesh::of(PROGRAM, 2);
    mesh.client("c");
    // All ports change: what the client remembers is stale.
    for number in 0..2 {
        mesh.kill(number);
        std::fs::remove_file(mesh.path(&format!("n{number}/node/listening"))).unwrap();
    }
    for number in 0..2 {
        mesh.start(number, &[]);
    }
    let lost = mesh.run("c", &["peers", "--json"]).ok().json();
    let alive = |peers: &serde_json::Value| {
        peers.as_array().unwrap().iter().filter(|peer| peer["state"] == "alive").count()
    };
    assert_eq!(alive(&lost), 0);

    let status = std::fs::read(mesh.path("n0/status.json")).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    let address = status["listen"][0].as_str().unwrap().to_owned();
    let gone = "/ip4/127.0.0.1/tcp/1";
    mesh.run("c", &["bootstrap", "add", gone, "--priority", "1"]).ok();
    mesh.run("c", &["bootstrap", "check"]).code(5);
    mesh.run("c", &["bootstrap", "add", &address, "--priority", "2", "--region", "here"]).ok();
    let listed = mesh.run("c", &["bootstrap", "check", "--json"]).code(4).json();
    assert_eq!(listed[0]["address"], gone);
    assert!(listed[0]["failures"].as_u64().unwrap() > 0);
    assert_eq!(listed[1]["node"], *mesh.id_of(0));
    assert_eq!(listed[1]["region"], "here");
    // The two nodes have lost each other too.
    mesh.run("n1", &["bootstrap", "add", &address]).ok();
    mesh.run("n1", &["bootstrap", "check"]).ok();
    let end = Instant::now() + Duration::from_secs(60);
    while alive(&mesh.run("c", &["peers", "--json"]).ok().json()) < 2 {
        assert!(Instant::now() < end, "the members are not found again");
    }

    mesh.run("c", &["bootstrap", "remove", gone]).ok();
    mesh.run("c", &["bootstrap", "remove", gone]).code(3);
    mesh.run("c", &["bootstrap", "add", "example.org"]).code(2);
    let listed = mesh.run("c", &["bootstrap", "list", "--json"]).ok().json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[test]
fn discover_lists_members_and_who_the_hash_table_knows() {
    let mesh = Mesh::of(PROGRAM, 3);
    for home in ["n1", "n0"] {
        let reply = mesh.run(home, &["discover", "--timeout", "10s", "--json"]).ok().json();
        let peers = reply["peers"].as_array().unwrap();
        assert_eq!(peers.len(), 2, "{reply}");
        assert!(peers.iter().all(|peer| peer["member"] == true && peer["connected"] == true));
    }
    mesh.client("c");
    let reply = mesh.run("c", &["discover", "--timeout", "10s", "--json"]).ok().json();
    assert_eq!(reply["peers"].as_array().unwrap().len(), 3);
    mesh.run("c", &["discover", "--timeout", "2h"]).code(2);
}

#[test]
fn a_preset_is_chosen_and_counts_from_the_next_start() {
    let mut mesh = Mesh::of(PROGRAM, 1);
    let chosen = |mesh: &Mesh| {
        let presets = mesh.run("n0", &["networks", "--json"]).ok().json();
        let presets = presets.as_array().unwrap().clone();
        let names: Vec<String> = presets
            .iter()
            .filter(|preset| preset["chosen"] == true)
            .map(|preset| preset["name"].as_str().unwrap().to_owned())
            .collect();
        names
    };
    assert_eq!(chosen(&mesh), ["public"]);
    mesh.run("n0", &["networks", "use", "test"]).ok();
    mesh.run("n0", &["networks", "use", "tset"]).code(2);
    assert_eq!(chosen(&mesh), ["test"]);
    mesh.kill(0);
    mesh.start(0, &[]);
    let reply = mesh.run("n0", &["transport", "--json"]).ok().json();
    assert_eq!(
        (&reply["settings"]["preset"], &reply["settings"]["dht"]),
        (&"test".into(), &false.into())
    );
}

#[test]
fn security_finds_what_others_can_open_and_says_what_is_not_post_quantum() {
    use std::os::unix::fs::PermissionsExt;
    let mesh = Mesh::of(PROGRAM, 2);
    let reply = mesh.run("n0", &["security", "--json"]).ok().json();
    assert_eq!(reply["keystore"]["kdf"], "argon2id");
    assert!(reply["keystore"]["memory_kib"].as_u64().unwrap() >= 64 * 1024);
    let cryptography = reply["cryptography"].as_array().unwrap();
    assert!(cryptography.iter().any(|it| it["post_quantum"] == false));
    let keystore = mesh.path("n0/account/keystore");
    std::fs::set_permissions(&keystore, std::fs::Permissions::from_mode(0o644)).unwrap();
    let reply = mesh.run("n0", &["security", "--json"]).code(1).json();
    let findings = reply["findings"].as_array().unwrap();
    let found = findings.iter().find(|it| it["subject"] == "account/keystore").unwrap();
    assert_eq!(found["severity"], "critical");
    assert!(found["hint"].as_str().unwrap().starts_with("chmod 600"));

    // Who is denied is not let in, from the next start on.
    let foe = mesh.id_of(1);
    let mut mesh = mesh;
    mesh.run("n0", &["config", "set", "network.deny", &foe]).ok();
    mesh.kill(0);
    mesh.start(0, &[]);
    let reply = mesh.run("n0", &["security", "--json"]).code(1).json();
    assert_eq!(reply["deny"], serde_json::json!([foe]));
    let transport = mesh.run("n0", &["transport", "--json"]).ok().json();
    assert_eq!(transport["connections"].as_array().unwrap().len(), 0);
}

#[test]
fn a_limit_on_bandwidth_is_shown_and_counts() {
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.set("bandwidth.schedule", "daily 00:00-24:00 up=1MiB metered");
    mesh.found(1);
    let reply = mesh.run("n0", &["transport", "--json"]).ok().json();
    assert_eq!(reply["bandwidth"]["up"], 1 << 20);
    assert_eq!(reply["bandwidth"]["down"], serde_json::Value::Null);
    assert_eq!(reply["bandwidth"]["metered"], true);
}
