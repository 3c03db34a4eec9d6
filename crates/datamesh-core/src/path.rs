//! Names of files in an account.

use std::fmt;
use std::str::FromStr;

use crate::wire::{Decode, Encode, Reader, WireError, Writer};

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
}
