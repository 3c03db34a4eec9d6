//! The one byte codec of every stored and sent record.
//!
//! Little-endian, no optional fields, lengths before contents. A decoder checks each length against
//! both the field's bound and the bytes that are really there before it allocates, so a stranger
//! never chooses our allocation. [`decode`] refuses trailing bytes: one record has one encoding.
//!
//! Formats are described field by field in `docs/specs/`; golden vectors are in `testdata/`.

use bytes::Bytes;

/// Why bytes are not the record they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end before the record does.
    #[error("record ends after {have} bytes where {need} more were expected")]
    Short {
        /// Bytes that were left.
        have: usize,
        /// Bytes that the field needs.
        need: usize,
    },
    /// Bytes follow the end of the record.
    #[error("{0} bytes follow the end of the record")]
    Trailing(usize),
    /// A length field is above the bound of its field.
    #[error("{field} has length {length}, above its bound {bound}")]
    Bound {
        /// Name of the field.
        field: &'static str,
        /// The length that was read.
        length: usize,
        /// The largest length allowed.
        bound: usize,
    },
    /// A field holds a value that the format does not know.
    #[error("{field} has an invalid value")]
    Invalid {
        /// Name of the field.
        field: &'static str,
    },
    /// The version of the record is not one this program reads.
    #[error("{record} has version {version}, this program reads up to {known}")]
    Version {
        /// Name of the record.
        record: &'static str,
        /// The version that was read.
        version: u8,
        /// The newest version known here.
        known: u8,
    },
}

/// Reads fields in order from borrowed bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

macro_rules! read_int {
    ($($name:ident $type:ty),*) => {$(
        #[doc = concat!("Reads a little-endian `", stringify!($type), "`.")]
        pub fn $name(&mut self) -> Result<$type, WireError> {
            Ok(<$type>::from_le_bytes(self.array()?))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Starts reading at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes exactly `length` bytes without copying them.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        if self.rest.len() < length {
            return Err(WireError::Short { have: self.rest.len(), need: length });
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    /// Reads a fixed number of bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    read_int!(u8 u8, u16 u16, u32 u32, u64 u64);

    /// Reads bytes behind a `u32` length of at most `bound`.
    pub fn bytes(&mut self, field: &'static str, bound: usize) -> Result<&'a [u8], WireError> {
        let length = self.u32()? as usize;
        if length > bound {
            return Err(WireError::Bound { field, length, bound });
        }
        self.take(length)
    }

    /// Reads UTF-8 text behind a `u32` length of at most `bound` bytes.
    pub fn text(&mut self, field: &'static str, bound: usize) -> Result<String, WireError> {
        let bytes = self.bytes(field, bound)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(WireError::Invalid { field }),
        }
    }

    /// Reads [text](Self::text) that can stand in one line of a log or a table: without control
    /// characters.
    pub fn line(&mut self, field: &'static str, bound: usize) -> Result<String, WireError> {
        let text = self.text(field, bound)?;
        if is_line(&text) { Ok(text) } else { Err(WireError::Invalid { field }) }
    }

    /// Reads a list behind a `u16` count of at most `bound`. Grows as items are really there, so
    /// a count alone reserves nothing.
    pub fn list<T: Decode>(
        &mut self,
        field: &'static str,
        bound: usize,
    ) -> Result<Vec<T>, WireError> {
        let length = self.u16()? as usize;
        if length > bound {
            return Err(WireError::Bound { field, length, bound });
        }
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(T::decode(self)?);
        }
        Ok(items)
    }

    /// Reads [lines](Self::line) of at most `bytes` bytes each behind a `u16` count of at most
    /// `bound`.
    pub fn lines(
        &mut self,
        field: &'static str,
        bound: usize,
        bytes: usize,
    ) -> Result<Vec<String>, WireError> {
        let lines = self.texts(field, bound, bytes)?;
        if lines.iter().all(|line| is_line(line)) {
            Ok(lines)
        } else {
            Err(WireError::Invalid { field })
        }
    }

    /// Reads texts of at most `bytes` bytes each behind a `u16` count of at most `bound`.
    pub fn texts(
        &mut self,
        field: &'static str,
        bound: usize,
        bytes: usize,
    ) -> Result<Vec<String>, WireError> {
        let length = self.u16()? as usize;
        if length > bound {
            return Err(WireError::Bound { field, length, bound });
        }
        (0..length).map(|_| self.text(field, bytes)).collect()
    }

    /// Reads a flag byte: 0 or 1, nothing else.
    pub fn flag(&mut self, field: &'static str) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Invalid { field }),
        }
    }

    /// Reads a version byte and refuses zero and versions above `known`.
    pub fn version(&mut self, record: &'static str, known: u8) -> Result<u8, WireError> {
        let version = self.u8()?;
        if version == 0 || version > known {
            return Err(WireError::Version { record, version, known });
        }
        Ok(version)
    }

    /// Ends the record: anything left is an error.
    pub fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.rest.len())) }
    }
}

