//! Files are pinned, listed as that, kept by purges, and pinned no longer.

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;

use crate::PROGRAM;

fn json(mesh: &Mesh, arguments: &[&str]) -> serde_json::Value {
    mesh.run("n0", &[&["--json"], arguments].concat()).ok().json()
}

#[test]
fn a_file_is_pinned_kept_and_unpinned() {
    let mut mesh = Mesh::of(PROGRAM, 7);
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("thesis.pdf");
    for number in 0..3 {
        std::fs::write(&file, noise(number, 60_000)).unwrap();
        mesh.run("n0", &["put", file.to_str().unwrap()]).ok();
    }
    mesh.run("n0", &["pin"]).ok();
    assert_eq!(json(&mesh, &["pin"]), serde_json::json!([]));
    assert!(json(&mesh, &["info", "thesis.pdf"])["pin"].is_null());

    let pinned = json(&mesh, &["pin", "*.pdf", "--priority", "8", "--duration", "30d"]);
    assert_eq!(pinned["files"][0]["path"], "thesis.pdf");
    assert_eq!((&pinned["pending"], &pinned["unread"]), (&0.into(), &0.into()));
    assert!(pinned["segments"].as_u64().unwrap() > 0);
    assert_eq!(pinned["told"], pinned["segments"]);
    let listed = json(&mesh, &["pin"]);
    assert_eq!((&listed[0]["priority"], &listed[0]["deleted"]), (&8.into(), &false.into()));
    assert!(listed[0]["until"].as_str().unwrap().ends_with('Z'), "{listed}");
    assert_eq!(json(&mesh, &["info", "thesis.pdf"])["pin"]["priority"], 8);
    let shown = mesh.run("n0", &["info", "thesis.pdf"]).ok().out;
    assert!(shown.contains("priority 8"), "{shown}");
    let csv = mesh.run("n0", &["--format", "csv", "pin"]).ok().out;
    assert!(csv.lines().count() == 2 && csv.contains("thesis.pdf"), "{csv}");

    let purge = ["versions", "--purge", "--keep", "1", "thesis.pdf"];
    let kept = json(&mesh, &purge);
    assert_eq!((&kept["versions"], &kept["pinned"]), (&0.into(), &2.into()));
    let told = mesh.run("n0", &purge).ok();
    assert!(told.err.contains("pinned"), "{}", told.err);

    // The same in a console and without a service.
    let typed = b"--json pin\nunpin thesis.pdf\npin thesis.pdf --priority 3\n";
    let console = mesh.pipe("n0", &["interactive"], typed).ok().out;
    assert!(console.contains("\"priority\":8"), "{console}");
    assert!(console.contains("unpinned thesis.pdf"), "{console}");
    mesh.kill(0);
    assert_eq!(json(&mesh, &["pin"])[0]["priority"], 3);
    let unpinned = json(&mesh, &["unpin", "thesis.pdf"]);
    assert_eq!(unpinned["files"][0]["unchanged"], false);
    assert_eq!(json(&mesh, &["unpin", "thesis.pdf"])["files"][0]["unchanged"], true);
    assert_eq!(json(&mesh, &purge)["versions"], 2);

    mesh.run("n0", &["pin", "absent.pdf"]).code(3);
    mesh.run("n0", &["pin", "thesis.pdf", "--priority", "11"]).code(2);
    mesh.run("n0", &["pin", "thesis.pdf", "--priority", "0"]).code(2);
    mesh.run("n0", &["pin", "thesis.pdf", "--duration", "0s"]).code(2);
    mesh.run("n0", &["pin", "thesis.pdf", "--duration", "101years"]).code(2);
    mesh.run("n0", &["pin", "thesis.pdf", "--duration", "soon"]).code(2);
    mesh.run("n0", &["unpin"]).code(2);
    mesh.run("n0", &["pin", "[z-a]"]).code(2);
}
