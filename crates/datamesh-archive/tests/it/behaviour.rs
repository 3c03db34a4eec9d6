//! What export and import do with an account.

use std::fs;

use datamesh_api::ErrorKind;
use datamesh_archive::{Format, ImportOptions};
use datamesh_core::catalog::EntryKind;
use datamesh_testkit::account::Account;

use super::making::{member, tar};
use super::{bring_bytes, bring_in, exporting, keeping, sealed, take_out};

fn some() -> Account {
    let account = Account::new();
    account.store("docs/a.txt", b"first");
    account.store("docs/deep/b.txt", b"second");
    account.store("docsother", b"third");
    account.store("photos/2026/c.jpg", &vec![3; 3 << 20]);
    account
}

fn names(account: &Account) -> Vec<String> {
    account.entries().into_keys().collect()
}

#[test]
fn patterns_choose_files_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.tar");
    let account = some();
    for (patterns, expected) in [
        (&["docs"][..], &["docs/a.txt", "docs/deep/b.txt"][..]),
        (&["docs/"], &["docs/a.txt", "docs/deep/b.txt"]),
        (&["docs/*"], &["docs/a.txt"]),
        (&["**/*.txt"], &["docs/a.txt", "docs/deep/b.txt"]),
        (&["docsother", "photos"], &["docsother", "photos/2026/c.jpg"]),
        (&[], &["docs/a.txt", "docs/deep/b.txt", "docsother", "photos/2026/c.jpg"]),
    ] {
        let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let mut options = exporting(Format::Tar);
        options.patterns = patterns;
        take_out(&account, &file, &options).unwrap();
        let back = Account::new();
        bring_in(&back, &file, &keeping(), false).unwrap();
        assert_eq!(names(&back), expected);
    }
    let mut options = exporting(Format::Tar);
    fs::remove_file(&file).unwrap();
    options.patterns = vec!["nothing/**".to_owned()];
    assert_eq!(take_out(&account, &file, &options).unwrap_err().kind, ErrorKind::NotFound);
    options.patterns = vec!["{a".to_owned()];
    assert_eq!(take_out(&account, &file, &options).unwrap_err().kind, ErrorKind::Usage);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a file for nothing");
}

#[test]
fn a_file_that_cannot_be_had_is_left_out_and_listed() {
    for format in Format::ALL {
        for options in [exporting(format), sealed(format)] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("archive");
            let account = some();
            // One small, and one whose first half is in the archive before it is known.
            account.break_off("docs/a.txt");
            account.break_off("photos/2026/c.jpg");
            let report = take_out(&account, &file, &options).unwrap();
            assert_eq!(report.failed.len(), 2, "{report:?}");
            assert_eq!(report.files, 2);
            let back = Account::new();
            bring_in(&back, &file, &keeping(), false).unwrap();
            assert_eq!(names(&back), ["docs/deep/b.txt", "docsother"]);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something is left");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive");
    fs::write(&file, "what was there").unwrap();
    let account = Account::new();
    account.store("only", &vec![1; 2 << 20]);
    account.break_off("only");
    assert!(take_out(&account, &file, &exporting(Format::Tar)).is_err());
    assert_eq!(fs::read(&file).unwrap(), b"what was there");
}

#[test]
fn a_file_and_a_folder_of_one_name_do_not_both_go_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive");
    let account = some();
    account.store("docs", b"a file where a folder is");
    let report = take_out(&account, &file, &exporting(Format::Zip)).unwrap();
    assert_eq!(report.failed.len(), 2, "{report:?}");
    assert!(bring_in(&Account::new(), &file, &keeping(), false).is_ok());
}

#[test]
fn names_lose_their_folders_unless_these_are_kept() {
    let bytes = tar(&[
        member(b'5', b"./", b""),
        member(b'5', b"./a/", b""),
        member(b'0', b"./a/one", b"1"),
        member(b'5', b"./empty/", b""),
        member(b'5', b"./empty/inner/", b""),
        member(b'0', b"two", b"2"),
    ]);
    let (account, report) = bring_bytes(&bytes, &keeping());
    assert!(!report.unwrap().is_partial());
    assert_eq!(names(&account), ["a/one", "empty/inner", "two"]);
    assert_eq!(account.entries()["empty/inner"].0, EntryKind::Folder);
    let into = ImportOptions { into: Some("to/here".parse().unwrap()), ..Default::default() };
    let (account, _) = bring_bytes(&bytes, &into);
    assert_eq!(names(&account), ["to/here/one", "to/here/two"]);
    let clash = tar(&[member(b'0', b"a/one", b"1"), member(b'0', b"b/one", b"2")]);
    let (_, report) = bring_bytes(&clash, &ImportOptions::default());
    let error = report.unwrap_err();
    assert!(error.message.contains("\"b/one\": another entry"), "{error:?}");
    assert!(
        error.hint.as_ref().is_some_and(|hint| hint.contains("--preserve-structure")),
        "{error:?}"
    );
}

