//! The directory at the end of a zip.

use std::io::{Read, Seek, SeekFrom};

use datamesh_core::Timestamp;

use crate::entry::{Found, Kind};
use crate::error::ArchiveError;
use crate::metadata::Metadata;

use super::record::{
    CENTRAL, CENTRAL_BYTES, ENCRYPTED, END, END_BYTES, END64, END64_BYTES, EXTRA_TIME, Fields,
    IN_64, IN_64_SHORT, LOCATOR64, LOCATOR64_BYTES, MASKED, STRONG, extra, widen,
};
use super::{DEFLATED, STORED, UNIX};

/// Longest comment of an archive.
const COMMENT_BYTES_MAX: u64 = u16::MAX as u64;

/// The host of Apple's zips, which has Unix's permissions.
const APPLE: u8 = 19;

/// What the end of a zip says of its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) entries: u64,
    pub(super) at: u64,
    pub(super) size: u64,
}

fn wrong<T>(what: &'static str) -> Result<T, ArchiveError> {
    Err(ArchiveError::Damaged(what))
}

impl End {
    /// Finds the end of a zip.
    ///
    /// # Errors
    /// [`ArchiveError`] where there is none, more than one, or it does not fit what is before it.
    pub(super) fn find<R: Read + Seek>(input: &mut R) -> Result<Self, ArchiveError> {
        let length = input.seek(SeekFrom::End(0)).map_err(ArchiveError::reading)?;
        let most = END_BYTES as u64 + COMMENT_BYTES_MAX;
        let begin = length.saturating_sub(most);
        let tail = read_at(input, begin, length - begin)?;
        let signature = END.to_le_bytes();
        // Its comment must end where the file does.
        let is_end = |at: &usize| {
            let comment = tail[at + 20..].first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
            tail[*at..].starts_with(&signature)
                && comment
                    .is_some_and(|comment| at + END_BYTES + usize::from(comment) == tail.len())
        };
        let mut ends = (0..(tail.len() + 1).saturating_sub(END_BYTES)).filter(is_end);
        let Some(at) = ends.next() else {
            return Err(ArchiveError::Truncated("a place where the end of a zip is missing"));
        };
        if ends.next().is_some() {
            return wrong("it has two ends, one in the comment of the other");
        }
        let mut fields = Fields(&tail[at + 4..]);
        let (disk, first) = (fields.u16()?, fields.u16()?);
        let here = u64::from(fields.u16()?);
        let entries = u64::from(fields.u16()?);
        let (size, offset) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        if (disk, first) != (0, 0) || here != entries {
            return wrong("it is one of several volumes");
        }
        let narrow = Self { entries, at: offset, size };
        let place = begin + at as u64;
        let (end, behind) = match Self::find_wide(input, place)? {
            Some((wide, behind)) => {
                let is_same = |narrow, wide, mark| narrow == wide || narrow == mark;
                let same = is_same(narrow.entries, wide.entries, IN_64_SHORT)
                    && is_same(narrow.at, wide.at, IN_64)
                    && is_same(narrow.size, wide.size, IN_64);
                if !same {
                    return wrong("its two ends disagree");
                }
                (wide, behind)
            }
            None => (narrow, place),
        };
        if end.at.checked_add(end.size) != Some(behind) {
            return wrong("its directory does not lie right before its end");
        }
        if end.entries > end.size / CENTRAL_BYTES as u64 {
            return wrong("its directory has no room for its entries");
        }
        Ok(end)
    }

    /// The end of 64 bits before the end at `place`, and where it begins; nothing where there is none.
    fn find_wide<R: Read + Seek>(
        input: &mut R,
        place: u64,
    ) -> Result<Option<(Self, u64)>, ArchiveError> {
        let Some(at) = place.checked_sub(LOCATOR64_BYTES as u64) else { return Ok(None) };
        let locator = read_at(input, at, LOCATOR64_BYTES as u64)?;
        let mut fields = Fields(&locator);
        if fields.u32()? != LOCATOR64 {
            return Ok(None);
        }
        let (disk, begin, disks) = (fields.u32()?, fields.u64()?, fields.u32()?);
        if disk != 0 || disks > 1 || begin.checked_add(END64_BYTES as u64) != Some(at) {
            return wrong("its end of 64 bits does not lie where it should");
        }
        let record = read_at(input, begin, END64_BYTES as u64)?;
        let mut fields = Fields(&record);
        if fields.u32()? != END64 || fields.u64()? != END64_BYTES as u64 - 12 {
            return wrong("its end of 64 bits is none");
        }
        fields.bytes(4)?;
        let disks = (fields.u32()?, fields.u32()?);
        let (here, entries) = (fields.u64()?, fields.u64()?);
        let (size, offset) = (fields.u64()?, fields.u64()?);
        if disks != (0, 0) || here != entries {
            return wrong("it is one of several volumes");
        }
        Ok(Some((Self { entries, at: offset, size }, begin)))
    }
}

fn read_at<R: Read + Seek>(input: &mut R, at: u64, count: u64) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    input.seek(SeekFrom::Start(at)).map_err(ArchiveError::reading)?;
    input.by_ref().take(count).read_to_end(&mut bytes).map_err(ArchiveError::reading)?;
    match bytes.len() as u64 == count {
        true => Ok(bytes),
        false => Err(ArchiveError::Truncated("the middle of a record")),
    }
}

/// An entry of the directory.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) checksum: u32,
    pub(super) packed: u64,
    pub(super) size: u64,
    /// Where its local header is.
    pub(super) at: u64,
    kind: Kind,
    mode: u32,
    modified: Timestamp,
    metadata: Option<Metadata>,
}

