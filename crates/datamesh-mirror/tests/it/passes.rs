//! One pass after the other, step by step.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::Ordering;

use datamesh_api::ErrorKind;
use datamesh_mirror::plan::{Action, Direction};
use datamesh_mirror::{Found, Options};

use super::replica::{Replica, options};
use datamesh_testkit::account::Account;

fn received(account: &Account) -> u64 {
    account.received.swap(0, Ordering::SeqCst)
}

fn sent(account: &Account) -> u64 {
    account.sent.swap(0, Ordering::SeqCst)
}

#[tokio::test]
async fn upwards_only_what_changed_is_stored() {
    let (account, replica) = (Account::new(), Replica::new());
    let up = options(Direction::Up);
    for name in ["a", "b/c", "b/d/e", "\u{e9} x"] {
        replica.write(name, name);
    }
    fs::create_dir(replica.path("empty")).unwrap();
    let report = replica.pass(&account, &up).await;
    assert_eq!((report.base, report.uploaded.files), (Found::None, 5));
    assert_eq!(received(&account), 4);
    assert_eq!(account.files()["shared/tree/b/d/e"], b"b/d/e");

    let report = replica.pass(&account, &up).await;
    assert_eq!((report.base, report.did_something()), (Found::Whole, false));
    replica.write("a", "A");
    replica.remove("b/c");
    // As long as before and at the same time: its content tells.
    let before = fs::metadata(replica.path("b/d/e")).unwrap();
    replica.write("b/d/e", "B/D/E");
    let file = fs::File::options().write(true).open(replica.path("b/d/e")).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    account.tag("shared/tree/a", "kept");
    let report = replica.pass(&account, &up).await;
    assert_eq!((report.uploaded.files, report.actions.len()), (2, 3), "{:?}", report.actions);
    assert_eq!(account.files()["shared/tree/a"], b"A");
    assert_eq!(account.files()["shared/tree/b/d/e"], b"B/D/E");
    assert!(!account.files().contains_key("shared/tree/b/c"));
    assert_eq!(account.tags("shared/tree/a"), ["kept"]);
    assert!(account.has_ever(b"b/c"), "only a marker");
}

#[tokio::test]
async fn what_others_have_in_the_target_stays_unless_it_is_to_go() {
    let (account, replica) = (Account::new(), Replica::new());
    account.store("shared/tree/foreign", b"of somebody else");
    account.store("beside", b"not below");
    replica.write("own", "own");
    let up = options(Direction::Up);
    for _ in 0..2 {
        let report = replica.pass(&account, &up).await;
        assert_eq!(report.kept.len(), 1);
        assert!(account.files().contains_key("shared/tree/foreign"));
    }
    let report = replica.pass(&account, &Options { delete: true, ..up.clone() }).await;
    assert_eq!(report.actions.len(), 1);
    assert_eq!(account.files().into_keys().collect::<Vec<_>>(), ["beside", "shared/tree/own"]);

    // The mirror's own file, changed on the mesh, is put back.
    account.store("shared/tree/own", b"other");
    replica.pass(&account, &up).await;
    assert_eq!(account.files()["shared/tree/own"], b"own");
}

#[tokio::test]
async fn another_name_moves_no_byte() {
    let (account, one, other) = (Account::new(), Replica::new(), Replica::new());
    let both = options(Direction::Both);
    for number in 0..5 {
        one.write(&format!("photos/{number}"), format!("photo {number}"));
    }
    one.pass(&account, &both).await;
    other.pass(&account, &both).await;
    assert_eq!((received(&account), sent(&account)), (5, 5));
    one.rename("photos", "pictures/2026");
    one.rename("pictures/2026/3", "three");
    one.pass(&account, &both).await;
    assert_eq!(received(&account), 0);
    other.pass(&account, &both).await;
    assert_eq!((received(&account), sent(&account)), (0, 0));
    assert_eq!(one.files(), other.files());
    assert!(!other.path("photos").exists(), "the empty folder went");
    assert_eq!(other.read("three"), "photo 3");
    for replica in [&one, &other] {
        assert!(!replica.pass(&account, &both).await.did_something());
    }
}

