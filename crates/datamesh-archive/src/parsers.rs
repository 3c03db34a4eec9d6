//! What reads bytes that a stranger wrote, for the fuzzer.

use std::io::Cursor;

use datamesh_api::{ErrorKind, OperationError};

use crate::entry::Walk;
use crate::format::{Format, Probe, probe};
use crate::import::check;
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::open::Archive;
use crate::zip::ZipWalk;

/// Little enough for many trials a second.
const LIMITS: Limits = Limits { entries: 1000, bytes: 16 << 20, ratio: 200 };

/// Reads an archive to its end, as an import does that stores nothing.
pub fn archive(bytes: &[u8]) {
    let again = || Box::new(Cursor::new(bytes.to_vec()));
    let walk: Box<dyn Walk> = match probe(bytes) {
        Ok(Probe::Archive(Format::Zip)) => match ZipWalk::new(again(), again(), &LIMITS) {
            Ok(walk) => Box::new(walk),
            Err(_) => return,
        },
        _ => {
            let nobody = || Err(OperationError::new(ErrorKind::Failed, "nobody is asked"));
            match Archive::stream(again(), &nobody).and_then(|mut open| open.walk(&LIMITS)) {
                Ok(walk) => walk,
                Err(_) => return,
            }
        }
    };
    if let Ok(bytes) = check(walk, LIMITS) {
        assert!(bytes <= LIMITS.bytes, "more than the limits allow");
    }
}

/// Reads metadata. What is read must read back from what is written of it.
pub fn metadata(bytes: &[u8]) -> bool {
    let Some(metadata) = Metadata::read(bytes) else { return true };
    match metadata.to_text() {
        Some(text) => Metadata::read(text.as_bytes()) == Some(metadata),
        // Written anew, it is longer than what was read.
        None => true,
    }
}