#[test]
fn tags_come_from_metadata_or_from_folders() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive.zip");
    let account = some();
    account.tag("docs/a.txt", "draft");
    account.set_note("docs/a.txt", "of [this] year");
    let mut options = exporting(Format::Zip);
    options.metadata = true;
    take_out(&account, &file, &options).unwrap();
    let back = Account::new();
    let wanted = ImportOptions { tag_prefix: Some("old-".to_owned()), ..keeping() };
    bring_in(&back, &file, &wanted, false).unwrap();
    assert_eq!(back.tags("docs/a.txt"), ["old-draft"]);
    assert_eq!(back.tags("docsother"), [""; 0]);
    assert_eq!(back.note("docs/a.txt"), "of [this] year");
    let plain = tar(&[member(b'0', b"x/y/one", b"1"), member(b'0', b"two", b"2")]);
    let (account, _) = bring_bytes(&plain, &wanted);
    assert_eq!(account.tags("x/y/one"), ["old-x", "old-y"]);
    assert_eq!(account.tags("two"), [""; 0]);
    // Without the prefix folders say nothing.
    let (account, _) = bring_bytes(&plain, &keeping());
    assert_eq!(account.tags("x/y/one"), [""; 0]);
    let long = ImportOptions { tag_prefix: Some("p".repeat(128)), ..keeping() };
    let (account, report) = bring_bytes(&plain, &long);
    assert_eq!(names(&account), ["two"]);
    assert_eq!(report.unwrap().skipped.len(), 1);
}

#[test]
fn what_exists_gets_a_version_or_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.tar");
    fs::write(&file, tar(&[member(b'0', b"a", b"new"), member(b'0', b"b", b"new")])).unwrap();
    let account = Account::new();
    account.store("a", b"old");
    account.store("b", b"old");
    account.delete("b");
    let wanted = ImportOptions { skip_existing: true, ..keeping() };
    let report = bring_in(&account, &file, &wanted, false).unwrap();
    assert_eq!(report.existing.len(), 1);
    assert!(!report.is_partial());
    assert_eq!(account.files()["a"], b"old");
    assert_eq!(account.files()["b"], b"new");
    bring_in(&account, &file, &keeping(), false).unwrap();
    assert_eq!(account.files()["a"], b"new");
    assert!(account.has_ever(b"old"));
}

#[test]
fn a_trial_says_what_would_be_and_stores_nothing() {
    let wanted = ImportOptions { dry_run: true, ..keeping() };
    let bytes = tar(&[member(b'0', b"a", b"12345"), member(b'2', b"link", b"")]);
    let (account, report) = bring_bytes(&bytes, &wanted);
    let report = report.unwrap();
    assert_eq!((report.files.len(), report.bytes, report.skipped.len()), (1, 5, 1));
    assert!(report.dry_run && account.entries().is_empty());
}

#[test]
fn a_file_that_comes_back_otherwise_does_not_verify() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.tar");
    let large = vec![5; 2 << 20];
    let members = [member(b'0', b"a", b"1"), member(b'0', b"b", b"2"), member(b'0', b"c", &large)];
    fs::write(&file, tar(&members)).unwrap();
    let wanted = ImportOptions { verify: true, ..keeping() };
    for spoilt in ["b", "c"] {
        let account = Account::new();
        account.spoil(spoilt);
        let report = bring_in(&account, &file, &wanted, false).unwrap();
        assert_eq!(report.verified, Some(2));
        assert_eq!(report.failed.len(), 1);
        assert_eq!(report.failed[0].path, spoilt);
        assert!(report.is_partial());
    }
}

#[test]
fn a_wrong_password_and_a_wrong_file_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.age");
    let mut options = sealed(Format::Tar);
    options.password = Some(zeroize::Zeroizing::new("another one".to_owned()));
    take_out(&some(), &file, &options).unwrap();
    for stream in [false, true] {
        let error = bring_in(&Account::new(), &file, &keeping(), stream).unwrap_err();
        assert_eq!(error.message, "wrong password");
    }
    for (bytes, expected) in [
        (&b""[..], "empty"),
        (b"\x1f\x8b\x08 and so on", "gunzip"),
        (b"hello", "neither tar"),
        (&[b'x'; 2000], "neither tar"),
        (b"age-encryption.org/v1\n-> X25519 abc\n", "owner of a key"),
    ] {
        let (_, report) = bring_bytes(bytes, &keeping());
        let message = report.unwrap_err().message;
        assert!(message.contains(expected), "{message}");
    }
    let zip = folder.path().join("a.zip");
    take_out(&some(), &zip, &exporting(Format::Zip)).unwrap();
    let error = bring_in(&Account::new(), &zip, &keeping(), true).unwrap_err();
    assert!(error.message.contains("give it as a file"), "{}", error.message);
}
