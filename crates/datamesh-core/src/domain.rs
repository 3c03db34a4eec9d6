//! Failure domains: the path that says what a node fails together with.

use std::fmt;
use std::str::FromStr;

use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// Where a node stands, from large to small: `zone-a/host-1`. Two nodes with the same whole path
/// are expected to fail together and never hold shards of one segment (but for `--allow-degraded`).
#[derive(
    Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct Domain(String);

/// Text that is not a failure domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not a failure domain: use up to 4 parts of a-z, A-Z, 0-9, '-', '_' and '.', not \".\" or \"..\", joined by '/', 128 characters in all"
)]
pub struct DomainError {
    /// What was given.
    pub text: String,
}

impl Domain {
    /// Longest path in bytes.
    pub const BYTES_MAX: usize = 128;

    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The largest enclosing domain: the first part of the path.
    pub fn zone(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = DomainError;
    fn from_str(text: &str) -> Result<Self, DomainError> {
        let part_valid = |part: &str| {
            !["", ".", ".."].contains(&part)
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let valid = text.len() <= Self::BYTES_MAX
            && text.split('/').count() <= 4
            && text.split('/').all(part_valid);
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            // Hostile input is quoted back only in part, so that it cannot flood a log.
            Err(DomainError { text: text.chars().take(Self::BYTES_MAX).collect() })
        }
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0
    }
}

impl TryFrom<String> for Domain {
    type Error = DomainError;
    fn try_from(text: String) -> Result<Self, DomainError> {
        text.parse()
    }
}

impl Encode for Domain {
    fn encode(&self, out: &mut Writer) {
        out.text(&self.0);
    }
}

impl Decode for Domain {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.text("domain", Self::BYTES_MAX)?
            .parse()
            .map_err(|_| WireError::Invalid { field: "domain" })
    }
}
