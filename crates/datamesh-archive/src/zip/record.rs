//! Records of a zip: numbers in little-endian, signatures, extra fields.

use crate::error::ArchiveError;

pub(super) const LOCAL: u32 = 0x0403_4b50;
pub(super) const DESCRIPTOR: u32 = 0x0807_4b50;
pub(super) const CENTRAL: u32 = 0x0201_4b50;
pub(super) const END: u32 = 0x0605_4b50;
pub(super) const END64: u32 = 0x0606_4b50;
pub(super) const LOCATOR64: u32 = 0x0706_4b50;

/// Bytes of the fixed part of each.
pub(super) const LOCAL_BYTES: usize = 30;
pub(super) const CENTRAL_BYTES: usize = 46;
pub(super) const END_BYTES: usize = 22;
pub(super) const END64_BYTES: usize = 56;
pub(super) const LOCATOR64_BYTES: usize = 20;

/// The extra field with sizes of 64 bits.
pub(super) const EXTRA_ZIP64: u16 = 0x0001;

/// The extra field with times in seconds since 1970.
pub(super) const EXTRA_TIME: u16 = 0x5455;

/// Bits of the flags.
pub(super) const ENCRYPTED: u16 = 1;
pub(super) const DESCRIBED: u16 = 1 << 3;
pub(super) const STRONG: u16 = 1 << 6;
pub(super) const UTF8: u16 = 1 << 11;
pub(super) const MASKED: u16 = 1 << 13;

/// What stands in a field of 32 or 16 bits whose value is in the zip64 field.
pub(super) const IN_64: u64 = u32::MAX as u64;
pub(super) const IN_64_SHORT: u64 = u16::MAX as u64;

/// Reads numbers one after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

const SHORT: ArchiveError = ArchiveError::Damaged("a zip record ends too early");

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], ArchiveError> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        self.bytes(N)?.try_into().map_err(|_| SHORT)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ArchiveError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ArchiveError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ArchiveError> {
        self.array().map(u64::from_le_bytes)
    }
}

/// The content of an extra field; nothing where there is none. Two of a kind are refused.
pub(super) fn extra(fields: &[u8], wanted: u16) -> Result<Option<&[u8]>, ArchiveError> {
    let (mut fields, mut found) = (Fields(fields), None);
    // Some programs leave a few zeros behind the last field.
    while fields.0.len() >= 4 {
        let (id, length) = (fields.u16()?, fields.u16()?);
        let content = fields.bytes(usize::from(length))?;
        if id == wanted && found.replace(content).is_some() {
            return Err(ArchiveError::Damaged("a zip entry has an extra field twice"));
        }
    }
    Ok(found)
}

/// Puts the values that the zip64 field has in the place of those that say so, in their order.
pub(super) fn widen(fields: &[u8], values: &mut [&mut u64]) -> Result<(), ArchiveError> {
    let wide = extra(fields, EXTRA_ZIP64)?;
    let mut wide = Fields(wide.unwrap_or_default());
    for value in values {
        if **value == IN_64 && !wide.0.is_empty() {
            **value = wide.u64()?;
        }
    }
    Ok(())
}

/// Writes numbers one after the other.
#[derive(Default)]
pub(super) struct Record(pub(super) Vec<u8>);

impl Record {
    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
}
