//! What is stored where nobody named a folder: this program and some files made up on the spot.

use std::fs;
use std::io;
use std::path::Path;

use datamesh_api::OperationError;

use crate::error::failed;

/// Small files, so that some segments are packed.
const SMALL_FILES: usize = 40;

/// Bytes of the smallest of them; each is a little longer than the one before.
const SMALL_BYTES: usize = 3000;

/// Lays the files in `folder`.
///
/// # Errors
/// [`OperationError`] where they cannot be written or this program cannot be read.
pub(super) fn lay(folder: &Path) -> Result<(), OperationError> {
    let lay = || -> io::Result<()> {
        fs::create_dir_all(folder.join("small"))?;
        fs::copy(std::env::current_exe()?, folder.join("datamesh"))?;
        fs::write(folder.join("empty"), b"")?;
        fs::write(folder.join("one byte"), b"1")?;
        fs::write(folder.join("Grüße, \"漢字\".txt"), "names may be what they like\n")?;
        let mut hash = blake3::hash(b"datamesh demo");
        for number in 0..SMALL_FILES {
            let mut bytes = Vec::new();
            // A chain of hashes: bytes that compress to nothing smaller, the same in every run.
            while bytes.len() < SMALL_BYTES + number * 500 {
                hash = blake3::hash(hash.as_bytes());
                bytes.extend_from_slice(hash.as_bytes());
            }
            fs::write(folder.join("small").join(format!("{number:03}")), bytes)?;
        }
        Ok(())
    };
    lay().map_err(|error| failed(format!("the files to store cannot be made: {error}")))
}
