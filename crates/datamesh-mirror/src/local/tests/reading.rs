//! What a source makes of the files that it is pointed at.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use datamesh_api::ErrorKind;
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{EntryHead, PIECE_BYTES_MAX, Piece, Source};

use super::path;
use crate::local::{LocalSource, QUEUE_ITEMS};

/// An entry as it was read: its bytes, or why they broke off.
struct Read {
    head: EntryHead,
    content: Result<Vec<u8>, String>,
}

async fn entry(source: &mut LocalSource) -> Option<Read> {
    let head = source.next_entry().await.unwrap()?;
    let mut bytes = Vec::new();
    loop {
        match source.next_piece().await.unwrap() {
            Piece::Bytes(piece) => {
                assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES_MAX);
                bytes.extend_from_slice(&piece);
            }
            Piece::End => return Some(Read { head, content: Ok(bytes) }),
            Piece::Broken(reason) => return Some(Read { head, content: Err(reason) }),
        }
    }
}

async fn all(source: &mut LocalSource) -> Vec<Read> {
    let mut entries = Vec::new();
    while let Some(read) = entry(source).await {
        entries.push(read);
    }
    entries
}

fn names(entries: &[Read]) -> Vec<&str> {
    entries.iter().map(|read| read.head.path.as_str()).collect()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 + at % 251) as u8).collect()
}

#[tokio::test]
async fn a_file_comes_whole_with_what_tells_it_from_others() {
    let folder = tempfile::tempdir().unwrap();
    for length in [0, 1, PIECE_BYTES_MAX - 1, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 5_000_000] {
        let file = folder.path().join(format!("file {length}"));
        fs::write(&file, pattern(length)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let mut source = LocalSource::file(&file, path("kept/as")).unwrap();
        let entries = all(&mut source).await;
        let [read] = entries.as_slice() else { panic!("one entry") };
        assert_eq!(read.head.path, path("kept/as"));
        assert!(read.content.as_ref().unwrap() == &pattern(length), "{length}");
        if length == 0 {
            // It may be a file of the kernel, whose size says nothing.
            assert_eq!((read.head.size, &read.head.source), (None, &None));
            continue;
        }
        let metadata = fs::metadata(&file).unwrap();
        let identity = read.head.source.as_ref().unwrap();
        assert_eq!(read.head.size, Some(length as u64));
        assert_eq!(read.head.mode, 0o640);
        assert_eq!(read.head.modified / 1000, metadata.mtime() as u64);
        assert_eq!(identity.name, file.canonicalize().unwrap().to_str().unwrap());
        assert_eq!(identity.size, length as u64);
        assert_eq!(identity.identity[1], metadata.ino());
    }
}

#[tokio::test]
async fn files_of_the_kernel_that_claim_to_be_empty_are_read() {
    let mut source = LocalSource::file(Path::new("/proc/self/status"), path("status")).unwrap();
    let entries = all(&mut source).await;
    assert!(entries[0].content.as_ref().unwrap().starts_with(b"Name:"));
}

#[tokio::test]
async fn a_tree_comes_in_the_order_of_names_with_its_empty_folders() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    for made in ["b", "b/deep/er", "empty", "empty too/inside"] {
        fs::create_dir_all(root.join(made)).unwrap();
    }
    for file in ["a", "b/2", "b/10", "b/deep/er/x", "-rf", " ", "line\nbreak", "é"] {
        fs::write(root.join(file), file).unwrap();
    }
    let mut source = LocalSource::tree(&root, Some(path("to"))).unwrap();
    let entries = all(&mut source).await;
    let expected = [
        "to/ ",
        "to/-rf",
        "to/a",
        "to/b/10",
        "to/b/2",
        "to/b/deep/er/x",
        "to/empty",
        "to/empty too/inside",
        "to/line\nbreak",
        "to/é",
    ];
    assert_eq!(names(&entries), expected);
    for read in &entries {
        let folder = read.head.path.as_str().starts_with("to/empty");
        assert_eq!(read.head.kind == EntryKind::Folder, folder);
        if !folder {
            let own = read.head.path.as_str().strip_prefix("to/").unwrap();
            assert_eq!(read.content.as_ref().unwrap(), own.as_bytes());
        }
    }
    assert!(source.problems().is_empty());

    let mut source = LocalSource::tree(&root.join("b"), None).unwrap();
    assert_eq!(names(&all(&mut source).await), ["10", "2", "deep/er/x"]);
    let mut source = LocalSource::tree(&root.join("empty"), Some(path("e"))).unwrap();
    assert_eq!(names(&all(&mut source).await), ["e"]);
    let mut source = LocalSource::tree(&root.join("empty"), None).unwrap();
    assert!(all(&mut source).await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_stored_is_listed_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("a"), "a").unwrap();
    fs::write(root.join("z"), "z").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"not \xff unicode")), "x").unwrap();
    fs::create_dir(root.join(OsStr::from_bytes(b"nor \xfe this"))).unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    symlink(root, root.join("loop")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let fifo = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), rustix::fs::FileType::Fifo, fifo, 0)
        .unwrap();
    fs::create_dir(root.join("only")).unwrap();
    symlink("../a", root.join("only/link")).unwrap();

    let mut source = LocalSource::tree(root, None).unwrap();
    let entries = all(&mut source).await;
    // A folder with nothing but links in it is kept as an empty one.
    assert_eq!(names(&entries), ["a", "only", "z"]);
    let problems = source.problems();
    let listed: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    let expected = [
        "dangling",
        "link",
        "loop",
        "nor \u{fffd} this",
        "not \u{fffd} unicode",
        "only/link",
        "pipe",
        "socket",
    ];
    assert_eq!(listed, expected);
    assert!(problems.iter().all(|problem| !problem.reason.is_empty()));
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_never_ends_well() {
    let changes: [fn(&Path); 3] = [
        |file| fs::write(file, b"shorter").unwrap(),
        |file| {
            let mut longer = fs::OpenOptions::new().append(true).open(file).unwrap();
            std::io::Write::write_all(&mut longer, b"more").unwrap();
        },
        |file| {
            // The same length, other bytes.
            let bytes = vec![9; fs::metadata(file).unwrap().len() as usize];
            fs::write(file, bytes).unwrap();
        },
    ];
    for change in changes {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        // So long that the reader has to wait for us before it has read all.
        fs::write(&file, pattern((QUEUE_ITEMS + 8) * PIECE_BYTES_MAX)).unwrap();
        fs::write(folder.path().join("next"), b"next").unwrap();
        let mut source = LocalSource::tree(folder.path(), None).unwrap();
        let head = source.next_entry().await.unwrap().unwrap();
        assert_eq!(head.path, path("file"));
        assert!(matches!(source.next_piece().await.unwrap(), Piece::Bytes(_)));
        change(&file);
        let reason = loop {
            match source.next_piece().await.unwrap() {
                Piece::Bytes(_) => {}
                Piece::End => panic!("it ended well"),
                Piece::Broken(reason) => break reason,
            }
        };
        assert!(reason.contains("changed"), "{reason}");
        let entries = all(&mut source).await;
        assert_eq!(names(&entries), ["next"], "the rest goes on");
    }
}

