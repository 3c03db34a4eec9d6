//! One header block.
//!
//! Numbers are octal digits or, as GNU tar has it, binary where the first bit is set. What several
//! programs would read in several ways is refused, so that nobody is shown another archive than we
//! take in.

use crate::error::ArchiveError;

use super::BLOCK;

/// Where the fields lie.
const NAME: std::ops::Range<usize> = 0..100;
const MODE: std::ops::Range<usize> = 100..108;
const UID: std::ops::Range<usize> = 108..116;
const GID: std::ops::Range<usize> = 116..124;
const SIZE: std::ops::Range<usize> = 124..136;
const MTIME: std::ops::Range<usize> = 136..148;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
const MAGIC: std::ops::Range<usize> = 257..265;
const PREFIX: std::ops::Range<usize> = 345..500;

/// GNU tar's.
const MAP_GOES_ON: usize = 482;

/// Magic and version of POSIX.
const POSIX: &[u8; 8] = b"ustar\x0000";

/// Largest size that eleven octal digits hold.
pub(super) const OCTAL_SIZE_MAX: u64 = 0o77_777_777_777;

/// What a header says.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) name: Vec<u8>,
    pub(super) size: u64,
    pub(super) mode: u32,
    /// Seconds since 1970; 0 for times before.
    pub(super) seconds: u64,
    /// In a sparse file's header of GNU tar's old form: its map goes on behind it.
    pub(super) map_goes_on: bool,
}

/// Whether these bytes begin a tar: the first header has the checksum that it names, or there are only
/// zeros, which is an archive without entries.
pub(crate) fn begins(beginning: &[u8]) -> bool {
    match beginning.first_chunk::<BLOCK>() {
        Some(block) => block.iter().all(|byte| *byte == 0) || checksum_holds(block),
        None => false,
    }
}

impl Header {
    /// Reads a block.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`].
    pub(super) fn read(block: &[u8; BLOCK]) -> Result<Self, ArchiveError> {
        if !checksum_holds(block) {
            return Err(ArchiveError::Damaged("the checksum of a tar header does not fit"));
        }
        let mut name = text(&block[NAME]).to_vec();
        let prefix = text(&block[PREFIX]);
        // GNU tar keeps other things where POSIX keeps the beginning of a long name.
        if &block[MAGIC] == POSIX && !prefix.is_empty() {
            name = [prefix, b"/", &name].concat();
        }
        let size = number(&block[SIZE]).ok_or(ArchiveError::Damaged("a size is no number"))?;
        Ok(Self {
            kind: block[TYPE],
            name,
            size,
            // Neither decides what is read.
            mode: number(&block[MODE]).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0),
            seconds: number(&block[MTIME]).unwrap_or(0),
            map_goes_on: block[MAP_GOES_ON] != 0,
        })
    }

    /// The block of a header for this name, which fits if [`place`] said so.
    pub(super) fn block(&self, (prefix, name): (&[u8], &[u8])) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| {
            block[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(NAME.start, &name[..name.len().min(NAME.len())]);
        put(PREFIX.start, &prefix[..prefix.len().min(PREFIX.len())]);
        put(MODE.start, format!("{:07o}", self.mode & 0o7777).as_bytes());
        put(UID.start, b"0000000");
        put(GID.start, b"0000000");
        put(SIZE.start, format!("{:011o}", self.size.min(OCTAL_SIZE_MAX)).as_bytes());
        put(MTIME.start, format!("{:011o}", self.seconds.min(OCTAL_SIZE_MAX)).as_bytes());
        put(TYPE, &[self.kind]);
        put(MAGIC.start, POSIX);
        let sum = format!("{:06o}\0 ", sums(&block).0);
        block[CHECKSUM].copy_from_slice(sum.as_bytes());
        block
    }
}

/// Where a name goes: what stands in the prefix and what in the name; nothing where it does not fit.
pub(super) fn place(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= NAME.len() {
        return Some((&[], name));
    }
    let fits = |(at, byte): (usize, &u8)| {
        let rest = name.len() - at - 1;
        *byte == b'/' && at > 0 && at <= PREFIX.len() && (1..=NAME.len()).contains(&rest)
    };
    let at = name.iter().enumerate().position(fits)?;
    Some((&name[..at], &name[at + 1..]))
}

/// The sum of all bytes, the checksum's own counted as spaces; and as old programs on some machines
/// made it, of signed bytes.
fn sums(block: &[u8; BLOCK]) -> (u64, i64) {
    let byte = |(at, byte): (usize, &u8)| if CHECKSUM.contains(&at) { b' ' } else { *byte };
    let bytes = || block.iter().enumerate().map(byte);
    (bytes().map(u64::from).sum(), bytes().map(|byte| i64::from(byte.cast_signed())).sum())
}

fn checksum_holds(block: &[u8; BLOCK]) -> bool {
    let (sum, signed) = sums(block);
    let named = number(&block[CHECKSUM]);
    named.is_some_and(|named| named == sum || i64::try_from(named) == Ok(signed))
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number; an empty field is 0.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Binary, and no negative one: a time before 1970 is none that we keep.
        let (above, low) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
        if *first != 0x80 || above.iter().any(|byte| *byte != 0) {
            return None;
        }
        return low.try_into().ok().map(u64::from_be_bytes);
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    let (digits, after) = digits.split_at(end);
    if after.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return None;
    }
    let digit = |sum: u64, byte: &u8| match byte {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    };
    digits.iter().try_fold(0, digit)
}
