//! Names of files in an account.

use std::fmt;
use std::str::FromStr;

use crate::seam::Timestamp;
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// Longest ending of a name, in bytes; what is longer is a part of the name.
const EXTENSION_BYTES_MAX: usize = 16;

/// A file's name in its account: components joined by `/`, compared byte for byte.
///
/// No component is empty, `.` or `..`, or holds a NUL byte, so a path can be laid below a folder
/// without leaving it.
#[derive(
    Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct MeshPath(String);

/// A name that cannot be a file's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" cannot be a file name: {reason}")]
pub struct PathError {
    /// The name, its start if it is long.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl MeshPath {
    /// Longest path in bytes.
    pub const BYTES_MAX: usize = 4096;

    /// Longest component in bytes: what the usual file systems take.
    pub const COMPONENT_BYTES_MAX: usize = 255;

    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between the slashes.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The part below the folder `prefix`, or nothing where the path is not below it.
    pub fn below(&self, prefix: &Self) -> Option<&str> {
        self.0.strip_prefix(&prefix.0)?.strip_prefix('/')
    }

    /// What follows the last dot of the name; nothing where nothing comes before the dot, or what follows is
    /// too long for an ending, or has a space in it.
    pub fn extension(&self) -> Option<&str> {
        let (stem, extension) = self.name().rsplit_once('.')?;
        let is_one = !stem.is_empty()
            && !extension.is_empty()
            && extension.len() <= EXTENSION_BYTES_MAX
            && !extension.contains(' ');
        is_one.then_some(extension)
    }

    /// The name of what stands beside this path under a mark: `report (mark).txt` beside
    /// `report.txt`. Nothing where the path has no room for it.
    pub fn beside(&self, mark: &str) -> Option<Self> {
        let (folder, name) = match self.0.rsplit_once('/') {
            Some((folder, name)) => (Some(folder), name),
            None => (None, self.as_str()),
        };
        let (stem, extension) = match self.extension() {
            Some(extension) => {
                let extension = format!(".{extension}");
                (name.strip_suffix(&extension).unwrap_or(name), extension)
            }
            None => (name, String::new()),
        };
        let mark = format!(" {mark}{extension}");
        let before = folder.map_or(0, |folder| folder.len() + 1);
        let room = Self::COMPONENT_BYTES_MAX.min(Self::BYTES_MAX.checked_sub(before)?);
        let end = stem.floor_char_boundary(room.checked_sub(mark.len())?.min(stem.len()));
        let name = format!("{}{mark}", &stem[..end]);
        folder.map_or(name.clone(), |folder| format!("{folder}/{name}")).parse().ok()
    }
}

/// The day of a time, in UTC, by the Gregorian calendar.
pub fn day(time: Timestamp) -> String {
    // Days since 0000-03-01, counted in eras of 400 years (Hinnant, days_from_civil).
    let days = time / 86_400_000 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

impl fmt::Display for MeshPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MeshPath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        let wrong = |reason| PathError { text: text.chars().take(100).collect(), reason };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        if text.len() > Self::BYTES_MAX {
            return Err(wrong("it is longer than 4096 bytes"));
        }
        if text.contains('\0') {
            return Err(wrong("it holds a NUL byte"));
        }
        for part in text.split('/') {
            match part {
                "" => return Err(wrong("it begins or ends with a slash or has two in a row")),
                "." | ".." => return Err(wrong("it has a \".\" or \"..\" part")),
                _ if part.len() > Self::COMPONENT_BYTES_MAX => {
                    return Err(wrong("a part of it is longer than 255 bytes"));
                }
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl From<MeshPath> for String {
    fn from(path: MeshPath) -> Self {
        path.0
    }
}

impl TryFrom<String> for MeshPath {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl Encode for MeshPath {
    fn encode(&self, out: &mut Writer) {
        out.text(&self.0);
    }
}

impl Decode for MeshPath {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.text("path", Self::BYTES_MAX)?
            .parse()
            .map_err(|_| WireError::Invalid { field: "path" })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::expect_used, reason = "the paths of these tests are written here")]

    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        let long = "x".repeat(256);
        for text in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\0b", &long] {
            assert!(text.parse::<MeshPath>().is_err(), "{text:?}");
        }
        let longest = "x".repeat(255);
        for text in ["a", "-rf", "...", "a b", "é/ü", "it's \"quoted\"", "\n", "C:\\", &longest] {
            assert!(text.parse::<MeshPath>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn below_cuts_at_components() {
        let path = |text: &str| text.parse::<MeshPath>().expect("valid in this test");
        assert_eq!(path("a/b/c").below(&path("a")), Some("b/c"));
        assert_eq!(path("ab/c").below(&path("a")), None);
        assert_eq!(path("a").below(&path("a")), None);
    }

    #[test]
    fn a_mark_stands_before_the_ending_and_the_name_is_cut() {
        let beside = |text: &str| {
            let path: MeshPath = text.parse().expect("valid in this test");
            path.beside("(of x)").map(String::from)
        };
        assert_eq!(beside("a/report.txt").as_deref(), Some("a/report (of x).txt"));
        assert_eq!(beside(".hidden").as_deref(), Some(".hidden (of x)"));
        assert_eq!(beside("a.b c").as_deref(), Some("a.b c (of x)"));
        let cut = beside(&"é".repeat(127)).expect("there is room");
        assert!(cut.len() <= 255 && cut.ends_with("é (of x)"), "{cut}");
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        const DAY: u64 = 86_400_000;
        for (days, text) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (11_016, "2000-02-29"),
            (20_780, "2026-11-23"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(day(days * DAY), text);
            assert_eq!(day(days * DAY + DAY - 1), text);
        }
    }
}
