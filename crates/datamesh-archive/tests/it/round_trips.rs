//! What is taken out and brought in again is the same.

use datamesh_archive::{Format, ImportOptions};
use datamesh_core::catalog::EntryKind;
use datamesh_testkit::account::Account;
use proptest::prelude::*;

use super::{bring_in, exporting, keeping, sealed, take_out};

/// Names as people and programs give them, and some that nobody would.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z0-9 _.-]{1,12}",
        1 => "[é漢ßЖ😀]{1,30}",
        1 => "[ -.0-~]{1,20}",
        1 => "[a-z]{180,255}",
    ]
    .prop_filter("no path has such a part", |part| part != "." && part != "..")
}

#[derive(Debug, Clone)]
struct Sample {
    path: String,
    folder: bool,
    content: Vec<u8>,
    mode: u32,
    modified: u64,
    tags: Vec<String>,
    note: String,
}

fn sample() -> impl Strategy<Value = Sample> {
    let content = prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..2000),
        1 => Just(vec![7; 100_000]),
        1 => (1_048_000usize..1_200_000, any::<u8>()).prop_map(|(length, salt)| {
            (0..length).map(|at| (at * at / 7) as u8 ^ salt).collect()
        }),
    ];
    let modified = prop_oneof![Just(0), 1u64..2_147_483_000_000, Just(1_700_000_000_123)];
    (
        proptest::collection::vec(part(), 1..5),
        prop::bool::weighted(0.1),
        content,
        prop_oneof![Just(0o644), Just(0o755), 1u32..0o777],
        modified,
        proptest::collection::vec("[a-z=é\n ]{1,20}[a-z]", 0..3),
        prop_oneof![Just(String::new()), "[ -~é\n]{1,40}"],
    )
        .prop_map(|(parts, folder, content, mode, modified, tags, note)| {
            let content = if folder { Vec::new() } else { content };
            Sample { path: parts.join("/"), folder, content, mode, modified, tags, note }
        })
}

/// An account of these, but for those that are a file and a folder.
fn account(samples: &[Sample]) -> Account {
    let account = Account::new();
    let clash = |path: &str, other: &str| {
        path == other
            || path.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
            || other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
    };
    let mut taken: Vec<&str> = Vec::new();
    for sample in samples {
        if taken.iter().any(|other| clash(&sample.path, other)) {
            continue;
        }
        taken.push(&sample.path);
        let kind = if sample.folder { EntryKind::Folder } else { EntryKind::File };
        account.store_as(&sample.path, kind, &sample.content, sample.mode, sample.modified);
        for tag in sample.tags.iter().filter(|_| !sample.folder) {
            account.tag(&sample.path, tag.trim());
        }
        if !sample.folder {
            account.set_note(&sample.path, &sample.note);
        }
    }
    account
}

fn check(samples: &[Sample], format: Format, seal: bool, metadata: bool, stream: bool) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive");
    let before = account(samples);
    let mut options = if seal { sealed(format) } else { exporting(format) };
    options.metadata = metadata;
    let report = take_out(&before, &file, &options).unwrap();
    assert_eq!(report.failed.len(), 0, "{report:?}");
    assert_eq!(report.archive_bytes, std::fs::metadata(&file).unwrap().len());
    let after = Account::new();
    let wanted = ImportOptions { verify: true, odd_names: true, ..keeping() };
    let imported = bring_in(&after, &file, &wanted, stream).unwrap();
    assert!(!imported.is_partial(), "{imported:?}");
    assert_eq!(imported.verified, Some(report.files));
    let (mut had, mut has) = (before.entries(), after.entries());
    for entries in [&mut had, &mut has] {
        // Without metadata, which folders have none of, times are kept to the second.
        let coarse = entries.values_mut().filter(|it| !metadata || it.0 == EntryKind::Folder);
        coarse.for_each(|entry| entry.3 /= 1000);
    }
    assert!(had == has, "what came back is something else");
    for (path, (kind, ..)) in before.entries() {
        if metadata && kind == EntryKind::File {
            let mut tags = before.tags(&path);
            tags.sort();
            tags.dedup();
            assert_eq!(tags, after.tags(&path));
            assert_eq!(before.note(&path), after.note(&path));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_tar_brings_everything_back(
        samples in proptest::collection::vec(sample(), 1..20),
        seal: bool,
        metadata: bool,
        stream: bool,
    ) {
        check(&samples, Format::Tar, seal, metadata, stream);
    }

    #[test]
    fn a_compressed_tar_brings_everything_back(
        samples in proptest::collection::vec(sample(), 1..20),
        seal: bool,
        metadata: bool,
        stream: bool,
    ) {
        check(&samples, Format::TarZst, seal, metadata, stream);
    }

    #[test]
    fn a_zip_brings_everything_back(
        samples in proptest::collection::vec(sample(), 1..20),
        seal: bool,
        metadata: bool,
    ) {
        check(&samples, Format::Zip, seal, metadata, false);
    }
}
