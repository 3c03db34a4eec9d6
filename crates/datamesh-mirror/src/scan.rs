//! Looking at the local folder.
//!
//! Nothing is read that did not change since the base was made: size, times and inode tell, where a
//! change within the same step of the file system's clock must show. Names that cannot be looked at
//! are listed, and nothing is concluded from them: what lies behind them has not gone.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use datamesh_api::EntryFailure;
use datamesh_core::{Hash, MeshPath};
use rustix::fs::OFlags;

use crate::fingerprint::Fingerprint;
use crate::local::{is_temporary, join, not_stored, reason};
use crate::rules::Rules;
use crate::tree::{Content, KnownTree, Local, LocalTree};

/// Folders in folders that are gone into.
const DEPTH_MAX: usize = 1024;

/// Why the folder cannot be mirrored.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// It cannot be looked at.
    #[error("\"{}\" cannot be read", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is in the local folder.
#[derive(Debug)]
pub struct Scanned {
    /// Files, and all folders.
    pub tree: LocalTree,
    /// Names that could not be looked at: nothing is known of them and what is below.
    pub unseen: BTreeSet<MeshPath>,
    /// Why, and what else is not mirrored.
    pub problems: Vec<EntryFailure>,
    /// The rules that were found on the way.
    pub rules: Rules,
    /// The folder's inode.
    pub root: u64,
}

struct Scan<'a> {
    base: &'a KnownTree,
    /// A folder that is never looked into: the home, whose secrets must not be mirrored.
    apart: &'a Path,
    found: Scanned,
}

/// Looks at everything below `root`.
///
/// # Errors
/// [`ScanError`] where the folder itself cannot be looked at.
pub fn scan(
    root: &Path,
    base: &KnownTree,
    rules: Rules,
    apart: &Path,
) -> Result<Scanned, ScanError> {
    let failed = |source| ScanError::Folder { path: root.to_owned(), source };
    let metadata = fs::metadata(root).map_err(failed)?;
    let found = Scanned {
        tree: LocalTree::new(),
        unseen: BTreeSet::new(),
        problems: Vec::new(),
        rules,
        root: metadata.ino(),
    };
    let mut scan = Scan { base, apart, found };
    scan.folder(root, "", 0).map_err(failed)?;
    Ok(scan.found)
}

impl Scan<'_> {
    fn problem(&mut self, path: &str, reason: impl ToString) {
        let failure = EntryFailure { path: path.to_owned(), reason: reason.to_string() };
        self.found.problems.push(failure);
    }

    fn unseen(&mut self, path: MeshPath, reason: impl ToString) {
        self.problem(path.as_str(), reason);
        self.found.unseen.insert(path);
    }

    /// Looks at what is in a folder. Returns whether anything is.
    fn folder(&mut self, folder: &Path, name: &str, depth: usize) -> io::Result<bool> {
        let entries = fs::read_dir(folder)?;
        for line in self.found.rules.enter(folder, name)? {
            let file = join(name, crate::rules::IGNORE_FILE);
            self.problem(&file, format!("the line \"{line}\" in it is not a pattern"));
        }
        let mut any = false;
        for entry in entries {
            let entry = entry?;
            any = true;
            self.entry(&entry, name, depth);
        }
        Ok(any)
    }

    fn entry(&mut self, entry: &fs::DirEntry, folder: &str, depth: usize) {
        let own = entry.file_name();
        let shown = join(folder, &own.to_string_lossy());
        let Some(own) = own.to_str() else {
            return self.problem(&shown, "its name is not Unicode");
        };
        if is_temporary(own) {
            return;
        }
        let path: MeshPath = match shown.parse() {
            Ok(path) => path,
            Err(error) => return self.problem(&shown, error),
        };
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // It went between the listing and this look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.unseen(path, reason(&error)),
        };
        if self.found.rules.leaves_out(&shown, metadata.is_dir()) {
            return;
        }
        if metadata.is_dir() {
            self.inner(&entry.path(), path, depth + 1);
        } else if let Some(what) = not_stored(metadata.file_type()) {
            self.unseen(path, what);
        } else {
            let local = self.file(&path, &metadata);
            self.found.tree.insert(path, local);
        }
    }

    fn inner(&mut self, folder: &Path, path: MeshPath, depth: usize) {
        if folder == self.apart {
            return self.unseen(path, "it is the home of this account, which is not mirrored");
        }
        if depth > DEPTH_MAX {
            return self.unseen(path, "it lies too deep");
        }
        match self.folder(folder, path.as_str(), depth) {
            Ok(any) => {
                self.found.tree.insert(path, Local::Folder { empty: !any });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let text = format!("the folder cannot be read: {}", reason(&error));
                self.unseen(path, text);
            }
        }
    }

    fn file(&self, path: &MeshPath, metadata: &Metadata) -> Local {
        let fingerprint = Fingerprint::of(metadata);
        let known = self.base.get(path).filter(|known| known.fingerprint == Some(fingerprint));
        let hash = match known.map(|known| known.content) {
            Some(Content::File { hash, .. }) => Some(hash),
            _ => None,
        };
        Local::File { fingerprint, hash }
    }
}

/// Opens a file below `root` to read it, but not through a link in its place.
fn open(root: &Path, path: &MeshPath) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(root.join(path.as_str()))
}

/// The hash of a file's content and the state in which it was read; nothing where it changed
/// meanwhile.
///
/// # Errors
/// What the system says.
pub(crate) fn read(root: &Path, path: &MeshPath) -> io::Result<Option<(Hash, Fingerprint)>> {
    let file = open(root, path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Ok(None);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&file)?;
    let before = Fingerprint::of(&before);
    let same = Fingerprint::of(&file.metadata()?) == before && hasher.count() == before.size;
    Ok(same.then(|| (Hash(*hasher.finalize().as_bytes()), before)))
}

/// Reads the files that `asked` names, and notes what they contain. What vanishes meanwhile goes out
/// of the tree, what cannot be read is listed.
pub(crate) fn read_all(root: &Path, found: &mut Scanned, asked: Vec<MeshPath>) {
    for path in asked {
        match read(root, &path) {
            Ok(Some((hash, fingerprint))) => {
                let hash = Some(hash);
                found.tree.insert(path, Local::File { fingerprint, hash });
            }
            // It changes just now; it is read once more where it is stored.
            Ok(None) => {}
            Err(error) => {
                found.tree.remove(&path);
                let gone = error.kind() == io::ErrorKind::NotFound;
                if !gone {
                    let reason = format!("it cannot be read: {}", reason(&error));
                    found.problems.push(EntryFailure { path: path.to_string(), reason });
                    found.unseen.insert(path);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    /// The stack of a thread that blocks, by tokio's default.
    const STACK_BYTES: usize = 2 << 20;

    #[test]
    fn a_tree_as_deep_as_names_allow_does_not_exhaust_the_stack() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        // As deep as a path of the system may be.
        let levels = (4000 - root.as_os_str().len()) / 2;
        let mut deepest = root.clone();
        deepest.extend(std::iter::repeat_n("d", levels.min(DEPTH_MAX + 10)));
        fs::create_dir_all(&deepest).unwrap();
        let scanning = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            let rules = Rules::new(&[]).unwrap();
            scan(&root, &KnownTree::new(), rules, Path::new("/nowhere")).unwrap()
        });
        let found = scanning.unwrap().join().unwrap();
        assert_eq!((found.tree.len(), found.unseen.len()), (DEPTH_MAX, 1));
    }
}
