//! Replays what the fuzzer kept, the golden vectors, and mutations of both.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use datamesh_fuzz::{PARSERS, call};
use datamesh_testkit::random::Dice;

/// Mutations of each input.
const MUTATIONS: u64 = 40;

/// Mutations of each archive of the corpus.
const ARCHIVE_MUTATIONS: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Files in a folder and below, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
        .into_iter()
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

#[test]
fn what_the_fuzzer_kept_finds_nothing_any_more() {
    for (name, parser) in PARSERS {
        parser(&[]);
        for file in files(&root().join("fuzz/corpus").join(name)) {
            parser(&fs::read(file).unwrap());
        }
    }
}

/// Whoever adds a parser adds a target for the fuzzer and a corpus that it begins with.
#[test]
fn every_parser_has_a_target_and_a_corpus() {
    for (name, _) in PARSERS {
        assert!(root().join(format!("fuzz/fuzz_targets/{name}.rs")).exists(), "no target {name}");
        assert!(!files(&root().join("fuzz/corpus").join(name)).is_empty(), "no corpus of {name}");
    }
    assert_eq!(files(&root().join("fuzz/fuzz_targets")).len(), PARSERS.len());
    let bytes: u64 = files(&root().join("fuzz/corpus"))
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    assert!(bytes < 2 << 20, "the corpus has {bytes} bytes");
}

/// The bytes of every golden vector.
fn vectors() -> Vec<Vec<u8>> {
    files(&root().join("testdata"))
        .into_iter()
        .filter(|file| file.extension().is_some_and(|end| end == "hex"))
        .map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
            digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
        })
        .filter(|bytes: &Vec<u8>| !bytes.is_empty())
        .collect()
}

fn mutated(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() as u64) as usize;
        match dice.below(5) {
            0 => bytes[at] = dice.next_u64() as u8,
            1 => bytes[at] ^= 1 << dice.below(8),
            2 => bytes.truncate(at.max(1)),
            3 => bytes.insert(at, 0xff),
            _ => {
                let end = (at + 4).min(bytes.len());
                bytes[at..end].fill(0xff);
            }
        }
    }
    bytes
}

#[test]
fn mutations_of_every_golden_vector_find_nothing() {
    let vectors = vectors();
    assert!(vectors.len() > 50, "{} vectors", vectors.len());
    let mut dice = Dice::new(7);
    for vector in &vectors {
        // Those of files are slow, and no vector is of their form.
        let slow = ["pack", "database"];
        for (name, _) in PARSERS.iter().filter(|(name, _)| !slow.contains(name)) {
            // Whole records open nothing and prove nothing either; what is sealed by the account of
            // the vectors is another account's here.
            call(name, vector);
            for _ in 0..MUTATIONS {
                call(name, &mutated(vector, &mut dice));
            }
        }
    }
}

/// No golden vector is an archive, so that these begin with the corpus.
#[test]
fn mutations_of_archives_find_nothing() {
    let mut dice = Dice::new(11);
    for file in files(&root().join("fuzz/corpus/archive")) {
        let archive = fs::read(file).unwrap();
        for _ in 0..ARCHIVE_MUTATIONS {
            call("archive", &mutated(&archive, &mut dice));
        }
    }
}
