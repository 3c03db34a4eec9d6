//! How much an archive may ask for.

use crate::entry::Walk;
use crate::error::ArchiveError;

/// Bytes that an archive may expand to whatever its own size is.
const RATIO_FREE_BYTES: u64 = 256 << 20;

/// How much an archive may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of all contents.
    pub bytes: u64,
    /// Bytes that may come of one byte of the archive, beyond the first 256 MiB.
    pub ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 1_000_000, bytes: 1 << 40, ratio: 200 }
    }
}

impl Limits {
    /// Checks what came of an archive so far, and the content of `next` bytes that it announces.
    ///
    /// # Errors
    /// [`ArchiveError::Limit`].
    pub fn check(&self, walk: &dyn Walk, next: u64) -> Result<(), ArchiveError> {
        let (expanded, consumed) = (walk.expanded(), walk.consumed());
        if expanded.checked_add(next).is_none_or(|all| all > self.bytes) {
            let bytes = self.bytes;
            return Err(ArchiveError::Limit(format!("it has more than {bytes} bytes of content")));
        }
        if expanded > RATIO_FREE_BYTES && expanded / self.ratio.max(1) > consumed {
            let ratio = self.ratio;
            return Err(ArchiveError::Limit(format!(
                "it expands to more than {ratio} times its size, as a bomb does"
            )));
        }
        Ok(())
    }

    /// Checks the number of entries.
    ///
    /// # Errors
    /// [`ArchiveError::Limit`].
    pub fn count(&self, entries: u64) -> Result<(), ArchiveError> {
        if entries > self.entries {
            let entries = self.entries;
            return Err(ArchiveError::Limit(format!(
                "it has more than {entries} entries, folders counted"
            )));
        }
        Ok(())
    }
}