/// Whether text holds no control character.
pub fn is_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Appends fields in order to a growing buffer.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

macro_rules! write_int {
    ($($name:ident $type:ty),*) => {$(
        #[doc = concat!("Appends a little-endian `", stringify!($type), "`.")]
        pub fn $name(&mut self, value: $type) -> &mut Self {
            self.out.extend_from_slice(&value.to_le_bytes());
            self
        }
    )*};
}

impl Writer {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    write_int!(u8 u8, u16 u16, u32 u32, u64 u64);

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// Appends bytes behind their `u32` length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        debug_assert!(u32::try_from(bytes.len()).is_ok(), "a length that its field cannot hold");
        self.u32(bytes.len() as u32).raw(bytes)
    }

    /// Appends text behind its `u32` length in bytes.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Appends a list behind its `u16` count.
    pub fn list<T: Encode>(&mut self, items: &[T]) -> &mut Self {
        debug_assert!(u16::try_from(items.len()).is_ok(), "a count that its field cannot hold");
        self.u16(items.len() as u16);
        for item in items {
            item.encode(self);
        }
        self
    }

    /// Appends texts behind their `u16` count.
    pub fn texts(&mut self, texts: &[String]) -> &mut Self {
        debug_assert!(u16::try_from(texts.len()).is_ok(), "a count that its field cannot hold");
        self.u16(texts.len() as u16);
        for text in texts {
            self.text(text);
        }
        self
    }

    /// Appends a flag byte.
    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    /// The finished bytes.
    pub fn into_vec(self) -> Vec<u8> {
        self.out
    }
}

/// A record that can be written.
pub trait Encode {
    /// Appends the record's fields.
    fn encode(&self, out: &mut Writer);

    /// The record's bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.encode(&mut out);
        out.into_vec()
    }
}

/// A record that can be read back.
pub trait Decode: Sized {
    /// Reads the record's fields and leaves what follows.
    ///
    /// # Errors
    /// [`WireError`] for anything that is not exactly one valid record.
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError>;
}

/// Writes a record that must be readable again: a value beyond the bounds of its format has an
/// encoding, and no reader takes it.
///
/// # Errors
/// [`WireError`] where what would be written cannot be read, or reads as something else.
pub fn encode_readable<T: Encode + Decode + PartialEq>(
    record: &'static str,
    value: &T,
) -> Result<Vec<u8>, WireError> {
    let bytes = value.to_bytes();
    if decode::<T>(&bytes)? == *value {
        Ok(bytes)
    } else {
        Err(WireError::Invalid { field: record })
    }
}

/// Reads one record that must fill `bytes` wholly.
///
/// # Errors
/// [`WireError`] where `bytes` are not exactly one valid record.
pub fn decode<T: Decode>(bytes: &[u8]) -> Result<T, WireError> {
    let mut from = Reader::new(bytes);
    let record = T::decode(&mut from)?;
    from.finish()?;
    Ok(record)
}

macro_rules! int_record {
    ($($type:ident),*) => {$(
        impl Encode for $type {
            fn encode(&self, out: &mut Writer) { out.$type(*self); }
        }
        impl Decode for $type {
            fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> { from.$type() }
        }
    )*};
}
int_record!(u8, u16, u32, u64);

/// Opaque bytes of at most `BOUND`, carried inside records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blob<const BOUND: usize>(pub Bytes);

impl<const BOUND: usize> Encode for Blob<BOUND> {
    fn encode(&self, out: &mut Writer) {
        out.bytes(&self.0);
    }
}

impl<const BOUND: usize> Decode for Blob<BOUND> {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self(Bytes::copy_from_slice(from.bytes("blob", BOUND)?)))
    }
}

/// Declares a record whose fields are written in order, each by its own [`Encode`].
///
/// The struct keeps its documentation; the encoding is the fields in declaration order.
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* $visible:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_visible:vis $field:ident : $type:ty,)*
    }) => {
        $(#[$meta])*
        $visible struct $name { $($(#[$field_meta])* $field_visible $field: $type,)* }

        impl $crate::wire::Encode for $name {
            fn encode(&self, out: &mut $crate::wire::Writer) {
                $($crate::wire::Encode::encode(&self.$field, out);)*
            }
        }

        impl $crate::wire::Decode for $name {
            fn decode(from: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::WireError> {
                Ok(Self { $($field: $crate::wire::Decode::decode(from)?,)* })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_above_its_bound_is_refused_before_the_bytes_are_looked_at() {
        let bytes = u32::MAX.to_le_bytes();
        let error = Reader::new(&bytes).bytes("name", 16);
        assert_eq!(
            error,
            Err(WireError::Bound { field: "name", length: u32::MAX as usize, bound: 16 })
        );
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(decode::<u16>(&[1, 0, 9]), Err(WireError::Trailing(1)));
    }

    #[test]
    fn a_list_count_without_items_is_short() {
        assert!(matches!(
            Reader::new(&[255, 0]).list::<u64>("n", 300),
            Err(WireError::Short { .. })
        ));
    }
}
