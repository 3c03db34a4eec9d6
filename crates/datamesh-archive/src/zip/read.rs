//! Reading a zip.
//!
//! Promised: an entry is given only where directory and file agree, no two share a byte and nothing
//! lies between them; content ends well only if its length and checksum are those that the directory
//! names. In memory is one entry, and eight bytes for each of the archive.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::entry::{Found, Walk};
use crate::error::ArchiveError;
use crate::limits::Limits;

use super::directory::{End, Listed};
use super::{STORED, local};

/// Bytes that are read at once.
const READ_BYTES: usize = 32 * 1024;

/// What a zip is read from.
pub trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

type Input = BufReader<Box<dyn ReadSeek>>;

/// A zip that is read.
pub struct ZipWalk {
    directory: Input,
    data: Input,
    length: u64,
    end: End,
    /// Entries and bytes of the directory that were not read.
    left: (u64, u64),
    /// Where the local headers are, in order.
    starts: Vec<u64>,
    open: Option<Open>,
    expanded: u64,
}

/// The entry that is read.
struct Open {
    listed: Listed,
    inflate: Option<Box<Decompress>>,
    checksum: Crc,
    /// Bytes of it in the archive that were not read.
    packed_left: u64,
    given: u64,
    /// The compressed content ended.
    complete: bool,
    /// Bytes of the descriptor behind it.
    descriptor: u64,
    checked: bool,
}

impl ZipWalk {
    /// Reads a zip within these limits through two readers of the same file: one for the
    /// directory, one for the contents.
    ///
    /// # Errors
    /// [`ArchiveError`] where it is no sound zip.
    pub fn new(
        directory: Box<dyn ReadSeek>,
        data: Box<dyn ReadSeek>,
        limits: &Limits,
    ) -> Result<Self, ArchiveError> {
        let mut directory = BufReader::with_capacity(READ_BYTES, directory);
        let length = directory.seek(SeekFrom::End(0)).map_err(ArchiveError::reading)?;
        let end = End::find(&mut directory)?;
        limits.count(end.entries)?;
        let data = BufReader::with_capacity(READ_BYTES, data);
        let left = (end.entries, end.size);
        let starts = Vec::new();
        let mut walk = Self { directory, data, length, end, left, starts, open: None, expanded: 0 };
        walk.survey()?;
        Ok(walk)
    }

    /// Goes through the directory once, for where the files lie.
    fn survey(&mut self) -> Result<(), ArchiveError> {
        self.rewind()?;
        while let Some(listed) = self.listed()? {
            self.starts.push(listed.at);
        }
        self.starts.sort_unstable();
        let shared = self.starts.windows(2).any(|pair| pair[0] == pair[1]);
        let beyond = self.starts.last().is_some_and(|last| *last >= self.end.at);
        if shared || beyond {
            return Err(ArchiveError::Damaged("two entries share one file, or one has none"));
        }
        if self.starts.first().copied().unwrap_or(self.end.at) != 0 {
            return Err(ArchiveError::Damaged("something stands before its first file"));
        }
        self.rewind()
    }

    fn rewind(&mut self) -> Result<(), ArchiveError> {
        self.left = (self.end.entries, self.end.size);
        let sought = self.directory.seek(SeekFrom::Start(self.end.at));
        sought.map(drop).map_err(ArchiveError::reading)
    }

    /// The next entry of the directory.
    fn listed(&mut self) -> Result<Option<Listed>, ArchiveError> {
        let (entries, bytes) = self.left;
        if entries == 0 {
            return match bytes {
                0 => Ok(None),
                _ => Err(ArchiveError::Damaged("its directory has more than its entries")),
            };
        }
        let (listed, took) = Listed::read(&mut self.directory, bytes)?;
        self.left = (entries - 1, bytes - took);
        Ok(Some(listed))
    }

