//! What tells one state of a local file from another without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use datamesh_api::nanoseconds;
use datamesh_core::record;
use rustix::fs::Stat;

/// Times finer than this are told by no file system that counts in hundredths of a second or worse.
const COARSE_NS: u64 = 10_000_000;

/// Longest step of a coarse file system's time: FAT counts in two seconds.
const COARSE_TICK_NS: u64 = 2_000_000_000;

/// Longest step of the time of a file system that counts in nanoseconds: some ticks of the system's
/// clock, which is what it really asks.
const FINE_TICK_NS: u64 = 50_000_000;

record! {
    /// Size, times and inode of a file, times in nanoseconds since 1970.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Fingerprint {
        /// Bytes.
        pub size: u64,
        /// When its content was last changed.
        pub modified: u64,
        /// When anything about it was last changed.
        pub changed: u64,
        /// The inode.
        pub inode: u64,
    }
}

/// A time of a file in milliseconds since 1970; 0 for times before.
pub(crate) fn milliseconds(seconds: i64, nanoseconds: i64) -> u64 {
    let whole = seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000);
    u64::try_from(whole).unwrap_or(0)
}

impl Fingerprint {
    /// Of a file as the standard library tells it.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Of a file as the system tells it.
    pub(crate) fn of_stat(stat: &Stat) -> Self {
        let part = |part: u64| i64::try_from(part).unwrap_or(0);
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: nanoseconds(stat.st_mtime, part(stat.st_mtime_nsec)),
            changed: nanoseconds(stat.st_ctime, part(stat.st_ctime_nsec)),
            inode: stat.st_ino,
        }
    }

    /// Whether a change of the content after `now` must show in the fingerprint: its time lies
    /// further back than the longest step of the file system's clock.
    pub fn settled(&self, now: u64) -> bool {
        let coarse = self.modified.is_multiple_of(COARSE_NS);
        let tick = if coarse { COARSE_TICK_NS } else { FINE_TICK_NS };
        self.modified.checked_add(tick).is_some_and(|end| end < now)
    }
}

/// The system's time, in nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_within_the_same_step_of_the_clock_is_not_trusted_to_show() {
        let at = |modified| Fingerprint { size: 1, modified, changed: modified, inode: 1 };
        let fine = 1_700_000_000_123_456_789;
        assert!(!at(fine).settled(fine));
        assert!(!at(fine).settled(fine + FINE_TICK_NS));
        assert!(at(fine).settled(fine + FINE_TICK_NS + 1));
        let coarse = 1_700_000_000_000_000_000;
        assert!(!at(coarse).settled(coarse + FINE_TICK_NS + 1));
        assert!(at(coarse).settled(coarse + COARSE_TICK_NS + 1));
        assert!(!at(u64::MAX).settled(u64::MAX), "a time in the future never is");
    }
}