impl Listed {
    /// Reads the next entry of a directory that has `left` bytes more. Answers how many it took.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(super) fn read(input: &mut dyn Read, left: u64) -> Result<(Self, u64), ArchiveError> {
        let mut fixed = [0; CENTRAL_BYTES];
        if left < CENTRAL_BYTES as u64 {
            return wrong("its directory ends too early");
        }
        input.read_exact(&mut fixed).map_err(ArchiveError::reading)?;
        let mut fields = Fields(&fixed);
        if fields.u32()? != CENTRAL {
            return wrong("its directory has what is no entry");
        }
        let (_, host) = (fields.bytes(1)?, fields.bytes(1)?);
        let _needed = fields.u16()?;
        let (flags, method) = (fields.u16()?, fields.u16()?);
        let (time, date) = (fields.u16()?, fields.u16()?);
        let checksum = fields.u32()?;
        let (mut packed, mut size) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
        let lengths = [fields.u16()?, fields.u16()?, fields.u16()?];
        let disk = fields.u16()?;
        let _internal = fields.u16()?;
        let external = fields.u32()?;
        let mut at = u64::from(fields.u32()?);
        let took = CENTRAL_BYTES as u64 + lengths.iter().map(|it| u64::from(*it)).sum::<u64>();
        if left < took {
            return wrong("its directory ends too early");
        }
        let mut rest = vec![0; (took - CENTRAL_BYTES as u64) as usize];
        input.read_exact(&mut rest).map_err(ArchiveError::reading)?;
        let mut fields = Fields(&rest);
        let name = fields.bytes(usize::from(lengths[0]))?.to_vec();
        let extras = fields.bytes(usize::from(lengths[1]))?;
        let metadata = Metadata::read(fields.bytes(usize::from(lengths[2]))?);
        widen(extras, &mut [&mut size, &mut packed, &mut at])?;
        if disk != 0 {
            return wrong("it is one of several volumes");
        }
        let mode = match host {
            [UNIX | APPLE] => external >> 16,
            _ => 0,
        };
        let mut kind = kind(&name, mode);
        if kind == Kind::Folder && size != 0 {
            return wrong("a folder has content");
        }
        if flags & (ENCRYPTED | STRONG | MASKED) != 0 {
            kind = Kind::Other("encrypted in zip's own way: unpack it with its password");
        } else if kind == Kind::File && method != STORED && method != DEFLATED {
            kind = Kind::Other("compressed in a way that is not read here: only deflate is");
        }
        let modified = match metadata.as_ref().map(|metadata| metadata.modified) {
            Some(modified) if modified != 0 => modified,
            _ => modified_at(extras)?.unwrap_or_else(|| from_dos(date, time)),
        };
        let mode = mode & 0o777;
        let listed = Self {
            name,
            flags,
            method,
            checksum,
            packed,
            size,
            at,
            kind,
            mode,
            modified,
            metadata,
        };
        Ok((listed, took))
    }

    /// It has content that can be read.
    pub(super) fn is_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// The entry for whoever reads the archive.
    pub(super) fn found(&self) -> Found {
        Found {
            name: self.name.clone(),
            kind: self.kind,
            size: self.size,
            mode: self.mode,
            modified: self.modified,
            metadata: self.metadata.clone(),
        }
    }
}

fn kind(name: &[u8], mode: u32) -> Kind {
    match mode & 0o170_000 {
        0o120_000 => Kind::Other("a symbolic link"),
        0o040_000 => Kind::Folder,
        0 | 0o100_000 if name.ends_with(b"/") => Kind::Folder,
        0 | 0o100_000 => Kind::File,
        _ => Kind::Other("a device or pipe"),
    }
}

/// The time of the last change in the extra field; nothing where there is none, or it is before 1970.
fn modified_at(extras: &[u8]) -> Result<Option<Timestamp>, ArchiveError> {
    let Some(field) = extra(extras, EXTRA_TIME)? else { return Ok(None) };
    let mut fields = Fields(field);
    if fields.bytes(1).is_ok_and(|flags| flags[0] & 1 != 0)
        && let Ok(seconds) = fields.u32()
        && let Ok(seconds) = u64::try_from(seconds.cast_signed())
    {
        return Ok(Some(seconds * 1000));
    }
    Ok(None)
}

/// The first time that DOS has, which stands where none is known.
const FIRST: (u16, u16) = (1 << 5 | 1, 0);

/// A time of DOS, which has no zone, as if it were in UTC; 0 where it is none.
fn from_dos(date: u16, time: u16) -> Timestamp {
    if (date, time) == FIRST {
        return 0;
    }
    let part = |value: u16, shift: u32, bits: u32| i8::try_from(value >> shift & ((1 << bits) - 1));
    let at = || {
        let year = i16::try_from(1980 + (date >> 9)).ok()?;
        let (month, day) = (part(date, 5, 4).ok()?, part(date, 0, 5).ok()?);
        let (hour, minute) = (part(time, 11, 5).ok()?, part(time, 5, 6).ok()?);
        let second = part(time, 0, 5).ok()? * 2;
        let civil = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        u64::try_from(zoned.timestamp().as_millisecond()).ok()
    };
    at().unwrap_or(0)
}

/// The same the other way round: date and time.
pub(super) fn to_dos(modified: Timestamp) -> (u16, u16) {
    let at = || {
        let time = jiff::Timestamp::from_millisecond(i64::try_from(modified).ok()?).ok()?;
        let civil = time.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let year = u16::try_from(civil.year()).ok()?.checked_sub(1980).filter(|it| *it < 128)?;
        let part = |value: i8| u16::try_from(value).ok();
        let date = year << 9 | part(civil.month())? << 5 | part(civil.day())?;
        let clock =
            part(civil.hour())? << 11 | part(civil.minute())? << 5 | (part(civil.second())? / 2);
        Some((date, clock))
    };
    at().unwrap_or(FIRST)
}