    /// Goes to the content of an entry, checking all that stands around it.
    fn enter(&mut self, listed: Listed) -> Result<Open, ArchiveError> {
        self.data.seek(SeekFrom::Start(listed.at)).map_err(ArchiveError::reading)?;
        let begin = local::header(&mut self.data, &listed)?;
        let next = self.starts.partition_point(|start| *start <= listed.at);
        let bound = self.starts.get(next).copied().unwrap_or(self.end.at);
        let end = begin.checked_add(listed.packed).filter(|end| *end <= bound);
        let end = end.ok_or(ArchiveError::Damaged("two of its files overlap"))?;
        local::gap(&listed, bound - end)?;
        let inflate = (listed.method != STORED).then(|| Box::new(Decompress::new(false)));
        if inflate.is_none() && listed.packed != listed.size {
            return Err(ArchiveError::Damaged("a file that is not compressed has two sizes"));
        }
        Ok(Open {
            inflate,
            checksum: Crc::new(),
            packed_left: listed.packed,
            given: 0,
            complete: false,
            descriptor: bound - end,
            // Of all but files nothing is read.
            checked: !listed.is_file(),
            listed,
        })
    }
}

impl Open {
    fn wrong(&self, what: &'static str) -> ArchiveError {
        let name = String::from_utf8_lossy(&self.listed.name).into_owned();
        ArchiveError::Content { name, what }
    }

    /// Reads on; 0 where the compressed content ends.
    fn some(&mut self, data: &mut Input, out: &mut [u8]) -> Result<usize, ArchiveError> {
        loop {
            let room = usize::try_from(self.packed_left).unwrap_or(usize::MAX);
            let packed = data.fill_buf().map_err(ArchiveError::reading)?;
            if packed.is_empty() && room > 0 {
                return Err(ArchiveError::Truncated("the middle of a file"));
            }
            let packed = &packed[..packed.len().min(room)];
            let (took, gave) = match &mut self.inflate {
                None => {
                    let count = packed.len().min(out.len());
                    out[..count].copy_from_slice(&packed[..count]);
                    self.complete = count == 0;
                    (count, count)
                }
                Some(inflate) => {
                    let before = (inflate.total_in(), inflate.total_out());
                    let status = inflate.decompress(packed, out, FlushDecompress::None);
                    let took = (inflate.total_in() - before.0) as usize;
                    let gave = (inflate.total_out() - before.1) as usize;
                    match status {
                        Ok(Status::StreamEnd) => self.complete = true,
                        Ok(_) if took > 0 || gave > 0 => {}
                        _ => return Err(self.wrong("does not expand")),
                    }
                    (took, gave)
                }
            };
            data.consume(took);
            self.packed_left -= took as u64;
            if gave > 0 || self.complete {
                return Ok(gave);
            }
        }
    }

    /// What must hold at the end of the content.
    fn check(&mut self, data: &mut Input) -> Result<(), ArchiveError> {
        if self.packed_left > 0 {
            return Err(self.wrong("ends before its bytes in the archive do"));
        }
        if self.given != self.listed.size {
            return Err(self.wrong("is shorter than the directory says"));
        }
        if self.checksum.sum() != self.listed.checksum {
            return Err(self.wrong("has another checksum than the directory says"));
        }
        if self.descriptor > 0 {
            local::descriptor(data, &self.listed, self.descriptor)?;
        }
        self.checked = true;
        Ok(())
    }
}

impl Walk for ZipWalk {
    fn next(&mut self) -> Result<Option<Found>, ArchiveError> {
        self.open = None;
        let Some(listed) = self.listed()? else { return Ok(None) };
        let found = listed.found();
        self.open = Some(self.enter(listed)?);
        Ok(Some(found))
    }

    fn read(&mut self, out: &mut [u8]) -> Result<usize, ArchiveError> {
        let Some(open) = &mut self.open else { return Ok(0) };
        if out.is_empty() || open.checked {
            return Ok(0);
        }
        let count = if open.complete { 0 } else { open.some(&mut self.data, out)? };
        open.given += count as u64;
        self.expanded += count as u64;
        if open.given > open.listed.size {
            return Err(open.wrong("is longer than the directory says"));
        }
        open.checksum.update(&out[..count]);
        if count == 0 {
            open.check(&mut self.data)?;
        }
        Ok(count)
    }

    fn consumed(&self) -> u64 {
        self.length
    }

    fn expanded(&self) -> u64 {
        self.expanded
    }
}
