//! The demonstration does what it says.

use datamesh_testkit::fixtures::{TreeShape, tree_of};

use crate::mesh::program;

#[test]
fn the_demo_loses_two_nodes_and_no_file_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (files, temporary) = (folder.path().join("files"), folder.path().join("tmp"));
    std::fs::create_dir_all(&temporary).unwrap();
    std::fs::create_dir_all(&files).unwrap();
    tree_of(1, &files, TreeShape { bytes: 6 << 20, small_files: 50 }).unwrap();
    let output = program()
        .args(["demo", "--json", "--path"])
        .arg(&files)
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["different"].as_array().unwrap().len(), 0, "{report}");
    assert_eq!(report["identical"], report["files"]);
    assert!(report["files"].as_u64().unwrap() > 50);
    assert_eq!(report["killed"].as_array().unwrap().len(), 2);
    assert_eq!(report["scheme"], "4+2");
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
