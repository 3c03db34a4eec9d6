//! What stands beside the content of a file: the header before it, the descriptor behind it.

use std::io::Read;

use crate::error::ArchiveError;

use super::directory::Listed;
use super::record::{DESCRIBED, DESCRIPTOR, ENCRYPTED, Fields, LOCAL, LOCAL_BYTES, UTF8, widen};

/// Flags of which header and directory must say the same.
const SHARED_FLAGS: u16 = ENCRYPTED | DESCRIBED | UTF8;

/// Lengths that a descriptor can have: with or without a signature, with sizes of 32 or 64 bits.
const DESCRIPTOR_LENGTHS: [u64; 4] = [12, 16, 20, 24];

/// Reads the local header of an entry and compares it with the directory. Answers where the content
/// begins.
///
/// # Errors
/// [`ArchiveError`].
pub(super) fn header(input: &mut dyn Read, listed: &Listed) -> Result<u64, ArchiveError> {
    let mut fixed = [0; LOCAL_BYTES];
    input.read_exact(&mut fixed).map_err(ArchiveError::reading)?;
    let mut fields = Fields(&fixed);
    if fields.u32()? != LOCAL {
        return Err(ArchiveError::Damaged("the directory points to what is no file"));
    }
    let _needed = fields.u16()?;
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.bytes(4)?;
    let checksum = fields.u32()?;
    let (mut packed, mut size) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
    let lengths = (usize::from(fields.u16()?), usize::from(fields.u16()?));
    let mut rest = vec![0; lengths.0 + lengths.1];
    input.read_exact(&mut rest).map_err(ArchiveError::reading)?;
    let (name, extras) = rest.split_at(lengths.0);
    widen(extras, &mut [&mut size, &mut packed])?;
    // What stands in the descriptor need not be known here; some write what they know.
    let described = flags & DESCRIBED != 0;
    let fits = |said: u64, listed: u64| said == listed || described && said == 0;
    let numbers = fits(u64::from(checksum), u64::from(listed.checksum))
        && fits(packed, listed.packed)
        && fits(size, listed.size);
    let same = (flags ^ listed.flags) & SHARED_FLAGS == 0
        && method == listed.method
        && name == listed.name
        && numbers;
    if !same {
        return Err(ArchiveError::Damaged("directory and file say different things"));
    }
    let length = (LOCAL_BYTES + rest.len()) as u64;
    listed.at.checked_add(length).ok_or(ArchiveError::Damaged("a file lies beyond the archive"))
}

/// Checks that between the content and what comes next there is a descriptor of so many bytes, or
/// nothing.
///
/// # Errors
/// [`ArchiveError`].
pub(super) fn gap(listed: &Listed, gap: u64) -> Result<(), ArchiveError> {
    let described = listed.flags & DESCRIBED != 0;
    let fits = if described { DESCRIPTOR_LENGTHS.contains(&gap) } else { gap == 0 };
    if fits { Ok(()) } else { Err(ArchiveError::Damaged("bytes between its files belong to none")) }
}

/// Reads the descriptor of so many bytes and compares it with the directory.
///
/// # Errors
/// [`ArchiveError`].
pub(super) fn descriptor(
    input: &mut dyn Read,
    listed: &Listed,
    length: u64,
) -> Result<(), ArchiveError> {
    let mut bytes = vec![0; length as usize];
    input.read_exact(&mut bytes).map_err(ArchiveError::reading)?;
    let mut fields = Fields(&bytes);
    let signed = length == 16 || length == 24;
    let mut same = !signed || fields.u32()? == DESCRIPTOR;
    same &= fields.u32()? == listed.checksum;
    let (packed, size) = match length {
        12 | 16 => (u64::from(fields.u32()?), u64::from(fields.u32()?)),
        _ => (fields.u64()?, fields.u64()?),
    };
    same &= (packed, size) == (listed.packed, listed.size);
    if same {
        Ok(())
    } else {
        Err(ArchiveError::Damaged("directory and file say different things"))
    }
}
