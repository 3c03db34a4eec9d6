//! What is stored takes no more room than it must: content that shrinks, and content that is there
//! already.

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;

use crate::PROGRAM;
use crate::recover::address;

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
    assert!(stored(&mesh) - before < 1_000_000, "{} bytes more", stored(&mesh) - before);
    let info = mesh.run("n0", &["info", "--json", "--", "copy"]).ok().json();
    assert_eq!(info["known_bytes"], photo.len());
    // The first goes and the copy stays.
    mesh.run("n0", &["remove", "--", "photo"]).ok();
    let cleaned = mesh.run("n0", &["cleanup", "--force", "--json"]).ok().json();
    assert_eq!(cleaned["deleted"]["versions"], 1);
    assert_eq!(cleaned["deleted"]["unreferenced"], 0);
    assert!(mesh.bytes("n0", &["get", "--", "copy", "-"]) == photo);
}

#[test]
fn what_is_left_of_small_files_moves_together_and_files_get_another_scheme() {
    let mesh = Mesh::of(PROGRAM, NODES);
    let folder = mesh.path("many");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..40u64 {
        std::fs::write(folder.join(format!("{number:02}")), noise(number, 50_000)).unwrap();
    }
    mesh.run("n0", &["put", "-r", "--", &mesh.text(&folder), "many"]).ok();
    let gone: Vec<String> = (4..40).map(|number| format!("many/{number:02}")).collect();
    let names = gone.iter().map(String::as_str);
    let remove: Vec<&str> = ["remove", "--"].into_iter().chain(names).collect();
    mesh.run("n0", &remove).ok();
    mesh.run("n0", &["versions", "--purge", "--force", "--", "many/05"]).ok();
    let looked = ["cleanup", "--force", "--dry-run", "--duplicates", "--low-health", "--json"];
    let looked = mesh.run("n0", &looked).ok().json();
    assert_eq!(looked["deleted"]["versions"], 35);
    assert_eq!(looked["repacked"]["rewritten"]["versions"], 0);
    let done = mesh.run("n0", &["cleanup", "--force", "--duplicates", "--low-health", "--json"]);
    let done = done.ok().json();
    assert_eq!(done["repacked"]["sparse"], 1);
    assert_eq!(done["repacked"]["rewritten"]["versions"], 4);
    assert_eq!(done["repacked"]["rewritten"]["released"]["shards"], 6);
    assert_eq!(done["duplicates"]["slices"], 0);
    assert_eq!(done["low_health"]["count"], 0);
    let text = mesh.run("n0", &["cleanup", "--low-health"]).ok();
    assert!(text.out.contains("0 files that lack shards"), "{}", text.out);
    let read = |mesh: &Mesh, home: &str| {
        for number in 0..4u64 {
            let name = format!("many/{number:02}");
            assert!(mesh.bytes(home, &["get", "--", &name, "-"]) == noise(number, 50_000));
        }
    };
    read(&mesh, "n0");

    // Another scheme, as far as six domains allow one.
    mesh.run("n0", &["optimize", "--rescheme", "--scheme", "8+4"]).code(5);
    mesh.run("n0", &["optimize"]).code(2);
    mesh.run("n0", &["optimize", "--defrag", "--", "many/00"]).code(2);
    mesh.run("n0", &["optimize", "--compress", "--unread", "401"]).code(2);
    let nothing = mesh.run("n0", &["optimize", "--rescheme", "--json"]).ok().json();
    assert_eq!(nothing["rescheme"]["versions"], 0);
    let asked = ["optimize", "--rescheme", "--scheme", "1+5", "--json", "--", "many/00"];
    let coded = mesh.run("n0", &asked).ok().json();
    assert_eq!(coded["rescheme"]["rewritten"]["versions"], 1);
    let info = mesh.run("n0", &["info", "--json", "--", "many/00"]).ok().json();
    assert_eq!(info["version"]["scheme"], "1+5");
    assert_eq!(info["margin"], 5);
    let back = mesh.run("n0", &["optimize", "--rescheme"]).ok();
    assert!(back.out.contains("coded anew: 1 version"), "{}", back.out);
    read(&mesh, "n0");
    // Words alone find everything where it is now.
    let (words, peer) = (mesh.text(&mesh.path("n0.words")), address(&mesh, "n1"));
    mesh.run("back", &["recover", "--words-file", &words, "--peer", &peer]).ok();
    read(&mesh, "back");
}
