//! Whether what came back is what was stored, file by file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use datamesh_api::{OperationError, PutReply};

use crate::error::failed;

/// What came of the comparison.
pub(super) struct Compared {
    /// Files whose hashes are the same.
    pub(super) identical: u64,
    /// Files that differ or are not there.
    pub(super) different: Vec<String>,
}

/// Compares every stored file with what was fetched, by BLAKE3.
///
/// # Errors
/// [`OperationError`] where the comparing itself broke off.
pub(super) async fn compare(
    data: &Path,
    back: &Path,
    stored: &PutReply,
) -> Result<Compared, OperationError> {
    let (data, back) = (data.to_owned(), back.to_owned());
    let paths: Vec<String> = stored.stored.iter().map(|file| file.path.to_string()).collect();
    let work = move || {
        let mut compared = Compared { identical: 0, different: Vec::new() };
        for path in paths {
            match same(&data.join(&path), &back.join(&path)) {
                Ok(true) => compared.identical += 1,
                Ok(false) => compared.different.push(path),
                Err(error) => compared.different.push(format!("{path} ({error})")),
            }
        }
        compared
    };
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

fn same(one: &Path, other: &Path) -> io::Result<bool> {
    if one.is_dir() {
        return Ok(other.is_dir());
    }
    Ok(hash(one)? == hash(other)?)
}

fn hash(file: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(file)?)?;
    Ok(hasher.finalize())
}

/// Regular files below a folder and their sizes, links not followed.
///
/// # Errors
/// Where the folder itself cannot be listed.
pub(super) fn walk(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    // What cannot be listed further down is reported by the put itself.
    let mut listed = Some(std::fs::read_dir(folder)?);
    while let Some(at) = folders.pop() {
        let Some(entries) = listed.take().or_else(|| std::fs::read_dir(&at).ok()) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.path().symlink_metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                files.push((entry.path(), metadata.len()));
            }
        }
    }
    Ok(files)
}
