//! Erasure-coding schemes and the rule that picks one.

use std::fmt;
use std::str::FromStr;

/// k data shards and m parity shards: any k of the n = k + m rebuild the segment.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct Scheme {
    k: u8,
    m: u8,
}

/// A scheme that is not offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("scheme {text} is not known: use 4+2, 8+4, 16+8, or 1+M with M from 1 to 16")]
pub struct SchemeError {
    /// What was asked for.
    pub text: String,
}

/// Largest k + m of any scheme.
pub const SHARDS_MAX: usize = 24;

impl Scheme {
    /// 4 data and 2 parity shards: 6 to 15 failure domains.
    pub const FOUR_TWO: Self = Self { k: 4, m: 2 };
    /// 8 data and 4 parity shards: 16 to 31 failure domains.
    pub const EIGHT_FOUR: Self = Self { k: 8, m: 4 };
    /// 16 data and 8 parity shards: 32 failure domains and more.
    pub const SIXTEEN_EIGHT: Self = Self { k: 16, m: 8 };
    /// Catalog data: six copies.
    pub const ONE_FIVE: Self = Self { k: 1, m: 5 };
    /// Catalog data where 16+8 is used: nine copies.
    pub const ONE_EIGHT: Self = Self { k: 1, m: 8 };

    /// The scheme of `k` data and `m` parity shards.
    ///
    /// # Errors
    /// [`SchemeError`] for a pair that is not offered: whatever is accepted here must be readable
    /// for ever, so the set is small.
    pub fn new(k: u8, m: u8) -> Result<Self, SchemeError> {
        match (k, m) {
            (4, 2) | (8, 4) | (16, 8) | (1, 1..=16) => Ok(Self { k, m }),
            _ => Err(SchemeError { text: format!("{k}+{m}") }),
        }
    }

    /// The scheme for files in a mesh of that many failure domains; none below 6.
    pub fn for_domains(domains: usize) -> Option<Self> {
        match domains {
            0..=5 => None,
            6..=15 => Some(Self::FOUR_TWO),
            16..=31 => Some(Self::EIGHT_FOUR),
            _ => Some(Self::SIXTEEN_EIGHT),
        }
    }

    /// The scheme for catalog data beside files of this scheme.
    pub fn for_catalog(self) -> Self {
        if self == Self::SIXTEEN_EIGHT { Self::ONE_EIGHT } else { Self::ONE_FIVE }
    }

    /// Data shards.
    pub fn k(self) -> usize {
        self.k as usize
    }

    /// Parity shards.
    pub fn m(self) -> usize {
        self.m as usize
    }

    /// All shards.
    pub fn n(self) -> usize {
        self.k() + self.m()
    }

    /// Fewest synced shards at which a segment may be committed when no eligible node is left:
    /// n − ⌈m/4⌉.
    pub fn commit_min(self) -> usize {
        self.n() - self.m().div_ceil(4)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.k, self.m)
    }
}

impl FromStr for Scheme {
    type Err = SchemeError;
    fn from_str(text: &str) -> Result<Self, SchemeError> {
        let wrong = || SchemeError { text: text.to_owned() };
        let (k, m) = text.split_once('+').ok_or_else(wrong)?;
        match (k.parse(), m.parse()) {
            (Ok(k), Ok(m)) => Self::new(k, m),
            _ => Err(wrong()),
        }
    }
}

impl From<Scheme> for String {
    fn from(scheme: Scheme) -> Self {
        scheme.to_string()
    }
}

impl TryFrom<String> for Scheme {
    type Error = SchemeError;
    fn try_from(text: String) -> Result<Self, SchemeError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_follows_the_number_of_domains() {
        let at = |domains| Scheme::for_domains(domains).map(|s| s.to_string());
        assert_eq!(at(5), None);
        assert_eq!(at(6).as_deref(), Some("4+2"));
        assert_eq!(at(15).as_deref(), Some("4+2"));
        assert_eq!(at(16).as_deref(), Some("8+4"));
        assert_eq!(at(32).as_deref(), Some("16+8"));
    }

    #[test]
    fn a_commit_needs_n_less_a_quarter_of_m() {
        assert_eq!(Scheme::FOUR_TWO.commit_min(), 5);
        assert_eq!(Scheme::EIGHT_FOUR.commit_min(), 11);
        assert_eq!(Scheme::SIXTEEN_EIGHT.commit_min(), 22);
        assert_eq!(Scheme::ONE_FIVE.commit_min(), 4);
    }

    #[test]
    fn other_schemes_are_refused() {
        for text in ["0+1", "3+2", "4+3", "1+17", "1+0", "4", "+", "a+b", "300+2"] {
            assert!(text.parse::<Scheme>().is_err(), "{text}");
        }
    }
}
