//! Archives that are cut short or damaged.

use std::collections::BTreeMap;

use datamesh_api::OperationError;
use datamesh_archive::{ExportOptions, Format, ImportReport};
use datamesh_core::catalog::EntryKind;
use datamesh_testkit::account::Account;
use datamesh_testkit::fixtures::noise;
use datamesh_testkit::random::Dice;

use super::{bring_bytes, exporting, keeping, sealed, take_out};

/// Damages tried on each archive.
const FLIPS: usize = 400;

fn account() -> Account {
    let account = Account::new();
    account.store("a/first", &noise(1, 3000));
    account.store_as("a/empty", EntryKind::Folder, b"", 0o755, 1_600_000_000_000);
    account.store("second", &[9; 70_000]);
    account.store("long/".repeat(40).trim_end_matches('/'), b"");
    account.store("third", b"end");
    account.tag("second", "tagged");
    account
}

fn archive(account: &Account, options: &ExportOptions) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive");
    take_out(account, &file, options).unwrap();
    std::fs::read(file).unwrap()
}

/// Every combination, and whether its contents have checksums.
fn all() -> Vec<(ExportOptions, bool)> {
    let mut all = Vec::new();
    for format in Format::ALL {
        for metadata in [false, true] {
            for seal in [false, true] {
                let mut options = if seal { sealed(format) } else { exporting(format) };
                options.metadata = metadata;
                all.push((options, format != Format::Tar || seal));
            }
        }
    }
    all
}

type Had = BTreeMap<String, Vec<u8>>;

/// Whether an import said that all is well and it is.
fn is_right(had: &Had, account: &Account, report: &Result<ImportReport, OperationError>) -> bool {
    match report {
        Err(_) => true,
        Ok(report) if report.is_partial() => true,
        Ok(_) => account.files() == *had,
    }
}

#[test]
fn an_archive_that_is_cut_short_is_refused() {
    let account = account();
    for (options, _) in all() {
        let whole = archive(&account, &options);
        let had = account.files();
        let cuts = (0..whole.len()).filter(|cut| {
            cut % 512 == 0 || whole.len() - cut < 100 || *cut < 300 || cut % 1009 == 0
        });
        for cut in cuts {
            let (found, report) = bring_bytes(&whole[..cut], &keeping());
            // Of the zeros at a tar's end some may be missing: all of it is there then.
            let is_tail = whole[cut..].iter().all(|byte| *byte == 0);
            let refused = report.is_err();
            assert!(refused || is_tail, "{}: cut at {cut} of {}", options.format, whole.len());
            assert!(is_right(&had, &found, &report), "{}: cut at {cut}", options.format);
        }
    }
}

#[test]
fn damage_is_found_where_there_is_a_checksum() {
    let account = account();
    let had = account.files();
    let mut dice = Dice::new(5);
    for (options, summed) in all() {
        let whole = archive(&account, &options);
        let mut found = 0;
        for _ in 0..FLIPS {
            let mut damaged = whole.clone();
            let at = dice.below(damaged.len() as u64) as usize;
            damaged[at] ^= 1 << dice.below(8);
            let (account, report) = bring_bytes(&damaged, &keeping());
            found += usize::from(report.is_err());
            // A plain tar has no checksum of its contents; with metadata it has the hashes.
            if summed || options.metadata {
                assert!(
                    is_right(&had, &account, &report),
                    "{}, metadata {}: bit of byte {at} of {}",
                    options.format,
                    options.metadata,
                    whole.len()
                );
            }
        }
        assert!(found > FLIPS / 50, "{}: {found}", options.format);
    }
}

#[test]
fn chunks_of_a_sealed_archive_cannot_change_places() {
    let account = Account::new();
    account.store("large", &noise(2, 300_000));
    let whole = archive(&account, &sealed(Format::Tar));
    let begin = whole.len() % (65_536 + 16);
    let chunk = 65_536 + 16;
    // The header is shorter than a chunk, so that what is left over belongs to it and the last chunk.
    let header = whole.windows(4).position(|it| it == b"--- ").unwrap() + 4 + 43 + 1 + 16;
    assert!(header < begin || begin < header);
    let mut swapped = whole.clone();
    let (first, second) = (header..header + chunk, header + chunk..header + 2 * chunk);
    swapped.copy_within(first.clone(), second.start);
    swapped[first].copy_from_slice(&whole[second.clone()]);
    assert!(bring_bytes(&swapped, &keeping()).1.is_err());
    // Without one in the middle, with one twice, and without the last.
    let without = [&whole[..second.start], &whole[second.end..]].concat();
    assert!(bring_bytes(&without, &keeping()).1.is_err());
    let twice = [&whole[..second.end], &whole[second.start..]].concat();
    assert!(bring_bytes(&twice, &keeping()).1.is_err());
    let last = header + (whole.len() - header) / chunk * chunk;
    assert!(bring_bytes(&whole[..last], &keeping()).1.is_err());
    assert!(bring_bytes(&[&whole[..], b"x"].concat(), &keeping()).1.is_err());
}
