//! What a sink leaves on the disk, and what it never leaves.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use datamesh_api::ErrorKind;
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{EntryHead, LARGE_BYTES_MIN, Sink};

use super::path;
use crate::local::{LocalSink, Target, Written};

fn head(name: &str, size: Option<u64>) -> EntryHead {
    EntryHead {
        path: path(name),
        kind: EntryKind::File,
        mode: 0o640,
        modified: 1_600_000_000_123,
        tags: Vec::new(),
        size,
        source: None,
        hash: None,
    }
}

fn empty_folder(name: &str) -> EntryHead {
    EntryHead { kind: EntryKind::Folder, mode: 0o750, size: Some(0), ..head(name, None) }
}

async fn whole(sink: &mut LocalSink, name: &str, bytes: &'static [u8]) {
    sink.begin(head(name, Some(bytes.len() as u64))).await.unwrap();
    for piece in bytes.chunks(3) {
        sink.write(Bytes::from_static(piece)).await.unwrap();
    }
    sink.end(None).await.unwrap();
}

fn listed(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn failed(written: &Written) -> Vec<&str> {
    written.failed.iter().map(|failure| failure.path.as_str()).collect()
}

/// A folder with a destination in it and something beside it that must not be touched.
fn places() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (dest, outside) = (folder.path().join("dest"), folder.path().join("outside"));
    fs::create_dir(&dest).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), b"precious").unwrap();
    (folder, dest, outside)
}

#[tokio::test]
async fn a_file_appears_whole_with_its_bits_and_time() {
    let (_folder, dest, _) = places();
    let file = dest.join("file");
    let mut sink = LocalSink::open(Target::Path(file.clone())).unwrap();
    let set_id = EntryHead { mode: 0o6755, ..head("any/name", Some(10)) };
    sink.begin(set_id).await.unwrap();
    sink.write(Bytes::from_static(b"01234")).await.unwrap();
    sink.write(Bytes::from_static(b"56789")).await.unwrap();
    assert!(!file.exists(), "not before it is whole");
    sink.end(None).await.unwrap();
    assert!(sink.finish().await.unwrap().failed.is_empty());
    assert_eq!(fs::read(&file).unwrap(), b"0123456789");
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o755, "no set-id bits");
    assert_eq!(metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000, 1_600_000_000_123);
    assert_eq!(listed(&dest), ["file"]);
}

#[tokio::test]
async fn a_failed_entry_leaves_what_was_there() {
    let (_folder, dest, _) = places();
    let file = dest.join("file");
    fs::write(&file, b"old").unwrap();
    let mut sink = LocalSink::open(Target::Path(file.clone())).unwrap();
    sink.begin(head("file", Some(10))).await.unwrap();
    sink.write(Bytes::from_static(b"01234")).await.unwrap();
    sink.end(Some("a bad segment".to_owned())).await.unwrap();
    sink.finish().await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"old");
    assert_eq!(listed(&dest), ["file"], "nothing half-written");

    // Fewer bytes than announced, although the end is said to be good.
    let mut sink = LocalSink::open(Target::Path(file.clone())).unwrap();
    sink.begin(head("file", Some(10))).await.unwrap();
    sink.write(Bytes::from_static(b"01234")).await.unwrap();
    sink.end(None).await.unwrap();
    assert_eq!(failed(&sink.finish().await.unwrap()), ["file"]);
    assert_eq!(fs::read(&file).unwrap(), b"old");
    assert_eq!(listed(&dest), ["file"]);
}

#[tokio::test]
async fn a_sink_that_is_given_up_removes_what_it_began() {
    let (_folder, dest, _) = places();
    let mut sink = LocalSink::open(Target::Tree(dest.clone())).unwrap();
    sink.begin(head("a/file", None)).await.unwrap();
    for _ in 0..100 {
        sink.write(Bytes::from(vec![1; 100_000])).await.unwrap();
    }
    drop(sink);
    assert!(listed(&dest.join("a")).is_empty());
}

#[tokio::test]
async fn a_file_is_replaced_and_its_link_stays() {
    let (_folder, dest, outside) = places();
    symlink(outside.join("precious"), dest.join("named")).unwrap();
    let mut sink = LocalSink::open(Target::Path(dest.join("named"))).unwrap();
    whole(&mut sink, "x", b"through the name that the user gave").await;
    sink.finish().await.unwrap();
    assert!(fs::symlink_metadata(dest.join("named")).unwrap().is_symlink());
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"through the name that the user gave");
}

