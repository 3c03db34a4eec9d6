//! The demo's files: a sample where none are named, and the comparison of what came back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Stop, failed};

/// Files of the system that are small, readable, and surely there on most machines.
const SYSTEM_FILES: [&str; 3] = ["/etc/hosts", "/etc/os-release", "/etc/services"];

/// Bytes hashed at once.
const BUFFER_BYTES: usize = 1 << 20;

fn copying(error: &io::Error) -> Stop {
    failed(format!("the demo's files cannot be made: {error}")).into()
}

/// A folder with this program and a few small files.
pub(super) fn sample(parent: &Path) -> Result<PathBuf, Stop> {
    let folder = parent.join("files");
    let made = (|| {
        fs::create_dir(&folder)?;
        fs::copy(std::env::current_exe()?, folder.join("datamesh"))?;
        for file in SYSTEM_FILES {
            let path = Path::new(file);
            if let (Some(name), true) = (path.file_name(), path.is_file()) {
                fs::copy(path, folder.join(name))?;
            }
        }
        fs::write(folder.join("an empty file"), b"")?;
        fs::write(folder.join("a file of one byte"), b"1")
    })();
    made.map_err(|error| copying(&error))?;
    Ok(folder)
}

fn hash(path: &Path) -> io::Result<blake3::Hash> {
    let mut file = fs::File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finalize()),
            count => hasher.update(&buffer[..count]),
        };
    }
}

/// Compares stored files with what came back. Returns how many are identical, and the names of
/// the others.
pub(super) async fn compare(
    source: &Path,
    back: &Path,
    names: &[String],
) -> Result<(usize, Vec<String>), Stop> {
    let (source, back, names) = (source.to_owned(), back.to_owned(), names.to_vec());
    let compared = tokio::task::spawn_blocking(move || {
        let mut different = Vec::new();
        for name in &names {
            // Stored below "demo/"; fetched trees are laid below the folder without it.
            let inner = name.strip_prefix("demo/").unwrap_or(name);
            let (before, after) = (source.join(inner), back.join(inner));
            let same = if before.is_dir() {
                after.is_dir()
            } else {
                match (hash(&before), hash(&after)) {
                    (Ok(before), Ok(after)) => before == after,
                    _ => false,
                }
            };
            if !same {
                different.push(name.clone());
            }
        }
        (names.len() - different.len(), different)
    });
    compared.await.map_err(|error| failed(format!("comparing broke off: {error}")).into())
}
