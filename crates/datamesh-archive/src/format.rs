//! The formats of archives, and how one is told from another.

use std::fmt;
use std::str::FromStr;

use datamesh_crypto::age;
use serde::Serialize;

use crate::error::ArchiveError;

/// The ending of a name that says that the archive is sealed.
const SEALED_ENDING: &str = ".age";

/// Endings of names, in small letters, and what they say. The longer ones come first.
const ENDINGS: [(&str, Format); 5] = [
    (".tar.zst", Format::TarZst),
    (".tar.zstd", Format::TarZst),
    (".tzst", Format::TarZst),
    (".tar", Format::Tar),
    (".zip", Format::Zip),
];

/// A format of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Format {
    /// POSIX pax interchange format, not compressed.
    #[serde(rename = "tar")]
    Tar,
    /// The same, compressed as a whole.
    #[serde(rename = "tar.zst")]
    TarZst,
    /// Zip, each file compressed by itself.
    #[serde(rename = "zip")]
    Zip,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::Tar, Self::TarZst, Self::Zip];

    /// Its name in commands and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::TarZst => "tar.zst",
            Self::Zip => "zip",
        }
    }

    /// What the name of a file says: its format if any, and whether it is sealed.
    pub fn of_name(name: &str) -> (Option<Self>, bool) {
        let name = name.to_lowercase();
        let (inner, sealed) = match name.strip_suffix(SEALED_ENDING) {
            Some(inner) => (inner, true),
            None => (name.as_str(), false),
        };
        let found = ENDINGS.iter().find(|(ending, _)| inner.ends_with(ending));
        (found.map(|(_, format)| *format), sealed)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| format!("\"{text}\" is not a format: tar, tar.zst, zip"))
    }
}

/// Bytes from the beginning that tell what something is.
pub(crate) const PROBE_BYTES: usize = 512;

/// What lies in a file, by its first bytes. Names say nothing: whoever made the archive chose them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// A sealed stream.
    Sealed,
    /// An archive.
    Archive(Format),
}

/// Tells what these first bytes begin, [`PROBE_BYTES`] of them where there are as many.
///
/// # Errors
/// [`ArchiveError::Unknown`] with what it seems to be instead.
pub(crate) fn probe(beginning: &[u8]) -> Result<Probe, ArchiveError> {
    let is = |magic: &[u8]| beginning.starts_with(magic);
    let unknown = |what| Err(ArchiveError::Unknown(what));
    if age::is_age(beginning) {
        return Ok(Probe::Sealed);
    }
    if is(&[0x28, 0xb5, 0x2f, 0xfd]) || (is_skippable(beginning)) {
        return Ok(Probe::Archive(Format::TarZst));
    }
    if is(b"PK\x03\x04") || is(b"PK\x05\x06") {
        return Ok(Probe::Archive(Format::Zip));
    }
    if crate::tar::begins(beginning) {
        return Ok(Probe::Archive(Format::Tar));
    }
    match beginning {
        [] => unknown("it is empty"),
        [0x1f, 0x8b, ..] => unknown("it is compressed by gzip: gunzip -c FILE | datamesh import -"),
        [b'B', b'Z', b'h', ..] => {
            unknown("it is compressed by bzip2: bunzip2 -c FILE | datamesh import -")
        }
        [0xfd, b'7', b'z', ..] => {
            unknown("it is compressed by xz: xz -dc FILE | datamesh import -")
        }
        [b'7', b'z', ..] => unknown("it is a 7z archive: unpack it and store the folder"),
        _ if is(b"-----BEGIN AGE") => {
            unknown("it is sealed and written as text: age -d FILE | datamesh import -")
        }
        _ => unknown("it is neither tar, tar.zst nor zip"),
    }
}

/// A zstd stream may begin with a frame that is passed over.
fn is_skippable(beginning: &[u8]) -> bool {
    matches!(beginning, [first, 0x2a, 0x4d, 0x18, ..] if first & 0xf0 == 0x50)
}