#[tokio::test]
async fn into_a_folder_goes_the_last_part_of_the_name() {
    let (_folder, dest, _) = places();
    let mut sink = LocalSink::open(Target::Path(dest.clone())).unwrap();
    whole(&mut sink, "far/away/report.pdf", b"pdf").await;
    sink.finish().await.unwrap();
    assert_eq!(listed(&dest), ["report.pdf"]);
}

#[tokio::test]
async fn a_tree_never_leaves_its_folder_through_links() {
    let (_folder, dest, outside) = places();
    symlink(&outside, dest.join("out")).unwrap();
    symlink(outside.join("precious"), dest.join("file")).unwrap();
    fs::create_dir(dest.join("in")).unwrap();
    symlink("../../outside", dest.join("in/deep")).unwrap();
    symlink(&outside, dest.join("empty")).unwrap();
    let mut sink = LocalSink::open(Target::Tree(dest.clone())).unwrap();
    whole(&mut sink, "out/precious", b"stolen").await;
    whole(&mut sink, "in/deep/precious", b"stolen").await;
    sink.begin(empty_folder("empty")).await.unwrap();
    sink.end(None).await.unwrap();
    // A link in the place of a file is replaced itself.
    whole(&mut sink, "file", b"fresh").await;
    whole(&mut sink, "in/well", b"well").await;
    let written = sink.finish().await.unwrap();
    assert_eq!(failed(&written), ["out/precious", "in/deep/precious", "empty"]);
    assert!(written.failed.iter().all(|failure| failure.reason.contains("symbolic link")));
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
    assert_eq!(listed(&outside), ["precious"]);
    assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(!fs::symlink_metadata(dest.join("file")).unwrap().is_symlink());
    assert_eq!(fs::read(dest.join("file")).unwrap(), b"fresh");
    assert_eq!(fs::read(dest.join("in/well")).unwrap(), b"well");
}

#[tokio::test]
async fn names_that_clash_fail_alone() {
    let (_folder, dest, _) = places();
    fs::create_dir(dest.join("folder")).unwrap();
    fs::write(dest.join("plain"), b"plain").unwrap();
    let mut sink = LocalSink::open(Target::Tree(dest.clone())).unwrap();
    whole(&mut sink, "folder", b"file over folder").await;
    whole(&mut sink, "plain/below", b"folder over file").await;
    sink.begin(empty_folder("plain")).await.unwrap();
    sink.end(None).await.unwrap();
    whole(&mut sink, "good/one", b"good").await;
    sink.begin(empty_folder("hollow")).await.unwrap();
    sink.end(None).await.unwrap();
    let written = sink.finish().await.unwrap();
    assert_eq!(failed(&written), ["folder", "plain/below", "plain"]);
    assert_eq!(listed(&dest), ["folder", "good", "hollow", "plain"]);
    assert_eq!(fs::read(dest.join("plain")).unwrap(), b"plain");
    assert_eq!(fs::metadata(dest.join("hollow")).unwrap().permissions().mode() & 0o777, 0o750);
}

#[tokio::test]
async fn names_of_every_length_have_room_for_a_temporary_one() {
    let (_folder, dest, _) = places();
    let mut sink = LocalSink::open(Target::Tree(dest.clone())).unwrap();
    let names = ["x".repeat(255), "é".repeat(127), "漢".repeat(85), "🦀".repeat(63)];
    for name in &names {
        whole(&mut sink, name, b"content").await;
    }
    assert!(sink.finish().await.unwrap().failed.is_empty());
    let mut expected = names.to_vec();
    expected.sort();
    assert_eq!(listed(&dest), expected);
}

#[tokio::test]
async fn a_full_device_stops_everything_with_its_reason() {
    let mut sink = LocalSink::open(Target::Path(PathBuf::from("/dev/full"))).unwrap();
    sink.begin(head("x", None)).await.unwrap();
    // The first write may be under way when the second is offered; the writer's end is seen soon.
    let mut refused = None;
    for _ in 0..1000 {
        if let Err(error) = sink.write(Bytes::from(vec![0; 100_000])).await {
            refused = Some(error);
            break;
        }
    }
    assert!(refused.unwrap().message.contains("no space left"));
    let error = sink.finish().await.unwrap_err();
    assert!(error.message.contains("no space left"), "{}", error.message);
    assert!(Path::new("/dev/full").exists(), "the device is still there");
}

