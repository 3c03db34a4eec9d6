//! The 24 words: BIP-39 English, 256 bits of entropy and a checksum.

use bip39::{Language, Mnemonic};
use datamesh_core::Entropy;
use zeroize::Zeroizing;

use crate::Secret;

/// Text that is not an account's 24 words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// There are more or fewer than 24.
    #[error("an account has 24 words, these are {0}")]
    Count(usize),
    /// A word is not on the list.
    #[error("word {0} is not on the list of words: check its spelling")]
    Unknown(usize),
    /// The words do not belong together.
    #[error("the words do not fit together: one of them is wrong or out of place")]
    Checksum,
}

/// An account's words. Whoever has them has the account.
pub struct Words {
    entropy: Secret,
}

impl Words {
    /// Draws words for a fresh account.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        let mut bytes = Secret::default();
        entropy.fill(&mut *bytes);
        Self { entropy: bytes }
    }

    /// Reads words as a person writes them: any white space between them, any case.
    ///
    /// # Errors
    /// [`WordsError`] says which word is wrong.
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        let words =
            Zeroizing::new(text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase());
        let count = words.split(' ').filter(|word| !word.is_empty()).count();
        if count != 24 {
            return Err(WordsError::Count(count));
        }
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &words).map_err(
            |error| match error {
                bip39::Error::UnknownWord(at) => WordsError::Unknown(at + 1),
                _ => WordsError::Checksum,
            },
        )?;
        let (bytes, _) = mnemonic.to_entropy_array();
        let bytes = Zeroizing::new(bytes);
        let mut entropy = Secret::default();
        entropy.copy_from_slice(&bytes[..32]);
        Ok(Self { entropy })
    }

    /// The words, one space between them.
    pub fn text(&self) -> Zeroizing<String> {
        // 32 bytes are a length that BIP-39 knows, so there is always a phrase.
        let phrase = Mnemonic::from_entropy_in(Language::English, &*self.entropy)
            .map(|mnemonic| mnemonic.words().collect::<Vec<_>>().join(" "))
            .unwrap_or_default();
        Zeroizing::new(phrase)
    }

    /// The 256 bits behind the words.
    pub(crate) fn entropy(&self) -> &Secret {
        &self.entropy
    }
}
