//! A mesh of real nodes whose leases end: founding it, what it tells, and their renewal.

use std::time::{Duration, Instant};

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;
use serde_json::Value;

use crate::PROGRAM;

/// How long holders may take to be asked before the test calls it never.
const PATIENCE: Duration = Duration::from_secs(60);

const DAY_MS: u64 = 24 * 3600 * 1000;

/// What `health` says of leases.
fn finding(mesh: &Mesh, home: &str) -> Value {
    let health = mesh.run(home, &["health", "--json"]).json();
    let findings = health["findings"].as_array().unwrap().clone();
    findings.into_iter().find(|finding| finding["subject"] == "leases").unwrap()
}

#[test]
fn a_mesh_with_a_term_tells_when_leases_end_and_renews_them() {
    let mut mesh = Mesh::empty(PROGRAM);
    mesh.init("n0");
    mesh.set("leases.interval", "500ms");
    let wrong = mesh.service(0, &["--lease-days", "4000"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    mesh.start(0, &["--domain", "zone-0/host-0", "--lease-days", "90"]);
    let ticket = mesh.run("n0", &["invite"]).ok().out.trim().to_owned();
    for node in 1..6 {
        let home = format!("n{node}");
        mesh.run(&home, &["join", &ticket]).ok();
        mesh.start(node, &["--domain", &format!("zone-{node}/host-{node}")]);
    }
    mesh.members(6);
    mesh.pipe("n0", &["put", "--", "-", "film"], &noise(1, 5_000_000)).ok();

    // The service asks holders by itself, and shows what they tell.
    let stats = |home: &str| mesh.run(home, &["stats", "--json"]).ok().json();
    let end = Instant::now() + PATIENCE;
    let first = loop {
        let leases = stats("n0")["leases"].clone();
        if leases["look"]["segments"].as_u64().is_some_and(|segments| segments >= 2) {
            break leases;
        }
        assert!(Instant::now() < end, "{leases}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!((&first["days"], &first["renewing"]), (&90.into(), &true.into()));
    let look = &first["look"];
    let numbers = [&look["due"], &look["ended"], &look["unheld"], &look["unread"]];
    assert_eq!(numbers, [&Value::from(0); 4], "{look}");
    let moment = |text: &Value| -> u64 {
        let moment: jiff::Timestamp = text.as_str().unwrap().parse().unwrap();
        moment.as_millisecond().cast_unsigned()
    };
    let told = |leases: &Value| moment(&leases["look"]["earliest"]);
    let term = told(&first).abs_diff(moment(&look["looked"]) + 90 * DAY_MS);
    assert!(term < DAY_MS / 24, "a term from now on, but for what the test took: {first}");
    let worker = stats("n0")["workers"].as_array().unwrap().clone();
    assert!(worker.iter().any(|worker| worker["name"] == "leases"));
    assert_eq!(finding(&mesh, "n0")["severity"], "ok");
    assert_eq!(mesh.run("n0", &["info", "--json", "film"]).ok().json()["leases"]["days"], 90);
    let shown = mesh.run("n0", &["info", "film"]).ok().out;
    assert!(shown.contains("first lease ends"), "{shown}");

    // Everything is renewed on request, and then it ends later.
    let renewed = mesh.run("n0", &["repair", "--renew", "--json"]).ok().json()["renewal"].clone();
    assert_eq!((&renewed["few"], &renewed["segments"]), (&0.into(), &renewed["renewed"]));
    assert!(renewed["segments"].as_u64().unwrap() >= 2, "{renewed}");
    let after = stats("n0")["leases"].clone();
    assert_eq!(told(&after), moment(&renewed["until"]));
    assert!(told(&after) > told(&first));

    // A home without a service says that nobody renews there, until it is done.
    mesh.client("client");
    mesh.pipe("client", &["put", "--", "-", "theirs"], &noise(2, 2_000_000)).ok();
    assert_eq!(finding(&mesh, "client")["severity"], "warning");
    mesh.run("client", &["repair", "--renew"]).ok();
    assert_eq!(finding(&mesh, "client")["severity"], "ok");
    assert_eq!(stats("client")["leases"]["renewing"], false);

    // A term is chosen once.
    mesh.kill(0);
    let other = mesh.service(0, &["--lease-days", "30"]).output().unwrap();
    assert_eq!(other.status.code(), Some(2), "{}", String::from_utf8_lossy(&other.stderr));
    mesh.start(0, &["--lease-days", "90"]);
    let get = |home: &str, name: &str| mesh.bytes(home, &["get", "--", name, "-"]);
    assert!(get("n0", "film") == noise(1, 5_000_000));
}

#[test]
fn in_a_private_mesh_there_is_nothing_to_renew() {
    let mesh = Mesh::of(PROGRAM, 1);
    let stats = mesh.run("n0", &["stats", "--json"]).ok().json();
    assert_eq!((&stats["leases"], &stats["mesh"]["lease_days"]), (&Value::Null, &0.into()));
    let renewed = mesh.run("n0", &["repair", "--renew", "--json"]).ok().json();
    assert!(renewed["renewal"]["until"].is_null());
    assert_eq!(renewed["renewal"]["segments"], 0);
}
