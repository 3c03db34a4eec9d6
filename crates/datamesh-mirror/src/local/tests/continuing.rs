//! What a get of a large file leaves when it breaks off, and how the next one goes on.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use datamesh_core::Hash;
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{EntryHead, LARGE_BYTES_MIN, PIECE_BYTES_MAX, Sink};
use datamesh_testkit::fixtures::noise;

use super::path;
use crate::local::{LocalSink, Target};

/// Ends in the middle of a block and of a page.
const SIZE: usize = LARGE_BYTES_MIN as usize + 5_000_001;

static BYTES: LazyLock<Bytes> = LazyLock::new(|| noise(1, SIZE).into());

fn head(bytes: &Bytes) -> EntryHead {
    EntryHead {
        path: path("large"),
        kind: EntryKind::File,
        mode: 0o640,
        modified: 1_600_000_000_123,
        tags: Vec::new(),
        size: Some(bytes.len() as u64),
        source: None,
        hash: Some(Hash(*blake3::hash(bytes).as_bytes())),
    }
}

/// The name of a part with this content.
fn part_name(bytes: &Bytes) -> String {
    format!(".large.{}.datamesh-part", &blake3::hash(bytes).to_hex()[..32])
}

fn listed(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn write(sink: &mut LocalSink, bytes: &Bytes) {
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        let piece = rest.split_to(rest.len().min(PIECE_BYTES_MAX - 1));
        sink.write(piece).await.unwrap();
    }
}

/// Writes the first `length` bytes and gives up. Returns how many the sink says that it keeps.
async fn break_off(dest: &Path, bytes: &Bytes, length: usize, reason: Option<&str>) -> u64 {
    let mut sink = LocalSink::open(Target::Path(dest.to_owned())).unwrap();
    let left = Arc::<AtomicU64>::default();
    let told = Arc::clone(&left);
    sink.left_to(move |bytes| told.store(bytes, Ordering::Relaxed));
    let held = sink.begin(head(bytes)).await.unwrap() as usize;
    write(&mut sink, &bytes.slice(held..length)).await;
    if let Some(reason) = reason {
        sink.end(Some(reason.to_owned())).await.unwrap();
        sink.finish().await.unwrap();
    } else {
        drop(sink);
    }
    left.load(Ordering::Relaxed)
}

/// Fetches the rest. Returns what was there and what the sink says failed.
async fn complete(dest: &Path, bytes: &Bytes) -> (u64, Vec<String>) {
    let mut sink = LocalSink::open(Target::Path(dest.to_owned())).unwrap();
    let held = sink.begin(head(bytes)).await.unwrap();
    write(&mut sink, &bytes.slice(held as usize..)).await;
    sink.end(None).await.unwrap();
    let written = sink.finish().await.unwrap();
    (held, written.failed.into_iter().map(|failure| failure.reason).collect())
}

fn places() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("dest");
    fs::create_dir(&dest).unwrap();
    let part = dest.join(part_name(&BYTES));
    (folder, dest, part)
}

