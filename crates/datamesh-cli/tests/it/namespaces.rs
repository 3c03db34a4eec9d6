//! Meshes over network namespaces: routers with NAT, loss, delay, partition, hosts that move.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use datamesh_core::Entropy;
use datamesh_testkit::SeededEntropy;
use datamesh_testkit::namespaces::{Host, Internet};
use datamesh_testkit::processes::{Done, Mesh};
use datamesh_testkit::wire;

use crate::{PROGRAM, not_run};

/// How long something may take to come about.
const PATIENCE: Duration = Duration::from_secs(90);

const EVERYWHERE: [&str; 2] = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"];

/// A mesh of which each node runs on a host.
struct Spread {
    mesh: Mesh,
    hosts: Vec<Host>,
    internet: Internet,
}

impl Spread {
    /// Founds a mesh with a node on each host: the founder's on the first, on the last that of another
    /// owner.
    fn found(internet: Internet, hosts: Vec<Host>, settings: &[(&str, &str)]) -> Self {
        let mut mesh = Mesh::empty(PROGRAM);
        mesh.listen(&EVERYWHERE);
        for (key, value) in settings {
            mesh.set(key, value);
        }
        let mut spread = Self { mesh, hosts, internet };
        spread.mesh.init("n0");
        spread.start(0);
        // The ticket must have an address that others can dial.
        let ticket = spread.mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
        for number in 1..spread.hosts.len() {
            if number + 1 == spread.hosts.len() {
                spread.mesh.init(&format!("n{number}"));
            }
            let join = spread.mesh.command(&format!("n{number}"), &["join", &ticket]);
            let output: Output = spread.hosts[number].command(&join).output().unwrap();
            Done::from(output).ok();
            spread.start(number);
        }
        spread.mesh.members(spread.hosts.len());
        spread
    }

    /// Starts a node on its host.
    fn start(&mut self, number: usize) {
        let domain = format!("zone-{number}/host-{number}");
        let service = self.mesh.service(number, &["--domain", &domain]);
        let command = self.hosts[number].command(&service);
        self.mesh.start_as(number, command);
    }

    fn transport(&self, number: usize) -> serde_json::Value {
        self.mesh.run(&format!("n{number}"), &["transport", "--json"]).ok().json()
    }

    /// How a node is connected with another: nothing, `straight` or `relayed`.
    fn way(&self, from: usize, to: usize) -> Option<&'static str> {
        let id = self.mesh.id_of(to);
        let transport = self.transport(from);
        let connections = transport["connections"].as_array().unwrap().clone();
        let found = connections.iter().find(|it| it["node"] == *id)?;
        Some(if found["relayed"] == true { "relayed" } else { "straight" })
    }

    /// Members that a node counts as alive.
    fn alive(&self, number: usize) -> usize {
        let peers = self.mesh.run(&format!("n{number}"), &["peers", "--json"]).ok().json();
        peers.as_array().unwrap().iter().filter(|peer| peer["state"] == "alive").count()
    }

    /// Puts bytes from a home and fetches them from it again.
    fn put(&self, home: &str, name: &str, seed: u64) -> Vec<u8> {
        let mut content = vec![0; 1 << 20];
        SeededEntropy::new(seed).fill(&mut content);
        let file = self.mesh.path(name);
        std::fs::write(&file, &content).unwrap();
        let stored = self.mesh.run(home, &["put", &self.mesh.text(&file), name, "--json"]).ok();
        assert_eq!(stored.json()["stored"][0]["margin"], 2);
        content
    }
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "still not: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn nodes_behind_two_nats_are_reached_through_a_relay_and_then_straight() {
    let mut internet = match Internet::build() {
        Ok(internet) => internet,
        Err(why) => return not_run(&why),
    };
    let mut hosts: Vec<Host> = (0..4).map(|n| internet.host(&format!("p{n}"), 10 + n)).collect();
    hosts.extend(internet.behind_nat("a", 101, 1, 1));
    hosts.extend(internet.behind_nat("b", 102, 2, 1));
    let spread = Spread::found(internet, hosts, &[("membership.gossip_interval", "1s")]);

    for number in [4, 5] {
        eventually("it is found that nobody can dial it", || {
            spread.transport(number)["nat"] == "unreachable"
        });
        eventually("it has a place at a relay", || {
            !spread.transport(number)["relayed"].as_array().unwrap().is_empty()
        });
    }
    eventually("public nodes know that they are", || {
        (0..4).any(|number| spread.transport(number)["nat"] == "reachable")
    });
    eventually("all see all", || (0..6).all(|number| spread.alive(number) == 6));

    // Six nodes for 4+2: each holds a shard, those behind the routers too.
    let content = spread.put("n0", "across", 1);
    assert_eq!(spread.mesh.bytes("n0", &["get", "across", "-"]), content);
    let mut holders = spread.mesh.holders("across", 0);
    holders.sort_unstable();
    assert_eq!(holders, [0, 1, 2, 3, 4, 5]);

    eventually("a hole is punched", || spread.way(4, 5) == Some("straight"));
    assert!(spread.transport(4)["punched"].as_u64().unwrap() > 0);
}

