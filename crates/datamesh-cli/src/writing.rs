//! Files that commands write for people. One that is there already is never overwritten.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use datamesh_api::OperationError;

use crate::error::{failed, usage};

/// The mode of a file that only its owner may read.
pub(crate) const PRIVATE: u32 = 0o600;

/// The mode of a file that anybody may read, as far as the umask lets.
pub(crate) const READABLE: u32 = 0o666;

/// Refuses a name that is taken or whose folder is not there, before anything is asked or made for the file.
pub(crate) fn check_place(path: &Path) -> Result<(), OperationError> {
    if path.symlink_metadata().is_ok() {
        return Err(taken(path));
    }
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) if !folder.is_dir() => {
            Err(usage(format!("the folder \"{}\" is not there", folder.display())))
        }
        _ => Ok(()),
    }
}

/// Makes a file with these bytes and syncs it. Where that fails, none is left.
pub(crate) fn write_file(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), OperationError> {
    let wrong = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => taken(path),
        _ => failed(format!("the file \"{}\" cannot be written: {error}", path.display())),
    };
    let mut file =
        File::options().write(true).create_new(true).mode(mode).open(path).map_err(wrong)?;
    if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
        // Half a file is worth nothing.
        drop(std::fs::remove_file(path));
        return Err(wrong(error));
    }
    Ok(())
}

fn taken(path: &Path) -> OperationError {
    usage(format!("\"{}\" is there already", path.display()))
        .hint("an existing file is never overwritten: name another")
}
