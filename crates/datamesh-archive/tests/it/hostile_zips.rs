//! Zips that are made to do harm.

use super::making::{ZipFile, ZipParts, zip};
use super::{bring_bytes, keeping, refusal};

fn file(name: &str) -> ZipFile {
    ZipFile::new(name, b"content")
}

#[test]
fn a_plain_zip_is_read() {
    let deflated = ZipFile { deflate: true, content: vec![7; 5000], ..file("b") };
    let (account, report) = bring_bytes(&zip(&[file("d/a"), deflated, file("e/")]), &keeping());
    // A folder has no content.
    assert!(report.is_err());
    drop(account);
    let deflated = ZipFile { deflate: true, content: vec![7; 5000], ..file("b") };
    let folder = ZipFile::new("e/", b"");
    let (account, report) = bring_bytes(&zip(&[file("d/a"), deflated, folder]), &keeping());
    assert!(!report.unwrap().is_partial());
    assert_eq!(account.entries().into_keys().collect::<Vec<_>>(), ["b", "d/a", "e"]);
    let (_, report) = bring_bytes(&zip(&[]), &keeping());
    assert_eq!(report.unwrap().files.len(), 0);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["/etc/passwd", "../evil", "a/../../b", "..\\evil", "\\\\host\\share", "a\0b"] {
        refusal(&zip(&[file("good"), file(name)]));
    }
    let (account, report) = bring_bytes(&zip(&[file("good"), file("C:\\x")]), &keeping());
    assert_eq!(report.unwrap().skipped.len(), 1);
    assert_eq!(account.files().len(), 1);
}

#[test]
fn directory_and_files_must_agree() {
    let sound = file("a");
    for changed in [
        ZipFile { listed_name: Some(b"b".to_vec()), ..sound.clone() },
        ZipFile { listed_size: Some(6), ..sound.clone() },
        ZipFile { listed_size: Some(8), ..sound.clone() },
        ZipFile { listed_checksum: Some(1), ..sound.clone() },
    ] {
        refusal(&zip(&[changed]));
    }
    // Both say the same, and it is not true.
    for size in [6, 8, 1 << 30] {
        let lying = ZipFile { both_sizes: Some(size), deflate: true, ..sound.clone() };
        let message = refusal(&zip(&[lying]));
        assert!(message.contains("than the directory says"), "{message}");
    }
}

#[test]
fn files_that_share_bytes_are_refused() {
    // The same file under two names.
    let mut parts = ZipParts::default();
    parts.add(&file("a"));
    parts.list(&file("a"), 0);
    parts.list(&file("a"), 0);
    assert!(refusal(&parts.bytes()).contains("share"));
    // One whose content is the whole of the next: a row of these is a bomb of quadratic size.
    let inner = zip(&[file("b")]);
    let local = &inner[..30 + 1 + 7];
    let outer = ZipFile { content: local.to_vec(), ..file("a") };
    let mut parts = ZipParts::default();
    parts.add(&outer);
    parts.list(&outer, 0);
    parts.list(&file("b"), 30 + 1);
    assert!(refusal(&parts.bytes()).contains("overlap"));
}

#[test]
fn bytes_that_belong_to_nothing_are_refused() {
    // A file that the directory does not name: some programs show it.
    let mut parts = ZipParts::default();
    parts.add(&file("a"));
    parts.list(&file("a"), 0);
    parts.add(&file("hidden"));
    assert!(refusal(&parts.bytes()).contains("belong to none"));
    // Something before the first.
    let sound = zip(&[file("a")]);
    let bytes = [&b"PK\x03\x04 and so on"[..], &sound].concat();
    refusal(&bytes);
    // Two directories, one of them in the other's comment.
    let mut parts = ZipParts::of(&[file("a")]);
    parts.comment = zip(&[]);
    assert!(refusal(&parts.bytes()).contains("two ends"));
    let mut parts = ZipParts::of(&[file("a")]);
    parts.comment = b"a comment alone is none".to_vec();
    assert!(bring_bytes(&parts.bytes(), &keeping()).1.is_ok());
    // More behind the end.
    refusal(&[sound, b"more".to_vec()].concat());
}

#[test]
fn the_end_must_fit_the_directory() {
    let sound = zip(&[file("a"), file("b")]);
    let end = sound.len() - 22;
    for (at, value) in [(8, 1u8), (8, 3), (10, 1), (10, 3), (12, 1), (16, 1), (4, 1), (6, 1)] {
        let mut bytes = sound.clone();
        bytes[end + at] = bytes[end + at].wrapping_add(value);
        refusal(&bytes);
    }
    let mut parts = ZipParts::of(&[file("a")]);
    parts.count = 2;
    refusal(&parts.bytes());
    // A count that memory could be taken for.
    parts.count = u16::MAX;
    refusal(&parts.bytes());
}

#[test]
fn duplicate_names_and_links_are_refused_or_listed() {
    assert!(refusal(&zip(&[file("a"), file("a")])).contains("same name"));
    refusal(&zip(&[file("a"), file("a/b")]));
    let link = ZipFile { mode: 0o120_777, ..file("link") };
    let (account, report) = bring_bytes(&zip(&[link.clone(), file("a")]), &keeping());
    assert!(report.unwrap().skipped[0].reason.contains("symbolic"));
    assert_eq!(account.files().len(), 1);
    refusal(&zip(&[link, file("link/through")]));
    let device = ZipFile { mode: 0o060_644, ..file("device") };
    assert_eq!(bring_bytes(&zip(&[device]), &keeping()).1.unwrap().skipped.len(), 1);
}

#[test]
fn what_is_not_read_is_listed() {
    let encrypted = ZipFile { flags: 1, ..file("secret") };
    let packed = ZipFile { method: Some(12), ..file("bzip2") };
    let (account, report) = bring_bytes(&zip(&[encrypted, packed, file("a")]), &keeping());
    let report = report.unwrap();
    assert_eq!(report.skipped.len(), 2, "{report:?}");
    assert_eq!(account.files().len(), 1);
}

#[test]
fn metadata_must_fit_the_content() {
    let comment = format!("{{\"datamesh\":1,\"hash\":\"{}\"}}", "0".repeat(64)).into_bytes();
    assert!(refusal(&zip(&[ZipFile { comment, ..file("a") }])).contains("hashes differ"));
    let comment = b"what somebody wrote".to_vec();
    assert!(bring_bytes(&zip(&[ZipFile { comment, ..file("a") }]), &keeping()).1.is_ok());
}
