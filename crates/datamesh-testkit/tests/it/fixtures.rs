//! The folders and bytes that tests put in and get back.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use datamesh_core::MeshPath;
use datamesh_testkit::fixtures::{TreeShape, noise, tree, tree_digest, tree_of};

const SMALL: TreeShape = TreeShape { bytes: 200_000, small_files: 20 };

/// All files and folders below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

#[test]
fn noise_follows_from_its_seed_and_does_not_compress() {
    assert_eq!(noise(1, 1000), noise(1, 2000)[..1000]);
    assert_ne!(noise(1, 1000), noise(2, 1000));
    let mut counts = [0_u32; 256];
    for byte in noise(3, 1 << 20) {
        counts[usize::from(byte)] += 1;
    }
    assert!(counts.iter().all(|count| (3800..4400).contains(count)), "{counts:?}");
}

#[test]
fn a_tree_has_its_size_and_its_nasty_places() {
    let folder = tempfile::tempdir().unwrap();
    tree(7, folder.path()).unwrap();
    let paths = walk(folder.path());
    let about = |path: &PathBuf| fs::metadata(path).unwrap();
    let files: Vec<_> = paths.iter().filter(|path| about(path).is_file()).collect();
    assert_eq!(files.iter().map(|path| about(path).len()).sum::<u64>(), 32 << 20);
    for size in [
        0, 1, 4095, 4096, 4097, 65_519, 65_520, 65_521, 65_535, 65_536, 65_537, 4_193_279,
        4_193_280, 4_193_281, 4_194_303, 4_194_304, 4_194_305,
    ] {
        let path = folder.path().join("sizes").join(size.to_string());
        assert_eq!(about(&path).len(), size);
    }
    let names = |wanted: &dyn Fn(&str) -> bool| {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        paths.iter().map(name).filter(|name| wanted(name)).count()
    };
    assert!(names(&|name| name.len() == 255) >= 1);
    for part in [" ", "\n", "'", "\"", "\\", "\u{e9}", "e\u{301}"] {
        assert!(names(&|name| name.contains(part)) >= 1, "{part:?}");
    }
    assert!(names(&|name| name.starts_with('-')) >= 1);
    assert!(names(&|name| name.starts_with("small ")) == 500);
    let depth = paths.iter().map(|path| path.components().count()).max().unwrap();
    assert!(depth - folder.path().components().count() > 200);
    let is_empty = |path: &&PathBuf| fs::read_dir(path).unwrap().next().is_none();
    assert!(paths.iter().filter(|path| path.is_dir()).filter(is_empty).count() >= 3);
    let executable = files.iter().filter(|path| about(path).permissions().mode() & 0o100 != 0);
    assert!((1..files.len()).contains(&executable.count()));
    for path in &paths {
        let relative = path.strip_prefix(folder.path()).unwrap().to_str().unwrap();
        assert!(relative.parse::<MeshPath>().is_ok(), "{relative:?} is no path of ours");
    }
}

#[test]
fn a_small_tree_is_small() {
    let folder = tempfile::tempdir().unwrap();
    tree_of(1, folder.path(), SMALL).unwrap();
    let lengths = walk(folder.path()).into_iter().filter_map(|path| {
        let about = fs::metadata(path).unwrap();
        about.is_file().then_some(about.len())
    });
    assert_eq!(lengths.sum::<u64>(), SMALL.bytes);
}

#[test]
fn a_tree_follows_from_its_seed() {
    let digest = |seed| {
        let folder = tempfile::tempdir().unwrap();
        tree_of(seed, folder.path(), SMALL).unwrap();
        tree_digest(folder.path()).unwrap()
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn a_digest_sees_every_change_that_counts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let digest = || tree_digest(folder.path()).unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/file"), "content").unwrap();
    fs::write(at("other"), "").unwrap();
    let mut seen = vec![digest()];
    let mut changed = |what: &str| {
        let digest = digest();
        assert!(!seen.contains(&digest), "{what} was not seen");
        seen.push(digest);
    };
    fs::write(at("folder/file"), "contend").unwrap();
    changed("a content");
    fs::write(at("folder/file"), "contend\0").unwrap();
    changed("a length");
    fs::rename(at("folder/file"), at("folder/File")).unwrap();
    changed("a name");
    fs::rename(at("folder/File"), at("File")).unwrap();
    changed("a place");
    fs::set_permissions(at("other"), fs::Permissions::from_mode(0o755)).unwrap();
    changed("the executable bit");
    fs::remove_file(at("other")).unwrap();
    changed("a removal");
    fs::create_dir(at("other")).unwrap();
    changed("a kind");
    fs::remove_dir(at("other")).unwrap();
    symlink("File", at("other")).unwrap();
    changed("a link");
    fs::remove_file(at("other")).unwrap();
    symlink("Fine", at("other")).unwrap();
    changed("a target");
}

#[test]
fn a_digest_does_not_see_order_times_and_other_modes() {
    let digest = |names: [&str; 3], mode| {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), name).unwrap();
            let path = folder.path().join(name);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        tree_digest(folder.path()).unwrap()
    };
    assert_eq!(digest(["a", "b", "c"], 0o644), digest(["c", "a", "b"], 0o600));
}
