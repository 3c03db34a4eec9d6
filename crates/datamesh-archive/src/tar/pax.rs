//! The records of extended headers: `length keyword=value`, each on a line of its own, the length
//! counting all of the line.

use crate::error::ArchiveError;
use crate::metadata::Metadata;

/// The keyword under which an export with metadata writes it. Names in capitals are for vendors.
pub(super) const METADATA: &str = "DATAMESH.file";

/// What an extended header says of the entry behind it.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// Milliseconds since 1970.
    pub(super) modified: Option<u64>,
    pub(super) metadata: Option<Metadata>,
    pub(super) sparse: bool,
}

const WRONG: ArchiveError = ArchiveError::Damaged("a record of an extended header is wrong");

impl Extended {
    /// Reads the records of one header.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`].
    pub(super) fn read(mut text: &[u8]) -> Result<Self, ArchiveError> {
        let mut found = Self::default();
        while !text.is_empty() {
            let (record, rest) = split(text).ok_or(WRONG)?;
            text = rest;
            let at = record.iter().position(|byte| *byte == b'=').ok_or(WRONG)?;
            let (key, value) = (&record[..at], &record[at + 1..]);
            let twice = match key {
                b"path" if value.is_empty() => return Err(WRONG),
                b"path" => found.path.replace(value.to_vec()).is_some(),
                b"size" => found.size.replace(decimal(value).ok_or(WRONG)?).is_some(),
                b"mtime" => {
                    found.modified = milliseconds(value);
                    false
                }
                _ if key == METADATA.as_bytes() => {
                    found.metadata = Metadata::read(value);
                    false
                }
                _ => {
                    found.sparse |= key.starts_with(b"GNU.sparse.");
                    false
                }
            };
            if twice {
                return Err(ArchiveError::Damaged("an extended header says a thing twice"));
            }
        }
        Ok(found)
    }

    /// Checks the records of a header for all entries: they may say nothing that decides how the archive
    /// is read.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`].
    pub(super) fn check_global(text: &[u8]) -> Result<(), ArchiveError> {
        let found = Self::read(text)?;
        match found.path.is_some() || found.size.is_some() || found.sparse {
            true => Err(ArchiveError::Damaged("one name or size is given to all entries")),
            false => Ok(()),
        }
    }
}

/// The first record without its length and line end, and what follows.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = text.iter().take(8).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&text[..space])?).ok()?;
    let (record, rest) = text.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    Some((record, rest))
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// Seconds since 1970 with a fraction or without; nothing for times before.
fn milliseconds(text: &[u8]) -> Option<u64> {
    let (seconds, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b""[..]),
    };
    let mut digits = fraction.iter().copied().chain(std::iter::repeat(b'0'));
    let mut thousandths = 0;
    for _ in 0..3 {
        let digit = digits.next().filter(u8::is_ascii_digit)?;
        thousandths = thousandths * 10 + u64::from(digit - b'0');
    }
    decimal(seconds)?.checked_mul(1000)?.checked_add(thousandths)
}

/// One record.
pub(super) fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    // The length counts its own digits.
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    format!("{length} {key}={value}\n")
}