#[tokio::test]
async fn a_file_that_vanishes_before_its_turn_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let large = pattern((QUEUE_ITEMS + 8) * PIECE_BYTES_MAX);
    fs::write(folder.path().join("a"), large).unwrap();
    fs::write(folder.path().join("b"), b"b").unwrap();
    fs::write(folder.path().join("c"), b"c").unwrap();
    let mut source = LocalSource::tree(folder.path(), None).unwrap();
    source.next_entry().await.unwrap().unwrap();
    // The reader waits in the middle of the first file.
    fs::remove_file(folder.path().join("b")).unwrap();
    while !matches!(source.next_piece().await.unwrap(), Piece::End) {}
    assert_eq!(names(&all(&mut source).await), ["c"]);
    assert_eq!(source.problems()[0].path, "b");
}

#[tokio::test]
async fn a_source_that_is_given_up_ends_its_thread() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), pattern(20_000_000)).unwrap();
    let mut source = LocalSource::tree(folder.path(), None).unwrap();
    source.next_entry().await.unwrap().unwrap();
    drop(source);
    // The thread holds the file open as long as it reads.
    let open = || {
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .any(|target| target.starts_with(folder.path()))
    };
    for _ in 0..500 {
        if !open() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the reading thread goes on");
}

#[test]
fn wrong_names_fail_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let kind = |found: Result<LocalSource, datamesh_api::OperationError>| {
        found.err().map(|error| error.kind)
    };
    let missing = folder.path().join("missing");
    assert_eq!(kind(LocalSource::file(&missing, path("x"))), Some(ErrorKind::NotFound));
    assert_eq!(kind(LocalSource::tree(&missing, None)), Some(ErrorKind::NotFound));
    assert_eq!(kind(LocalSource::file(folder.path(), path("x"))), Some(ErrorKind::Usage));
    let file = folder.path().join("file");
    fs::write(&file, b"x").unwrap();
    assert_eq!(kind(LocalSource::tree(&file, None)), Some(ErrorKind::Usage));
    assert_eq!(kind(LocalSource::file(&file.join("below"), path("x"))), Some(ErrorKind::Usage));
}
