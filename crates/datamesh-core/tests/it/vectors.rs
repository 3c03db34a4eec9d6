//! Golden vectors: bytes that a format has produced once and must produce for ever.
//!
//! A vector is a file of hexadecimal digits, 64 to a line. Comparing is the rule; with
//! `DATAMESH_BLESS=1` in the environment the files are written anew.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a vector that cannot be read is a failed test"
)]

use std::fs;
use std::path::PathBuf;

use datamesh_core::wire::{Decode, Encode, Reader, WireError, decode};

/// Compares `bytes` with the vector `testdata/<format>/<name>.hex`.
pub(crate) fn golden(format: &str, name: &str, bytes: &[u8]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(format);
    let file = folder.join(format!("{name}.hex"));
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = String::new();
    for line in digits.as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).unwrap());
        text.push('\n');
    }
    if std::env::var("DATAMESH_BLESS").is_ok_and(|value| value == "1") {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&file, text).unwrap();
        return;
    }
    let expected = fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("vector {format}/{name} cannot be read: {error}"));
    assert_eq!(text, expected, "{format}/{name} is no longer what it was");
}

/// Checks all that holds for the encoding of any record: it reads back as what it was, no part of
/// it does, and nothing may follow it.
pub(crate) fn one_encoding<T: Encode + Decode + PartialEq + std::fmt::Debug>(record: &T) {
    let mut bytes = record.to_bytes();
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(record));
    for end in 0..bytes.len() {
        assert!(decode::<T>(&bytes[..end]).is_err(), "{end} of {} bytes were taken", bytes.len());
    }
    for extra in [0, 1, 255] {
        bytes.push(extra);
        assert_eq!(decode::<T>(&bytes), Err(WireError::Trailing(1)));
        bytes.pop();
    }
}

/// Checks that foreign bytes are refused or are a record's only encoding, and that reading them
/// never panics.
pub(crate) fn foreign<T: Encode + Decode>(bytes: &[u8]) {
    let mut from = Reader::new(bytes);
    if let Ok(record) = T::decode(&mut from) {
        let read = bytes.len() - from.remaining();
        assert_eq!(record.to_bytes(), bytes[..read], "two encodings of one record");
    }
}
