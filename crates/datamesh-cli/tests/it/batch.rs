//! Many files at once: stored by patterns with tags of their own, fetched by patterns.

use std::fs;

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::Mesh;
use serde_json::Value;

use crate::PROGRAM;

fn paths(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect()
}

#[test]
fn files_are_stored_and_fetched_by_patterns() {
    let mesh = Mesh::of(PROGRAM, 6);
    let work = tempfile::tempdir().unwrap();
    let (source, back) = (work.path().join("source"), work.path().join("back"));
    for (name, length) in
        [("a/one.jpg", 70_000), ("a/b/two.jpg", 300), ("a/b/three.txt", 20_000), ("one.jpg", 9)]
    {
        let file = source.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, noise(length as u64, length)).unwrap();
    }
    std::os::unix::fs::symlink("one.jpg", source.join("link.jpg")).unwrap();
    let shown = |name: &str| source.join(name).to_str().unwrap().to_owned();
    let json = |arguments: &[&str]| mesh.run("n0", &[&["--json"], arguments].concat()).ok().json();

    // Two files of one name: nothing is stored.
    mesh.run("n0", &["batch-put", &shown("a/one.jpg"), &shown("one.jpg")]).code(2);
    let plan = json(&["batch-put", "-r", "--dry-run", "--tag-pattern", "{ext},{dir}", &shown("a")]);
    assert_eq!(paths(&plan["files"]), ["a/b/three.txt", "a/b/two.jpg", "a/one.jpg"]);
    assert_eq!(plan["files"][0]["tags"], serde_json::json!(["txt", "b"]));
    assert!(json(&["list"])["entries"].as_array().unwrap().is_empty());

    let base = source.to_str().unwrap();
    let pattern = shown("**/*.jpg");
    let arguments = [
        "--json",
        "batch-put",
        &pattern,
        "--base-dir",
        base,
        "--into",
        "photos",
        "--tags",
        "all",
        "--tag-pattern",
        "{ext},of {dir}",
        "--parallel",
        "2",
    ];
    // The link is listed, the files are stored.
    let stored = mesh.run("n0", &arguments).code(4).json();
    assert_eq!(stored["stored"].as_array().unwrap().len(), 3);
    assert_eq!(stored["failed"].as_array().unwrap().len(), 1);
    json(&["batch-put", &shown("a/b/*.txt")]);
    let tags = |name: &str| json(&["info", name])["version"]["tags"].clone();
    assert_eq!(tags("photos/a/b/two.jpg"), serde_json::json!(["all", "jpg", "of b"]));
    assert_eq!(tags("photos/one.jpg"), serde_json::json!(["all", "jpg", "of photos"]));
    assert_eq!(tags("three.txt"), serde_json::json!([]));
    mesh.run("n0", &["batch-put", &shown("none*")]).code(3);
    mesh.run("n0", &["batch-put", "--tag-pattern", "{size}", &shown("a")]).code(2);
    mesh.run("n0", &["batch-put", &shown("[z-a]")]).code(2);

    let to = |name: &str| back.join(name).to_str().unwrap().to_owned();
    let same = |fetched: &str, original: &str| {
        assert_eq!(fs::read(back.join(fetched)).unwrap(), fs::read(source.join(original)).unwrap());
    };
    let plan = ["batch-get", "--dry-run", "photos/**/*.jpg", "three.txt", &to("none")];
    let flat = mesh.run("n0", &[&["--json"], &plan[..]].concat()).code(4).json();
    assert_eq!((paths(&flat["files"]).len(), paths(&flat["failed"])), (3, vec!["photos/one.jpg"]));
    let plan = json(&[&plan[..], &["--preserve-structure"]].concat());
    let all = ["photos/a/b/two.jpg", "photos/a/one.jpg", "photos/one.jpg", "three.txt"];
    assert_eq!(paths(&plan["files"]), all);
    assert!(!back.exists());
    let pattern = ["batch-get", "photos/**/*.jpg", "three.txt", &to("tree"), "--parallel", "1"];
    assert_eq!(json(&[&pattern[..], &["--preserve-structure"]].concat())["files"], 4);
    same("tree/photos/a/b/two.jpg", "a/b/two.jpg");
    same("tree/photos/one.jpg", "one.jpg");
    same("tree/three.txt", "a/b/three.txt");
    // In one folder the second of two equal names is left out, and a name that is not there is told.
    let flat = mesh.run("n0", &["--json", "batch-get", "photos/**", "nobody", &to("flat")]);
    let flat = flat.code(4).json();
    assert_eq!((flat["files"].as_u64(), paths(&flat["failed"]).len()), (Some(2), 2));
    let there = |name: &str| fs::metadata(back.join(name)).unwrap().len();
    let bytes = there("flat/two.jpg") + there("flat/one.jpg");
    assert_eq!(flat["bytes"].as_u64(), Some(bytes), "what is not there does not count");
    same("flat/two.jpg", "a/b/two.jpg");
    same("flat/one.jpg", "a/one.jpg");
    mesh.run("n0", &["batch-get", "nothing/**", &to("x")]).code(3);
    // A name that is a pattern too is taken for the name where there is one.
    mesh.pipe("n0", &["put", "--", "-", "odd/[q]{1}.txt"], b"odd").ok();
    assert_eq!(json(&["batch-get", "odd/[q]{1}.txt", &to("odd")])["files"], 1);
    assert_eq!(
        json(&["batch-tag", "odd/[q]{1}.txt", "--add-tags", "a"])["files"][0]["path"],
        "odd/[q]{1}.txt"
    );
    mesh.run("n0", &["batch-tag", "nobody", "--add-tags", "a"]).code(3);
    mesh.run("n0", &["batch-get", "nobody", &to("x")]).code(3);
    mesh.run("n0", &["batch-get", "photos/**"]).code(2);
    mesh.run("n0", &["batch-get", "three.txt", &to("tree/three.txt")]).code(1);
}
