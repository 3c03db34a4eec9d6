//! What is stored takes no more room than it must: content that shrinks, and content that is there
//! already.

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;

use crate::PROGRAM;

const NODES: usize = 6;

/// Bytes of shards on all nodes, as the nodes say.
fn stored(mesh: &Mesh) -> u64 {
    let bytes = |node: usize| {
        let stats = mesh.run(&format!("n{node}"), &["stats", "--json"]).ok().json();
        stats["store"]["used"].as_u64().unwrap()
    };
    (0..NODES).map(bytes).sum()
}

#[test]
fn content_that_shrinks_or_is_there_already_takes_little_room() {
    let mesh = Mesh::of(PROGRAM, NODES);
    let log: Vec<u8> =
        (0..400_000).flat_map(|n: u32| format!("{n} is well\n").into_bytes()).collect();
    let photo = noise(1, 9_000_000);
    let empty = stored(&mesh);
    mesh.pipe("n0", &["put", "--", "-", "log"], &log).ok();
    let shrunk = stored(&mesh) - empty;
    assert!(shrunk < log.len() as u64, "{shrunk} bytes for {} in 4+2", log.len());
    assert!(mesh.bytes("n0", &["get", "--", "log", "-"]) == log);
    let range = mesh.bytes("n0", &["get", "--range", "4200000-4300000", "--", "log", "-"]);
    assert!(range == log[4_200_000..4_300_000]);

    mesh.run("n0", &["config", "set", "storage.compression", "off"]).ok();
    mesh.run("n0", &["config", "set", "storage.compression", "most"]).code(2);
    let first = mesh.pipe("n0", &["put", "--json", "--", "-", "photo"], &photo).ok().json();
    assert_eq!(first["known_bytes"], 0);
    let before = stored(&mesh);
    let again = mesh.pipe("n0", &["put", "--json", "--", "-", "copy"], &photo).ok().json();
    assert_eq!(again["known_bytes"], photo.len());
    assert_eq!(again["stored"][0]["known_bytes"], photo.len());
    assert!(stored(&mesh) - before < 100_000, "{} bytes more", stored(&mesh) - before);
    let info = mesh.run("n0", &["info", "--json", "--", "copy"]).ok().json();
    assert_eq!(info["known_bytes"], photo.len());
    // The first goes and the copy stays.
    mesh.run("n0", &["remove", "--", "photo"]).ok();
    let cleaned = mesh.run("n0", &["cleanup", "--force", "--json"]).ok().json();
    assert_eq!(cleaned["deleted"]["versions"], 1);
    assert_eq!(cleaned["deleted"]["unreferenced"], 0);
    assert!(mesh.bytes("n0", &["get", "--", "copy", "-"]) == photo);
}