#[tokio::test]
async fn where_both_changed_a_file_both_stay() {
    let (account, one, other) = (Account::new(), Replica::new(), Replica::new());
    let both = options(Direction::Both);
    one.write("notes/report.txt", "first");
    one.pass(&account, &both).await;
    other.pass(&account, &both).await;
    one.write("notes/report.txt", "one's");
    other.write("notes/report.txt", "other's");
    one.pass(&account, &both).await;
    other.pass(&account, &both).await;
    one.pass(&account, &both).await;
    assert_eq!(one.files(), other.files());
    let names = one.names();
    assert_eq!(names.len(), 2);
    assert!(names[0].starts_with("notes/report (conflict 07070707 2"), "{names:?}");
    assert!(names[0].ends_with(").txt"));
    assert_eq!(one.read("notes/report.txt"), "one's");
    assert_eq!(one.read(&names[0]), "other's");

    // An edit wins over a removal, on either side.
    one.remove("notes/report.txt");
    other.write("notes/report.txt", "edited");
    one.remove(&names[0]);
    one.pass(&account, &both).await;
    other.pass(&account, &both).await;
    one.pass(&account, &both).await;
    assert_eq!(one.files(), other.files());
    assert_eq!(one.names(), ["notes/report.txt"]);
    assert_eq!(one.read("notes/report.txt"), "edited");
}

#[tokio::test]
async fn a_file_and_a_folder_of_one_name_both_stay() {
    let (account, one, other) = (Account::new(), Replica::new(), Replica::new());
    let both = options(Direction::Both);
    one.write("x", "a file");
    other.write("x/inner", "in a folder");
    one.pass(&account, &both).await;
    for replica in [&other, &one, &other, &one] {
        replica.pass(&account, &both).await;
    }
    assert_eq!(one.files(), other.files());
    let names = one.names();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with("x (conflict "), "{names:?}");
    assert_eq!(
        (one.read(&names[0]).as_str(), one.read("x/inner").as_str()),
        ("a file", "in a folder")
    );
}

#[tokio::test]
async fn downwards_nothing_is_lost_that_the_mesh_has_not() {
    let (account, replica) = (Account::new(), Replica::new());
    let down = options(Direction::Down);
    for name in ["a", "b/c", "b/d"] {
        account.store(&format!("shared/tree/{name}"), name.as_bytes());
    }
    replica.write("own", "only here");
    replica.write("a", "another a");
    let report = replica.pass(&account, &down).await;
    assert_eq!((report.downloaded.files, report.kept.len()), (3, 1));
    let names = replica.names();
    assert_eq!(names.len(), 5, "{names:?}");
    assert_eq!(replica.read("a"), "a");
    assert_eq!(replica.read(&names[1]), "another a");
    assert_eq!(received(&account), 0);
    assert_eq!(fs::metadata(replica.path("a")).unwrap().mtime(), 1_600_000_000);

    // Changed here: the mesh's comes back, what was here gets another name. Removed there: it goes.
    replica.write("b/c", "edited here");
    account.delete("shared/tree/b/d");
    account.store("shared/tree/b/c", b"newer");
    replica.pass(&account, &down).await;
    assert_eq!(replica.read("b/c"), "newer");
    assert!(!replica.path("b/d").exists());
    assert!(replica.files().values().any(|bytes| bytes == b"edited here"));

    // What has the content of an old version needs no copy.
    replica.write("b/c", "b/c");
    let before = replica.names().len();
    replica.pass(&account, &down).await;
    assert_eq!((replica.read("b/c").as_str(), replica.names().len()), ("newer", before));

    // All else goes only where a version has it.
    replica.write("b/d", "b/d");
    let report = replica.pass(&account, &Options { delete: true, ..down }).await;
    assert!(!replica.path("b/d").exists());
    assert!(replica.path("own").exists() && !report.kept.is_empty());
}

