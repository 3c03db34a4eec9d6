//! What tells one state of a file of this machine from another.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use datamesh_core::stream::SourceIdentity;

/// The identity of a file, by what the system says of it.
pub fn identity_of(name: &Path, metadata: &Metadata) -> SourceIdentity {
    SourceIdentity {
        name: name.to_string_lossy().into_owned(),
        size: metadata.len(),
        modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        identity: [
            metadata.dev(),
            metadata.ino(),
            nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        ],
    }
}

/// A time of a file as one number; what lies before 1970 wraps, which is enough to compare.
pub fn nanoseconds(seconds: i64, part: i64) -> u64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(part).cast_unsigned()
}