#[test]
fn destinations_that_cannot_be_are_refused_before_anything_is_fetched() {
    let (_folder, dest, _) = places();
    let refused = |target: &Path| match LocalSink::open(Target::Path(target.to_owned())) {
        Ok(_) => panic!("{} was accepted", target.display()),
        Err(error) => error.kind,
    };
    assert_eq!(refused(&dest.join("not there/file")), ErrorKind::Usage);
    assert_eq!(
        refused(Path::new(&format!("{}/", dest.join("not there").display()))),
        ErrorKind::Usage
    );
    fs::write(dest.join("file"), b"x").unwrap();
    assert_eq!(refused(&dest.join("file/below")), ErrorKind::Failed);
    assert!(LocalSink::open(Target::Tree(dest.join("file"))).is_err());
}

#[tokio::test]
async fn a_large_file_is_the_same_past_the_cache_as_through_it() {
    let (_folder, dest, _) = places();
    let bytes: Vec<u8> = (0..LARGE_BYTES_MIN + 5_000_001).map(|i| (i * 31 / 7) as u8).collect();
    let bytes = Bytes::from(bytes);
    // Blocks begin at multiples of 4 MiB: ends before, at and behind one.
    for length in [LARGE_BYTES_MIN, LARGE_BYTES_MIN + 1, LARGE_BYTES_MIN + 4_999_999] {
        let file = dest.join("large");
        let mut sink = LocalSink::open(Target::Path(file.clone())).unwrap();
        sink.begin(head("large", Some(length))).await.unwrap();
        let mut rest = bytes.slice(..length as usize);
        let mut step = 1;
        while !rest.is_empty() {
            sink.write(rest.split_to(step.min(rest.len()))).await.unwrap();
            step = (step * 3) % 262_143 + 1;
        }
        sink.end(None).await.unwrap();
        assert!(sink.finish().await.unwrap().failed.is_empty());
        assert!(fs::read(&file).unwrap() == bytes[..length as usize], "{length}");
    }
    // One that ends early is no file, however much room was reserved for it.
    let mut sink = LocalSink::open(Target::Path(dest.join("short"))).unwrap();
    sink.begin(head("short", Some(LARGE_BYTES_MIN))).await.unwrap();
    sink.write(bytes.slice(..5_000_000)).await.unwrap();
    sink.end(None).await.unwrap();
    assert_eq!(failed(&sink.finish().await.unwrap()), ["short"]);
    assert_eq!(listed(&dest), ["large"]);
}

#[tokio::test]
async fn what_a_killed_get_left_goes_with_the_next_one() {
    let (_folder, dest, outside) = places();
    let left = [".x.999999-1.datamesh-part", ".x.7-12.datamesh-part"];
    let kept = [
        // Of another file, of another program, of nobody's making, and no files.
        ".y.999999-1.datamesh-part",
        ".x.999999-1.part",
        "x.999999-1.datamesh-part",
        ".x.1-1.datamesh-part",
        ".x.2-1.datamesh-part",
        ".x.3-1.datamesh-part",
    ];
    for name in left.iter().chain(&kept[..3]) {
        fs::write(dest.join(name), b"half").unwrap();
    }
    symlink(outside.join("precious"), dest.join(kept[3])).unwrap();
    fs::create_dir(dest.join(kept[4])).unwrap();
    // Somebody is writing this one.
    let written = fs::File::create(dest.join(kept[5])).unwrap();
    rustix::fs::flock(&written, rustix::fs::FlockOperation::LockExclusive).unwrap();

    for (target, name) in [
        (Target::Path(dest.join("x")), "anything"),
        (Target::Path(dest.clone()), "far/x"),
        (Target::Tree(dest.clone()), "x"),
    ] {
        for name in left {
            fs::write(dest.join(name), b"half").unwrap();
        }
        let mut sink = LocalSink::open(target).unwrap();
        whole(&mut sink, name, b"whole").await;
        assert!(sink.finish().await.unwrap().failed.is_empty());
        let mut expected: Vec<&str> = kept.to_vec();
        expected.push("x");
        expected.sort_unstable();
        assert_eq!(listed(&dest), expected);
    }
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
    // Its writer is gone now, however that happened.
    drop(written);
    let mut sink = LocalSink::open(Target::Path(dest.join("x"))).unwrap();
    whole(&mut sink, "x", b"whole").await;
    sink.finish().await.unwrap();
    assert!(!dest.join(kept[5]).exists());
}