#[tokio::test]
async fn ignored_names_are_left_alone_on_both_sides() {
    let (account, replica) = (Account::new(), Replica::new());
    for name in ["x.log", "build/out", "keep", "sub/x.log"] {
        replica.write(name, name);
    }
    let both = options(Direction::Both);
    replica.pass(&account, &both).await;
    assert_eq!(received(&account), 4);
    replica.write(".datameshignore", "*.log\nbuild/\n");
    replica.write("sub/.datameshignore", "!x.log\n");
    for name in ["x.log", "build/out", "sub/x.log"] {
        replica.remove(name);
    }
    fs::remove_dir(replica.path("build")).unwrap();
    account.store("shared/tree/other.log", b"not fetched");
    replica.pass(&account, &both).await;
    // What is left out now was not removed on the mesh, and what is not, was.
    let files = account.files();
    for name in ["x.log", "build/out", "other.log", "keep", ".datameshignore"] {
        assert!(files.contains_key(&format!("shared/tree/{name}")), "{name}");
    }
    assert!(!files.contains_key("shared/tree/sub/x.log"));
    assert!(!replica.path("other.log").exists());

    let exclude = vec!["keep".to_owned()];
    replica.write("keep", "changed");
    replica.pass(&account, &Options { exclude, ..both }).await;
    assert_eq!(account.files()["shared/tree/keep"], b"keep");
}

