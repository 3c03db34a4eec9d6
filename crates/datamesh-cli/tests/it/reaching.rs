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

#[test]
fn network_tells_who_is_connected_to_whom_and_draws_it() {
    let mesh = Mesh::of(PROGRAM, 4);
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name).to_str().unwrap().to_owned();
    let reply = mesh.run("n0", &["network", "--depth", "3", "--json"]).ok().json();
    let nodes = reply["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 4, "{reply}");
    assert_eq!((&nodes[0]["local"], &nodes[0]["distance"]), (&true.into(), &0.into()));
    assert_eq!(nodes[0]["node"], *mesh.id_of(0));
    assert!(nodes.iter().all(|node| node["asked"] == "told" && node["state"] == "alive"));
    // Every link leads from a node that told to another, and none is told twice.
    let links = reply["links"].as_array().unwrap();
    assert!(links.len() >= 6 && links.iter().all(|link| link["from"] != link["to"]), "{reply}");
    let own = mesh.run("n0", &["network", "--depth", "1", "--json"]).ok().json();
    let not_asked = own["nodes"].as_array().unwrap().iter().filter(|it| it["asked"] == "not_asked");
    assert_eq!(not_asked.count(), 3);

    let shown = mesh.run("n0", &["network", "--visualize"]).ok().out;
    assert_eq!(shown.lines().count(), 5, "{shown}");
    mesh.run("n0", &["network", "--svg", &at("mesh.svg"), "--dot", &at("mesh.dot")]).ok();
    let svg = std::fs::read_to_string(at("mesh.svg")).unwrap();
    assert_eq!((svg.matches("<circle").count(), svg.ends_with("</svg>\n")), (4, true));
    let dot = std::fs::read_to_string(at("mesh.dot")).unwrap();
    assert!(dot.starts_with("graph mesh {") && dot.contains(&mesh.id_of(3)), "{dot}");
    mesh.run("n0", &["network", "--svg", &at("none/mesh.svg")]).code(2);
    // A file that is there is never overwritten, nor written beside another that is.
    mesh.run("n0", &["network", "--dot", &at("fresh.dot"), "--svg", &at("mesh.svg")]).code(2);
    assert_eq!(std::fs::read_to_string(at("mesh.svg")).unwrap(), svg);
    assert!(!std::path::Path::new(&at("fresh.dot")).exists());
    mesh.run("n0", &["network", "--depth", "0"]).code(2);
    mesh.run("n0", &["network", "--depth", "17"]).code(2);

    // A home without a node stands at the edge.
    mesh.client("c");
    let reply = mesh.run("c", &["network", "--json"]).ok().json();
    assert!(reply["nodes"][0]["state"].is_null() && reply["nodes"][0]["local"] == true, "{reply}");
    let members = |it: &&serde_json::Value| it["state"] == "alive";
    assert_eq!(reply["nodes"].as_array().unwrap().iter().filter(members).count(), 4);
}

#[test]
fn bandwidth_moves_bytes_both_ways_and_counts_them() {
    let mut mesh = Mesh::of(PROGRAM, 3);
    let peer = mesh.id_of(1);
    let measure = |mesh: &Mesh, home: &str, peer: &str| {
        mesh.run(home, &["bandwidth", "--test-peer", peer, "--duration", "500ms", "--json"])
    };
    let reply = measure(&mesh, "n0", &peer).ok().json();
    let way = &reply["way"];
    assert_eq!((&way["node"], &way["relayed"]), (&peer.as_str().into(), &false.into()));
    for direction in ["up", "down"] {
        let bytes = way[direction]["bytes"].as_u64().unwrap();
        assert!(bytes >= 1 << 20, "{reply}");
        // All of it really moved: the node's own counters say so.
        assert!(reply[direction]["bytes"].as_u64().unwrap() >= bytes, "{reply}");
    }
    let trips = &way["round_trips"];
    let time = |name: &str| trips[name].as_f64().unwrap();
    assert!(trips["count"].as_u64().unwrap() > 0 && trips["lost"] == 0, "{reply}");
    assert!(time("least") <= time("p50") && time("p50") <= time("p99"), "{reply}");
    assert!(time("p99") <= time("most") && time("least") > 0.0, "{reply}");
    let short = &peer["12D3KooW".len()..][..8];
    measure(&mesh, "n0", short).ok();
    let shown = mesh.run("n0", &["bandwidth", "--test-peer", short, "--duration", "300ms"]).ok();
    assert!(shown.out.contains("jitter") && shown.out.contains("MB/s"), "{}", shown.out);

    let idle = mesh.run("n0", &["bandwidth", "--duration", "300ms", "--json"]).ok().json();
    assert!(idle["way"].is_null() && idle["up"]["seconds"].as_f64().unwrap() >= 0.3, "{idle}");
    // A home without a node measures too, and moves nothing by itself.
    mesh.client("c");
    measure(&mesh, "c", &peer).ok();
    mesh.run("c", &["bandwidth"]).code(2);

    mesh.run("n0", &["bandwidth", "--test-peer", "zzzz"]).code(3);
    mesh.run("n0", &["bandwidth", "--test-peer", "12D3KooW"]).code(2);
    mesh.run("n0", &["bandwidth", "--test-peer", &mesh.id_of(0)]).code(2);
    mesh.run("n0", &["bandwidth", "--duration", "1h"]).code(2);
    mesh.kill(1);
    measure(&mesh, "n0", &peer).code(5);
}