#[test]
fn a_mesh_that_was_cut_in_two_and_loses_packets_heals_and_keeps_every_file() {
    let mut internet = match Internet::build() {
        Ok(internet) => internet,
        Err(why) => return not_run(&why),
    };
    let hosts: Vec<Host> = (0..8).map(|n| internet.host(&format!("p{n}"), 10 + n)).collect();
    let settings = [
        ("membership.gossip_interval", "500ms"),
        ("membership.offline_after", "4s"),
        ("repair.grace", "2s"),
        ("repair.interval", "2s"),
    ];
    let spread = Spread::found(internet, hosts, &settings);
    let before = spread.put("n0", "before", 1);

    // Two of eight are cut off: what they hold is rebuilt on the others.
    for host in &spread.hosts[6..] {
        host.unplug();
    }
    eventually("the others notice", || spread.alive(0) == 6);
    let during = spread.put("n0", "during", 2);
    for (name, content) in [("before", &before), ("during", &during)] {
        assert_eq!(spread.mesh.bytes("n0", &["get", name, "-"]), *content);
    }
    for host in &spread.hosts[6..] {
        host.plug();
    }
    eventually("all see all again", || (0..8).all(|number| spread.alive(number) == 8));

    spread.internet.lose(5);
    let rain = spread.put("n0", "rain", 3);
    assert_eq!(spread.mesh.bytes("n0", &["get", "rain", "-"]), rain);
    spread.internet.lose(0);
    assert_eq!(spread.mesh.bytes("n0", &["get", "before", "-"]), before);
}

/// Names two devices for a process that is a wire, and how many milliseconds that takes.
const WIRE: &str = "DATAMESH_TEST_WIRE";

#[test]
fn a_mesh_of_which_half_is_far_away_keeps_every_file() {
    if let Some(text) = std::env::var_os(WIRE) {
        let text = text.into_string().unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        wire::carry(words[0], words[1], Duration::from_millis(words[2].parse().unwrap()));
    }
    let mut internet = match Internet::build() {
        Ok(internet) => internet,
        Err(why) => return not_run(&why),
    };
    let mut hosts: Vec<Host> = (0..4).map(|n| internet.host(&format!("p{n}"), 10 + n)).collect();
    for (number, milliseconds) in [(20, 40), (21, 80), (22, 150), (23, 150)] {
        let wire = |one: &str, other: &str| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            let name = "namespaces::a_mesh_of_which_half_is_far_away_keeps_every_file";
            command.args(["--exact", name, "--nocapture"]);
            command.env(WIRE, format!("{one} {other} {milliseconds}"));
            command
        };
        match internet.far_host(&format!("far{number}"), number, wire) {
            Ok(host) => hosts.push(host),
            Err(why) => return not_run(&why),
        }
    }
    let settings = [
        ("membership.gossip_interval", "500ms"),
        ("membership.offline_after", "6s"),
        ("repair.grace", "2s"),
        ("repair.interval", "2s"),
    ];
    let spread = Spread::found(internet, hosts, &settings);
    eventually("all see all", || (0..8).all(|number| spread.alive(number) == 8));
    let near = spread.put("n0", "by the near", 1);
    let far = spread.put("n7", "by the far", 2);
    spread.internet.lose(2);
    let rain = spread.put("n0", "rain", 3);
    // A near one and a far one are cut off: the others have everything.
    for number in [3, 6] {
        spread.hosts[number].unplug();
    }
    for (name, content) in [("by the near", &near), ("rain", &rain)] {
        assert_eq!(spread.mesh.bytes("n0", &["get", name, "-"]), *content);
    }
    assert_eq!(spread.mesh.bytes("n7", &["get", "by the far", "-"]), far);
    spread.internet.lose(0);
    for number in [3, 6] {
        spread.hosts[number].plug();
    }
    eventually("all see all again", || (0..8).all(|number| spread.alive(number) == 8));
}

#[test]
fn a_node_that_moved_to_another_address_is_found_again() {
    let mut internet = match Internet::build() {
        Ok(internet) => internet,
        Err(why) => return not_run(&why),
    };
    let hosts: Vec<Host> = (0..6).map(|n| internet.host(&format!("p{n}"), 10 + n)).collect();
    let settings = [("membership.gossip_interval", "500ms"), ("membership.offline_after", "4s")];
    let spread = Spread::found(internet, hosts, &settings);
    let content = spread.put("n0", "kept", 1);
    // It goes on running and finds itself elsewhere, as a laptop does.
    spread.hosts[3].renumber("198.51.100.77");
    let id = spread.mesh.id_of(3);
    eventually("the others know its address", || {
        let peers = spread.mesh.run("n0", &["peers", "--json"]).ok().json();
        let peers = peers.as_array().unwrap().clone();
        let moved = peers.iter().find(|peer| peer["node"] == *id).unwrap();
        moved["state"] == "alive" && moved["addresses"].to_string().contains("198.51.100.77")
    });
    eventually("all see all", || (0..6).all(|number| spread.alive(number) == 6));
    assert_eq!(spread.mesh.bytes("n0", &["get", "kept", "-"]), content);
}

#[test]
fn nodes_of_one_local_network_find_each_other_without_an_address() {
    let mut internet = match Internet::build() {
        Ok(internet) => internet,
        Err(why) => return not_run(&why),
    };
    let hosts: Vec<Host> = (0..3).map(|n| internet.host(&format!("p{n}"), 10 + n)).collect();
    let settings = [("network.preset", "local"), ("membership.gossip_interval", "500ms")];
    let spread = Spread::found(internet, hosts, &settings);
    let reply = spread.mesh.run("n1", &["discover", "--timeout", "5s", "--json"]).ok().json();
    let peers = reply["peers"].as_array().unwrap();
    let nearby = |id: &str| {
        peers.iter().any(|peer| {
            peer["node"] == *id && peer["found_by"].as_array().unwrap().contains(&"mdns".into())
        })
    };
    assert!(nearby(&spread.mesh.id_of(0)) && nearby(&spread.mesh.id_of(2)), "{reply}");
}