#[tokio::test]
async fn what_cannot_be_mirrored_is_listed_and_never_taken_for_gone() {
    let (account, replica) = (Account::new(), Replica::new());
    let both = options(Direction::Both);
    for name in ["a", "linked", "closed/inside"] {
        replica.write(name, name);
    }
    replica.pass(&account, &both).await;
    replica.remove("linked");
    symlink("a", replica.path("linked")).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"odd\xFF");
    fs::write(replica.folder.join(odd), b"odd").unwrap();
    let root = rustix::process::geteuid().is_root();
    if !root {
        fs::set_permissions(replica.path("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let report = replica.pass(&account, &both).await;
    if !root {
        fs::set_permissions(replica.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    }
    assert_eq!(report.failed.len(), if root { 2 } else { 3 }, "{:?}", report.failed);
    assert!(report.is_partial() && !report.did_something(), "{:?}", report.actions);
    assert_eq!(account.files().len(), 3);
}

#[tokio::test]
async fn a_damaged_base_removes_nothing() {
    let (account, replica) = (Account::new(), Replica::new());
    let both = options(Direction::Both);
    for name in ["a", "b", "c"] {
        replica.write(name, name);
    }
    replica.pass(&account, &both).await;
    replica.remove("a");
    account.delete("shared/tree/b");
    let file = replica.base_file();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&file, bytes).unwrap();
    let report = replica.pass(&account, &both).await;
    assert_eq!(report.base, Found::Damaged);
    assert_eq!(replica.names(), ["a", "b", "c"]);
    assert_eq!(account.files().len(), 3);
    let report = replica.pass(&account, &both).await;
    assert_eq!((report.base, report.did_something()), (Found::Whole, false));
}

#[tokio::test]
async fn where_it_is_not_known_what_others_did_nothing_is_removed_and_it_is_said() {
    let (account, replica) = (Account::new(), Replica::new());
    let both = options(Direction::Both);
    for name in ["a", "b"] {
        replica.write(name, name);
    }
    replica.pass(&account, &both).await;
    replica.remove("a");
    account.delete("shared/tree/b");
    account.be_old(true);
    let report = replica.pass(&account, &both).await;
    assert!(report.may_be_old && report.is_partial(), "{report:?}");
    assert_eq!((replica.names(), account.files().len()), (vec!["b".to_owned()], 1));
    account.be_old(false);
    let report = replica.pass(&account, &both).await;
    assert!(!report.may_be_old && !report.is_partial(), "{report:?}");
    assert_eq!((replica.names().len(), account.files().len()), (0, 0));
}

/// What was stored and told to nobody is lost with the catalog: it was deleted by nobody.
#[tokio::test]
async fn what_the_mesh_has_never_heard_of_is_neither_removed_nor_replaced_here() {
    let replica = Replica::new();
    let both = options(Direction::Both);
    replica.write("told", "told");
    replica.write("untold", "untold");
    replica.write("changed", "after");
    replica.pass(&Account::new(), &both).await;
    // The account as it is restored.
    let account = Account::new();
    account.store("shared/tree/told", b"told");
    account.store("shared/tree/changed", b"before");
    let report = replica.pass(&account, &both).await;
    assert_eq!((report.actions.len(), report.kept.len()), (0, 2), "{:?}", report.actions);
    // The next pass stores it again, beside what is there.
    replica.pass(&account, &both).await;
    assert_eq!(account.files()["shared/tree/untold"], b"untold");
    assert!(account.has_ever(b"after"));
    assert_eq!(replica.names().len(), 4, "{:?}", replica.names());
    // What somebody deleted goes, and what somebody replaced is replaced.
    account.delete("shared/tree/untold");
    account.store("shared/tree/told", b"anew");
    replica.pass(&account, &both).await;
    assert!(!replica.path("untold").exists());
    assert_eq!(fs::read(replica.path("told")).unwrap(), b"anew");
}

#[tokio::test]
async fn an_empty_folder_is_taken_for_a_disk_that_is_not_there() {
    let (account, replica) = (Account::new(), Replica::new());
    let up = options(Direction::Up);
    replica.write("a", "a");
    replica.pass(&account, &up).await;
    replica.remove("a");
    let refused = replica.try_pass(&account, &up).await.unwrap_err();
    assert!(refused.message.contains("is empty"), "{}", refused.message);
    assert_eq!(account.files().len(), 1);
    replica.pass(&account, &Options { delete: true, ..up.clone() }).await;
    assert!(account.files().is_empty());

    // Another folder in its place: what it does not have may be on the one that was there.
    replica.write("b", "b");
    replica.write("c", "c");
    replica.pass(&account, &up).await;
    let kept = replica.folder.with_extension("kept");
    fs::rename(&replica.folder, kept).unwrap();
    fs::create_dir(&replica.folder).unwrap();
    replica.write("b", "b");
    let report = replica.pass(&account, &up).await;
    assert_eq!(report.base, Found::Moved);
    assert_eq!(account.files().len(), 2);
    // The passes that follow remember what both have, and no more.
    replica.pass(&account, &up).await;
    assert_eq!(account.files().len(), 2);
    let both = Options { parallel: 2, ..options(Direction::Both) };
    replica.pass(&account, &both).await;
    assert_eq!((account.files().len(), replica.names()), (2, vec!["b".into(), "c".into()]));
}

#[tokio::test]
async fn a_pass_that_is_cut_off_goes_on_without_storing_again() {
    let (account, replica) = (Account::new(), Replica::new());
    let up = options(Direction::Up);
    for number in 0..20 {
        replica.write(&format!("{number}"), format!("content {number}"));
    }
    account.light(12);
    tokio::select! {
        biased;
        () = account.burnt.notified() => {}
        report = replica.try_pass(&account, &up) => panic!("{report:?}"),
    }
    account.light(u64::MAX);
    let first = received(&account);
    assert!(first > 0 && first < 20, "{first}");
    let report = replica.pass(&account, &up).await;
    assert_eq!(first + received(&account), 20);
    assert!(!report.is_partial());
    assert_eq!(account.files().len(), 20);
}

#[tokio::test]
async fn a_trial_does_nothing_and_says_what_would_be_done() {
    let (account, replica) = (Account::new(), Replica::new());
    let both = Options { dry_run: true, ..options(Direction::Both) };
    replica.write("a", "a");
    account.store("shared/tree/b", b"b");
    let report = replica.pass(&account, &both).await;
    let names: Vec<_> = report
        .actions
        .iter()
        .map(|action| match action {
            Action::Upload { path, .. } => format!("up {path}"),
            Action::Download { path, .. } => format!("down {path}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["up a", "down b"]);
    assert_eq!((replica.names().len(), account.files().len()), (1, 1));
    let text = serde_json::to_string(&report).unwrap();
    assert!(text.contains(r#""actions":[{"action":"upload","path":"a","size":1}"#), "{text}");
}

#[tokio::test]
async fn folders_that_cannot_be_mirrored_are_refused() {
    let replica = Replica::new();
    let missing = replica.folder.join("missing");
    let refused = datamesh_mirror::Mirror::open(&replica.home, &missing, None).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotFound);
    replica.write("file", "file");
    let file = replica.path("file");
    assert!(datamesh_mirror::Mirror::open(&replica.home, &file, None).is_err());
    fs::create_dir_all(replica.home.join("inner")).unwrap();
    let inner = replica.home.join("inner");
    let refused = datamesh_mirror::Mirror::open(&replica.home, &inner, None).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Usage);
    let running = replica.mirror();
    let refused = datamesh_mirror::Mirror::open(
        &replica.home,
        &replica.folder,
        Some("shared/tree".parse().unwrap()),
    );
    assert!(refused.unwrap_err().message.contains("another sync"));
    drop(running);
}