fn assert_whole(dest: &Path, bytes: &Bytes) {
    assert_eq!(listed(dest), ["large"]);
    assert!(fs::read(dest.join("large")).unwrap() == *bytes);
    let mode = fs::metadata(dest.join("large")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
}

#[tokio::test]
async fn a_large_file_that_breaks_off_is_continued_where_it_was() {
    let broken = Some("too few shards");
    for (length, reason) in
        [(4 << 20, None), (10_000_001, broken), (SIZE - 1, broken), (SIZE, None)]
    {
        let (_folder, dest, part) = places();
        assert_eq!(break_off(&dest, &BYTES, length, reason).await, length as u64);
        assert_eq!(listed(&dest), [part_name(&BYTES)]);
        let found = fs::metadata(&part).unwrap();
        assert_eq!(found.len(), length as u64);
        let room = found.len().next_multiple_of(1 << 20);
        assert!(found.blocks() * 512 <= room, "the reserved room is given back");
        // Once more in between, with nothing new.
        fs::set_permissions(&part, fs::Permissions::from_mode(0o666)).unwrap();
        let stays = if length == SIZE { SIZE } else { length - length % 4096 };
        assert_eq!(break_off(&dest, &BYTES, stays, None).await, stays as u64);
        let mode = fs::metadata(&part).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else may read it before it is whole");
        assert_eq!(complete(&dest, &BYTES).await, (stays as u64, vec![]));
        assert_whole(&dest, &BYTES);
    }
}

#[tokio::test]
async fn what_is_of_no_use_to_the_next_get_is_removed() {
    let (_folder, dest, _) = places();
    // Too little to be worth a hidden file.
    assert_eq!(break_off(&dest, &BYTES, (4 << 20) - 1, None).await, 0);
    assert!(listed(&dest).is_empty());
    // All of it came, and it is not what it should be.
    assert_eq!(break_off(&dest, &BYTES, SIZE, Some("the wrong hash")).await, 0);
    assert!(listed(&dest).is_empty());
    // A part of a file, or of one whose content is not known.
    let mut unknown = head(&BYTES);
    unknown.hash = None;
    let mut sink = LocalSink::open(Target::Path(dest.clone())).unwrap();
    assert_eq!(sink.begin(unknown).await.unwrap(), 0);
    write(&mut sink, &BYTES.slice(..20_000_000)).await;
    drop(sink);
    assert!(listed(&dest).is_empty());
}

#[tokio::test]
async fn damage_in_a_part_is_found_and_the_get_after_that_is_whole() {
    type Damage = fn(&Path);
    let damages: [(Damage, u64); 4] = [
        // A bit.
        (|part| flip(part, 5_000_000), 9_998_336),
        // A hole, as a power cut leaves.
        (
            |part| {
                let file = fs::File::options().write(true).open(part).unwrap();
                file.set_len(7_000_000).unwrap();
                file.set_len(30_000_000).unwrap();
            },
            29_999_104,
        ),
        // Nothing but a hole, as long as the file.
        (
            |part| {
                let file = fs::File::create(part).unwrap();
                file.set_len(SIZE as u64).unwrap();
            },
            SIZE as u64,
        ),
        // Right to the last byte, and that is wrong.
        (
            |part| {
                fs::write(part, &*BYTES).unwrap();
                flip(part, SIZE as u64 - 1);
            },
            SIZE as u64,
        ),
    ];
    for (damage, found) in damages {
        let (_folder, dest, part) = places();
        fs::write(dest.join("large"), b"old").unwrap();
        assert_eq!(break_off(&dest, &BYTES, 10_000_001, None).await, 10_000_001);
        damage(&part);
        let (held, failed) = complete(&dest, &BYTES).await;
        assert_eq!(held, found);
        assert_eq!(failed.len(), 1);
        assert!(failed[0].contains("damaged") && failed[0].contains("repeat"), "{failed:?}");
        assert_eq!(listed(&dest), ["large"]);
        assert_eq!(fs::read(dest.join("large")).unwrap(), b"old");
        assert_eq!(complete(&dest, &BYTES).await, (0, vec![]));
        assert_whole(&dest, &BYTES);
    }
}

fn flip(part: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(part).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[tokio::test]
async fn a_part_that_cannot_be_of_this_file_is_begun_anew() {
    let (_folder, dest, part) = places();
    for length in [SIZE + 1, 4095, 0] {
        fs::write(&part, noise(3, length)).unwrap();
        assert_eq!(complete(&dest, &BYTES).await, (0, vec![]));
        assert_whole(&dest, &BYTES);
    }
}

#[tokio::test]
async fn a_part_that_somebody_writes_is_left_to_him() {
    let (_folder, dest, part) = places();
    break_off(&dest, &BYTES, 10_000_000, None).await;
    let other = fs::File::options().write(true).open(&part).unwrap();
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let untouched = fs::read(&part).unwrap();
    assert_eq!(break_off(&dest, &BYTES, 20_000_000, None).await, 0);
    assert_eq!(complete(&dest, &BYTES).await, (0, vec![]));
    assert_eq!(listed(&dest), [part_name(&BYTES), "large".to_owned()]);
    assert!(fs::read(dest.join("large")).unwrap() == *BYTES);
    assert!(fs::read(&part).unwrap() == untouched);
    // It ends without a word: what it had is of use.
    drop(other);
    assert_eq!(complete(&dest, &BYTES).await, (9_998_336, vec![]));
    assert_whole(&dest, &BYTES);
}

#[tokio::test]
async fn parts_of_other_contents_stay_until_the_file_is_whole() {
    let (_folder, dest, part) = places();
    let newer: Bytes = noise(2, SIZE).into();
    let beside = dest.join(format!(".other.{}.datamesh-part", "0".repeat(32)));
    fs::write(&beside, b"of another file").unwrap();
    break_off(&dest, &BYTES, 10_000_000, None).await;
    break_off(&dest, &newer, 8_000_000, None).await;
    assert!(part.exists(), "nothing took its place yet");
    // One content is not continued in the part of another.
    assert_eq!(complete(&dest, &newer).await, (7_999_488, vec![]));
    assert!(beside.exists());
    fs::remove_file(&beside).unwrap();
    assert_whole(&dest, &newer);
}

#[tokio::test]
async fn nothing_is_written_where_a_name_leads_elsewhere() {
    let (folder, dest, part) = places();
    let outside = folder.path().join("precious");
    let precious = noise(9, 8_000_000);
    type Trap = fn(&Path, &Path);
    let traps: [Trap; 4] = [
        |part, outside| symlink(outside, part).unwrap(),
        |part, outside| fs::hard_link(outside, part).unwrap(),
        |part, _| fs::create_dir(part).unwrap(),
        |part, _| {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, part, kind, mode, 0).unwrap();
        },
    ];
    for trap in traps {
        fs::write(&outside, &precious).unwrap();
        trap(&part, &outside);
        assert_eq!(complete(&dest, &BYTES).await, (0, vec![]));
        assert!(fs::read(dest.join("large")).unwrap() == *BYTES);
        assert!(fs::read(&outside).unwrap() == precious);
        fs::remove_dir_all(&dest).unwrap();
        fs::create_dir(&dest).unwrap();
    }
}

#[tokio::test]
async fn a_part_outlives_a_get_that_is_given_up_while_it_is_read() {
    let (_folder, dest, part) = places();
    break_off(&dest, &BYTES, 30_000_000, None).await;
    let before = fs::read(&part).unwrap();
    let mut sink = LocalSink::open(Target::Path(dest.clone())).unwrap();
    tokio::select! {
        biased;
        held = sink.begin(head(&BYTES)) => assert_eq!(held.unwrap(), 29_999_104),
        () = tokio::task::yield_now() => {}
    }
    drop(sink);
    assert_eq!(listed(&dest), [part_name(&BYTES)]);
    // Whole pages of it at least.
    let after = fs::read(&part).unwrap();
    assert!(after.len() >= 29_999_104 && before.starts_with(&after));
    assert_eq!(complete(&dest, &BYTES).await, (29_999_104, vec![]));
    assert_whole(&dest, &BYTES);
}

#[tokio::test]
async fn a_stream_has_nothing_of_what_comes() {
    let mut sink = LocalSink::open(Target::Path(PathBuf::from("/dev/null"))).unwrap();
    assert_eq!(sink.begin(head(&BYTES)).await.unwrap(), 0);
    write(&mut sink, &BYTES).await;
    sink.end(None).await.unwrap();
    assert!(sink.finish().await.unwrap().failed.is_empty());
}
