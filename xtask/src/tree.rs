//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold what is made, not what is written.
const MADE: [&str; 6] = [".git", "target", "out", "node_modules", "__pycache__", "dist"];

/// All files below `root`, relative to it and in order.
///
/// # Errors
/// Where a folder cannot be read.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    walk(root, Path::new(""), &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(root: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let folder = root.join(below);
    let wrong = |error| format!("cannot list {}: {error}", folder.display());
    for entry in fs::read_dir(&folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name();
        if MADE.iter().any(|made| name == *made) {
            continue;
        }
        let path = below.join(&name);
        let kind = entry.file_type().map_err(wrong)?;
        if kind.is_dir() {
            walk(root, &path, found)?;
        } else if kind.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

/// The text of a file, or nothing where it is not text.
///
/// # Errors
/// Where the file cannot be read.
pub(crate) fn text(root: &Path, file: &Path) -> Result<Option<String>, String> {
    let bytes = fs::read(root.join(file))
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Ok(String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')))
}

/// The folders of the crates, relative to `root` and in order: those below `crates/`, and `xtask`.
///
/// # Errors
/// Where a folder cannot be read.
pub(crate) fn crates(root: &Path) -> Result<Vec<PathBuf>, String> {
    let is_manifest = |file: &&PathBuf| file.file_name().is_some_and(|name| name == "Cargo.toml");
    let folder = |file: &PathBuf| file.parent().map(Path::to_owned);
    let not_root = |folder: &PathBuf| !folder.as_os_str().is_empty();
    Ok(files(root)?.iter().filter(is_manifest).filter_map(folder).filter(not_root).collect())
}
