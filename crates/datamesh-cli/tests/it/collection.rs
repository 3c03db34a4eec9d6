//! Real nodes give back the space of what was removed and purged.

use std::time::{Duration, Instant};

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;

use crate::PROGRAM;

/// How long nodes may take to give their space back before the test calls it never.
const PATIENCE: Duration = Duration::from_secs(90);

const NODES: usize = 6;

#[test]
fn purged_files_leave_the_disks_and_the_others_stay() {
    let mut mesh = Mesh::of(PROGRAM, NODES);
    for node in 0..NODES {
        let home = format!("n{node}");
        mesh.run(&home, &["config", "set", "collection.trash", "1s"]).ok();
        mesh.run(&home, &["config", "set", "collection.interval", "500ms"]).ok();
        mesh.kill(node);
        mesh.start(node, &[]);
    }
    mesh.members(NODES);
    let (kept, gone) = (noise(1, 3_000_000), noise(2, 24_000_000));
    mesh.pipe("n0", &["put", "--", "-", "kept"], &kept).ok();
    mesh.pipe("n0", &["put", "--", "-", "gone"], &gone).ok();
    let packed = |mesh: &Mesh| (0..NODES).map(|node| mesh.packed(node)).sum::<u64>();
    let full = packed(&mesh);

    // Removed, it is still all there: taken back and removed again.
    mesh.run("n0", &["remove", "--", "gone"]).ok();
    mesh.run("n0", &["versions", "--undelete", "--", "gone"]).ok();
    assert!(mesh.bytes("n0", &["get", "--", "gone", "-"]) == gone);
    mesh.run("n0", &["remove", "--", "gone"]).ok();
    // Within 30 days nothing is given up unless it is forced.
    let early = mesh.run("n0", &["versions", "--purge", "--json", "--", "gone"]).ok().json();
    assert_eq!(early["versions"], 0);
    let look = mesh.run("n0", &["cleanup", "--force", "--dry-run", "--json"]).ok().json();
    assert_eq!(look["deleted"]["versions"], 2);
    let purged = mesh.run("n0", &["versions", "--purge", "--force", "--json", "--", "gone"]);
    let purged = purged.ok().json();
    assert_eq!(purged["versions"], 2);
    let segments = purged["unreferenced"].as_u64().unwrap();
    assert_eq!(look["deleted"]["unreferenced"], segments);
    assert!(segments >= 6);
    assert_eq!(purged["released"]["shards"], 6 * segments);
    assert_eq!(purged["released"]["unanswered"], 0);

    // Each node collects when its own time comes.
    let end = Instant::now() + PATIENCE;
    let returned = |node: usize| {
        let stats = mesh.run(&format!("n{node}"), &["stats", "--json"]).ok().json();
        stats["store"]["returned_bytes"].as_u64().unwrap() > 0
    };
    while packed(&mesh) > full - gone.len() as u64 || !(0..NODES).all(returned) {
        assert!(Instant::now() < end, "{} of {full} bytes are left", packed(&mesh));
        std::thread::sleep(Duration::from_millis(200));
    }
    let stats = mesh.run("n1", &["stats", "--json"]).ok().json();
    assert_eq!(stats["store"]["removed"], segments);
    assert_eq!(stats["store"]["trash"], 0);
    assert!(mesh.bytes("n0", &["get", "--", "kept", "-"]) == kept);
    mesh.run("n0", &["get", "--version", "1", "--", "gone", "-"]).code(3);
    mesh.run("n0", &["versions", "--undelete", "--", "gone"]).code(3);

    // After a restart it is the same.
    for node in 0..NODES {
        mesh.kill(node);
        mesh.start(node, &[]);
    }
    mesh.members(NODES);
    assert!(mesh.bytes("n0", &["get", "--", "kept", "-"]) == kept);
    assert!(packed(&mesh) <= full - gone.len() as u64);
}
