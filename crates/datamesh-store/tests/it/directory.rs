//! The store on a real directory: identity, lock, direct and buffered writes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use datamesh_core::{NodeId, Scheme};
use datamesh_store::{Directory, Disk, DiskError, IDENTITY_FILE, Owner, Store, StoreError};
use datamesh_testkit::SeededEntropy;

use crate::sample::{MIB, NODE, OWNER, Segment, assert_whole, config, open, put};

/// Set for the process that a test starts to open a store that is open already.
const OTHER_PROCESS: &str = "DATAMESH_TEST_OTHER_PROCESS";

fn directory(path: &Path) -> Arc<dyn Disk> {
    Arc::new(Directory::open(path).unwrap())
}

#[test]
fn shards_survive_on_a_real_directory_direct_and_buffered() {
    for buffered in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let disk = || -> Arc<dyn Disk> {
            let directory = Directory::open(folder.path()).unwrap();
            Arc::new(if buffered { directory.buffered() } else { directory })
        };
        let segments: Vec<Segment> =
            (0..12).map(|seed| Segment::new(seed, Scheme::FOUR_TWO, 65_536, 4)).collect();
        let store = open(disk(), MIB).unwrap();
        for segment in &segments {
            put(&store, segment, 0).unwrap();
            assert_whole(&store, segment, 0);
        }
        let usage = store.usage().unwrap();
        drop(store);
        let store = open(disk(), MIB).unwrap();
        assert_eq!(store.usage().unwrap().shards, usage.shards);
        assert!(usage.packs > 2);
        for segment in &segments {
            assert_whole(&store, segment, 0);
        }
        assert!(store.scrub_next(Default::default(), u64::MAX).unwrap().damaged.is_empty());
    }
}

#[test]
fn writes_that_are_not_aligned_go_through_the_cache_into_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let disk = directory(folder.path());
    let file = disk.create("file").unwrap();
    file.write_at(0, &[1; 4096]).unwrap();
    file.write_at(4096, b"tail").unwrap();
    file.allocate(0, MIB).unwrap();
    file.sync_data().unwrap();
    assert_eq!(file.length().unwrap(), 4100);
    let mut out = [0; 10];
    assert_eq!(disk.open("file").unwrap().read_at(4094, &mut out).unwrap(), 6);
    assert_eq!(&out[..6], b"\x01\x01tail");
    assert!(matches!(disk.create("file"), Err(DiskError::Exists { .. })));
    assert!(matches!(disk.open("none"), Err(DiskError::Missing { .. })));
    assert!(matches!(Directory::open(&folder.path().join("none")), Err(DiskError::Missing { .. })));
    let space = disk.space().unwrap();
    assert!(space.free > 0 && space.free <= space.total);
}

#[test]
fn a_directory_without_its_identity_is_not_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(directory(folder.path()), MIB).unwrap();
    let id = store.id();
    put(&store, &Segment::small(1), 0).unwrap();
    drop(store);
    let known = Owner { store: Some(id), ..OWNER };
    let open_as = |path: &Path, owner: &Owner| {
        Store::open(directory(path), config(MIB), owner, &SeededEntropy::new(1))
    };
    assert_eq!(open_as(folder.path(), &known).unwrap().held(Segment::small(1).id()), 1);

    let other = Owner { node: NodeId([8; 32]), store: None };
    assert!(matches!(open_as(folder.path(), &other), Err(StoreError::OtherNode { node: NODE })));

    let unmounted = tempfile::tempdir().unwrap();
    assert!(matches!(open_as(unmounted.path(), &known), Err(StoreError::IdentityMissing)));
    open_as(unmounted.path(), &OWNER).unwrap();
    assert!(matches!(open_as(unmounted.path(), &known), Err(StoreError::OtherStore)));

    let bytes = std::fs::read(folder.path().join(IDENTITY_FILE)).unwrap();
    for (at, _) in bytes.iter().enumerate() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        std::fs::write(folder.path().join(IDENTITY_FILE), damaged).unwrap();
        assert!(matches!(open_as(folder.path(), &known), Err(StoreError::IdentityDamaged(_))));
    }
    std::fs::remove_file(folder.path().join(IDENTITY_FILE)).unwrap();
    assert!(matches!(open_as(folder.path(), &known), Err(StoreError::IdentityMissing)));
    assert!(matches!(open_as(folder.path(), &OWNER), Err(StoreError::IdentityMissing)));
    std::fs::write(folder.path().join(IDENTITY_FILE), bytes).unwrap();
    assert_whole(&open_as(folder.path(), &known).unwrap(), &Segment::small(1), 0);
}

#[test]
fn a_directory_with_something_else_in_it_does_not_become_a_store() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let refused = open(directory(folder.path()), MIB);
    assert!(matches!(refused, Err(StoreError::DirectoryNotEmpty { name }) if name == "letter.txt"));
}

#[test]
fn a_second_store_on_the_same_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(directory(folder.path()), MIB).unwrap();
    let second = open(directory(folder.path()), MIB);
    assert!(matches!(second, Err(StoreError::Disk(DiskError::Locked { .. }))));
    drop(store);
    open(directory(folder.path()), MIB).unwrap();
}

/// Runs itself again in another process, which must be refused while this one has the store and
/// must not be once this one has let go.
#[test]
fn another_process_is_refused() {
    if let Some(path) = std::env::var_os(OTHER_PROCESS) {
        let refused = open(directory(Path::new(&path)), MIB);
        assert!(matches!(refused, Err(StoreError::Disk(DiskError::Locked { .. }))));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let other = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "directory::another_process_is_refused"])
            .env(OTHER_PROCESS, folder.path())
            .output()
            .unwrap()
            .status
            .success()
    };
    let store = open(directory(folder.path()), MIB).unwrap();
    assert!(other(), "the other process was not refused");
    drop(store);
    assert!(!other(), "the other process was refused although the store was closed");
}
