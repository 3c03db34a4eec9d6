//! Names, patterns and tags of what is picked.

use std::fs;
use std::path::Path;

use datamesh_api::ErrorKind;

use crate::local::{PickOptions, Picked, TagPattern, pick};

fn tree(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, name).unwrap();
    }
    folder
}

fn picked(at: &Path, pattern: &str, options: &PickOptions) -> Picked {
    let pattern = at.join(pattern).to_str().unwrap().to_owned();
    pick(&[pattern], options).unwrap()
}

fn names(picked: &Picked) -> Vec<&str> {
    picked.files.iter().map(|file| file.path.as_str()).collect()
}

#[test]
fn names_begin_at_the_last_folder_without_a_wildcard_or_at_the_base() {
    let folder = tree(&["a/one.txt", "a/two.rs", "a/b/three.txt", "a/b/c/four.txt", ".five.txt"]);
    let (at, plain) = (folder.path(), PickOptions::default());
    assert_eq!(names(&picked(at, "a/*.txt", &plain)), ["one.txt"]);
    assert_eq!(
        names(&picked(at, "a/**/*.txt", &plain)),
        ["b/c/four.txt", "b/three.txt", "one.txt"]
    );
    assert_eq!(names(&picked(at, "a/*/*.txt", &plain)), ["b/three.txt"]);
    assert_eq!(names(&picked(at, "*/{one,two}.*", &plain)), ["a/one.txt", "a/two.rs"]);
    assert_eq!(names(&picked(at, "a/one.txt", &plain)), ["one.txt"]);
    assert_eq!(names(&picked(at, "a", &plain)), ["a/one.txt", "a/two.rs"]);
    assert_eq!(names(&picked(at, "*", &plain)), [".five.txt"]);

    let deep = PickOptions { recursive: true, ..PickOptions::default() };
    assert_eq!(names(&picked(at, "a/b", &deep)), ["b/c/four.txt", "b/three.txt"]);
    assert_eq!(names(&picked(at, "a/*.rs", &deep)), ["two.rs"]);
    assert_eq!(names(&picked(at, "a/*.txt", &deep)).len(), 3);

    let base = PickOptions { base: Some(at.to_owned()), into: Some(super::path("in")), ..deep };
    assert_eq!(names(&picked(at, "a/b/*", &base)), ["in/a/b/c/four.txt", "in/a/b/three.txt"]);
    let other = tree(&["x"]);
    let beside = picked(other.path(), "x", &base);
    assert!(beside.files.is_empty());
    assert!(beside.failed[0].reason.starts_with("it does not lie below"), "{beside:?}");
}

#[test]
fn two_files_never_get_one_name_and_one_file_never_counts_twice() {
    let folder = tree(&["a/x", "b/x"]);
    let pattern = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let refused = pick(&[pattern("a/x"), pattern("b/x")], &PickOptions::default());
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Usage);
    let twice = pick(&[pattern("a/x"), pattern("a/*"), pattern("a/x")], &PickOptions::default());
    assert_eq!(names(&twice.unwrap()), ["x"]);
    let both = PickOptions { base: Some(folder.path().to_owned()), ..PickOptions::default() };
    let both = pick(&[pattern("a/x"), pattern("b/x")], &both).unwrap();
    assert_eq!(names(&both), ["a/x", "b/x"]);
}

#[test]
fn what_cannot_be_picked_is_listed_and_links_are_not_followed() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tree(&["a/x", "outside/secret"]);
    let at = folder.path();
    std::os::unix::fs::symlink(at.join("outside"), at.join("a/link")).unwrap();
    std::os::unix::fs::symlink(at.join("outside/secret"), at.join("a/file-link")).unwrap();
    fs::write(at.join("a").join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    // Not the one whose name is shown alike.
    fs::write(at.join("a/\u{fffd}"), "").unwrap();
    let deep = PickOptions { recursive: true, ..PickOptions::default() };
    let found = picked(at, "a", &deep);
    assert_eq!(names(&found), ["a/x", "a/\u{fffd}"]);
    assert_eq!(found.failed.len(), 3, "{:?}", found.failed);
    assert!(found.failed.iter().any(|failure| failure.reason == "its name is not Unicode"));
    assert!(picked(at, "a/x*", &deep).failed.is_empty());
    // A link that somebody writes out is meant.
    assert_eq!(names(&picked(at, "a/file-link", &deep)), ["secret"]);
    assert_eq!(picked(at, "a/none", &deep).failed.len(), 1);
    assert_eq!(picked(at, "none/*", &deep).failed.len(), 1);
    assert_eq!(picked(at, "a/*.none", &deep).failed[0].reason, "no file fits");
    let wrong = pick(&[at.join("a/[z-a]").to_str().unwrap().to_owned()], &deep);
    assert_eq!(wrong.unwrap_err().kind, ErrorKind::Usage);
}

#[test]
fn tags_are_made_of_name_folder_and_time() {
    let tag = |pattern: &str, path: &str, at: u64| {
        pattern.parse::<TagPattern>().unwrap().tag(&super::path(path), at)
    };
    let at = 1_780_000_000_000;
    assert_eq!(tag("{ext}-{name}", "a/Report.PDF", at).unwrap(), "pdf-Report");
    assert_eq!(tag("{year}-{month}-{day}", "x", at).unwrap(), "2026-05-28");
    assert_eq!(tag("in {dir}", "a/b/c.txt", at).unwrap(), "in b");
    assert_eq!(tag("plain", "x", 0).unwrap(), "plain");
    for (pattern, path, at) in [("{ext}", "Makefile", at), ("{dir}", "x", at), ("{year}", "x", 0)] {
        assert_eq!(tag(pattern, path, at), None, "{pattern}");
    }
    for wrong in ["", "{", "{what}", "a{name"] {
        assert!(wrong.parse::<TagPattern>().is_err(), "{wrong:?}");
    }
}
