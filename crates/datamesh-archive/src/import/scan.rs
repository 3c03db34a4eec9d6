//! Goes through an archive from its beginning to its end, for whoever looks or stores.

use datamesh_api::EntryFailure;
use datamesh_core::{Hash, MeshPath};

use crate::entry::Walk;
use crate::error::ArchiveError;

use super::guard::{Guard, Judged, Terms};
use super::item::Item;

/// Bytes that are read at once.
const READ_BYTES: usize = 256 * 1024;

/// Refused entries that are told; more than these say nothing more.
const REFUSED_MAX: usize = 100;

/// Is given the entries of an archive.
pub(super) trait Taker {
    /// Begins a file.
    fn begin(&mut self, item: Item) -> Result<(), ArchiveError>;

    /// Takes some of its content.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), ArchiveError>;

    /// Ends it. The hash is that of its content.
    fn end(&mut self, hash: Hash) -> Result<(), ArchiveError>;

    /// Takes the folders in which nothing is, at the end.
    fn folders(&mut self, folders: Vec<Item>) -> Result<(), ArchiveError>;
}

/// What an archive has that was not given on.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// What was passed over, and why.
    pub(super) skipped: Vec<EntryFailure>,
    /// What makes it one that nothing is taken of, and why.
    pub(super) refused: Vec<EntryFailure>,
    /// How many of these there are.
    pub(super) refusals: u64,
}

/// Goes through `walk`. With `collect` it goes on behind refused entries, to name them all; without it
/// stops there.
///
/// # Errors
/// [`ArchiveError`] where the archive is damaged, asks for too much, or its content is not what its own
/// hashes say.
pub(super) fn scan(
    walk: &mut dyn Walk,
    terms: &Terms,
    prefix: Option<&str>,
    collect: bool,
    taker: &mut dyn Taker,
) -> Result<Scanned, ArchiveError> {
    let mut scanned = Scanned::default();
    let mut guard = Guard::new(terms);
    let mut folders = Folders::default();
    let mut buffer = vec![0; READ_BYTES];
    while let Some(found) = walk.next()? {
        terms.limits.check(walk, found.size)?;
        let fail = |reason| EntryFailure { path: found.shown(), reason };
        let item = match guard.entry(&found)? {
            Judged::File(path) => {
                folders.filled(&path);
                match Item::new(path, false, &found, prefix) {
                    Ok(item) => Some(item),
                    Err(reason) => {
                        scanned.skipped.push(fail(reason));
                        None
                    }
                }
            }
            Judged::Folder(path) => {
                folders.filled(&path);
                if let Ok(item) = Item::new(path, true, &found, None) {
                    folders.named.push(item);
                }
                None
            }
            Judged::Nothing => None,
            Judged::Skipped(reason) => {
                scanned.skipped.push(fail(reason));
                None
            }
            Judged::Refused(reason) => {
                scanned.refusals += 1;
                if scanned.refused.len() < REFUSED_MAX {
                    scanned.refused.push(fail(reason));
                }
                if !collect {
                    return Ok(scanned);
                }
                None
            }
        };
        let expected = item.as_ref().and_then(|item| item.expected);
        let given = item.is_some();
        if let Some(item) = item {
            taker.begin(item)?;
        }
        let mut hasher = blake3::Hasher::new();
        loop {
            let count = walk.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            terms.limits.check(walk, 0)?;
            if given {
                hasher.update(&buffer[..count]);
                taker.bytes(&buffer[..count])?;
            }
        }
        if given {
            let hash = Hash(*hasher.finalize().as_bytes());
            if expected.is_some_and(|expected| expected != hash) {
                let what = "is not what its metadata says: the hashes differ";
                return Err(ArchiveError::Content { name: found.shown(), what });
            }
            taker.end(hash)?;
        }
    }
    if scanned.refusals == 0 {
        taker.folders(folders.empty())?;
    }
    Ok(scanned)
}

/// Folders of the archive: those that it names, and those in which something is.
#[derive(Default)]
struct Folders {
    named: Vec<Item>,
    filled: std::collections::BTreeSet<MeshPath>,
}

impl Folders {
    /// Notes that something is in the folders of this path.
    fn filled(&mut self, path: &MeshPath) {
        let mut rest = path.as_str();
        while let Some((folder, _)) = rest.rsplit_once('/') {
            let Ok(folder) = folder.parse() else { return };
            if !self.filled.insert(folder) {
                return;
            }
            rest = &rest[..rest.rfind('/').unwrap_or(0)];
        }
    }

    /// Those that are named, once each, and have nothing in them.
    fn empty(self) -> Vec<Item> {
        let Self { mut named, filled } = self;
        named.retain(|item| !filled.contains(&item.path));
        named.sort_by(|a, b| a.path.cmp(&b.path));
        named.dedup_by(|a, b| a.path == b.path);
        named
    }
}
