//! Names of packs, and reading and checking one record of a pack.

use crate::buffer::{PooledBuffer, ReadPool};
use crate::disk::{ALIGNMENT, DiskFile};
use crate::error::Damage;
use crate::record::{HASHED_BYTES_MAX, HEADER_BYTES, Header, Kind, RecordKey, Row};

/// Records of one pack's table at most: bounds the memory that sealing and opening take.
pub(crate) const PACK_ROWS_MAX: usize = 65_536;

/// Name of a pack's file.
pub fn name_of(pack: u32) -> String {
    format!("pack-{pack:08}.dmp")
}

/// Number of the pack whose file has that name.
pub fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("pack-")?.strip_suffix(".dmp")?;
    let number = digits.parse().ok()?;
    (name_of(number) == name).then_some(number)
}

/// Reads exactly the bytes asked for.
pub(crate) fn read_exact(file: &dyn DiskFile, offset: u64, out: &mut [u8]) -> Result<(), Damage> {
    match file.read_at(offset, out) {
        Ok(count) if count == out.len() => Ok(()),
        Ok(_) => Err(Damage::Missing),
        Err(_) => Err(Damage::Unreadable),
    }
}

/// A record's place, and what its header must say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) pack: u32,
    pub(crate) offset: u64,
    pub(crate) kind: u8,
    pub(crate) sequence: u64,
    pub(crate) length: u32,
    pub(crate) hashed: u32,
}

impl Expected {
    pub(crate) fn of(pack: u32, row: &Row) -> Self {
        Self {
            pack,
            offset: row.offset(),
            kind: row.kind,
            sequence: row.sequence,
            length: row.length,
            hashed: row.hashed,
        }
    }

    fn check(&self, key: &RecordKey, bytes: &[u8]) -> Result<(), Damage> {
        let hashed_end = HEADER_BYTES + self.hashed as usize;
        let (header, hash) = Header::read(bytes).ok_or(Damage::Record)?;
        let hashed = bytes.get(HEADER_BYTES..hashed_end).ok_or(Damage::Record)?;
        let same = header.kind == self.kind
            && header.sequence == self.sequence
            && header.length == self.length
            && header.hashed == self.hashed;
        if same && key.hash(self.pack, self.offset, &header, hashed) == hash {
            Ok(())
        } else {
            Err(Damage::Record)
        }
    }

    /// Reads the header and the hashed part of the body, and checks both.
    pub(crate) fn read_hashed(
        &self,
        file: &dyn DiskFile,
        key: &RecordKey,
    ) -> Result<Vec<u8>, Damage> {
        let mut bytes = vec![0; HEADER_BYTES + self.hashed as usize];
        read_exact(file, self.offset, &mut bytes)?;
        self.check(key, &bytes)?;
        bytes.drain(..HEADER_BYTES);
        Ok(bytes)
    }

    /// Reads the whole record and checks the header and the hashed part of the body. The cells of
    /// a shard are not checked.
    pub(crate) fn read_whole(
        &self,
        file: &dyn DiskFile,
        key: &RecordKey,
        pool: &ReadPool,
    ) -> Result<PooledBuffer, Damage> {
        // All of the blocks that it touches, so that they can be read past the page cache.
        let length = HEADER_BYTES + self.length as usize;
        let before = (self.offset % ALIGNMENT as u64) as usize;
        let mut buffer = pool.take((before + length).next_multiple_of(ALIGNMENT));
        match file.read_at(self.offset - before as u64, buffer.as_mut_slice()) {
            Ok(count) if count >= before + length => {}
            Ok(_) => return Err(Damage::Missing),
            Err(_) => return Err(Damage::Unreadable),
        }
        buffer.cut(before, length);
        self.check(key, buffer.as_ref())?;
        Ok(buffer)
    }

    /// Where the part of the body that is not hashed begins.
    pub(crate) fn rest_offset(&self) -> u64 {
        self.offset + HEADER_BYTES as u64 + u64::from(self.hashed)
    }
}

/// Reads the record at `offset`, whatever it is, but for the part that is not hashed. None where
/// there is no valid record of this store, pack and place.
pub(crate) fn read_at(
    file: &dyn DiskFile,
    key: &RecordKey,
    pack: u32,
    offset: u64,
    hashed_max: usize,
) -> Option<(Header, Vec<u8>)> {
    let mut head = [0; HEADER_BYTES];
    read_exact(file, offset, &mut head).ok()?;
    let (header, hash) = Header::read(&head)?;
    if header.hashed as usize > hashed_max {
        return None;
    }
    let mut hashed = vec![0; header.hashed as usize];
    read_exact(file, offset + HEADER_BYTES as u64, &mut hashed).ok()?;
    (key.hash(pack, offset, &header, &hashed) == hash).then_some((header, hashed))
}

/// Whether a header may stand in front of a record that a scan can meet. Tables are found from the
/// end of their pack only, so a scan needs no large hashed parts.
pub(crate) fn plausible_in_scan(header: &Header) -> bool {
    header.hashed as usize <= HASHED_BYTES_MAX && header.kind != Kind::PackTable as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_names_are_packs() {
        assert_eq!(number_of(&name_of(7)), Some(7));
        assert_eq!(number_of(&name_of(u32::MAX)), Some(u32::MAX));
        for name in ["pack-7.dmp", "pack-00000007", "pack-0000000x.dmp", "pack-+0000007.dmp", "x"] {
            assert_eq!(number_of(name), None, "{name}");
        }
    }
}
