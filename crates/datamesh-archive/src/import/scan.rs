//! Goes through an archive from its beginning to its end, for whoever looks or stores.

use datamesh_api::EntryFailure;
use datamesh_core::Hash;

use crate::entry::Walk;
use crate::error::ArchiveError;

use super::guard::{Guard, Judged, Terms};
use super::item::Item;
use super::report::NAMED_MAX;

/// Bytes that are read at once.
const READ_BYTES: usize = 256 * 1024;

/// Refused entries that are told; more than these say nothing more.
const REFUSED_MAX: usize = 100;

/// Bytes that the paths of folders may have which are empty so far.
const FOLDER_BYTES_MAX: usize = 64 << 20;

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
    /// What was passed over, and why: the first of it.
    pub(super) skipped: Vec<EntryFailure>,
    /// How much there is of it.
    pub(super) skips: u64,
    /// What makes it one that nothing is taken of, and why.
    pub(super) refused: Vec<EntryFailure>,
    /// How many of these there are.
    pub(super) refusals: u64,
}

impl Scanned {
    fn skip(&mut self, failure: EntryFailure) {
        self.skips += 1;
        if self.skipped.len() < NAMED_MAX {
            self.skipped.push(failure);
        }
    }

    fn refuse(&mut self, failure: EntryFailure) {
        self.refusals += 1;
        if self.refused.len() < REFUSED_MAX {
            self.refused.push(failure);
        }
    }
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
            Judged::File(path) => match Item::new(path, false, &found, prefix) {
                Ok(item) => Some(item),
                Err(reason) => {
                    scanned.skip(fail(reason));
                    None
                }
            },
            Judged::Folder(path) => {
                if let Ok(item) = Item::new(path, true, &found, None) {
                    folders.add(item)?;
                }
                None
            }
            Judged::Nothing => None,
            Judged::Skipped(reason) => {
                scanned.skip(fail(reason));
                None
            }
            Judged::Refused(reason) => {
                scanned.refuse(fail(reason));
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
        taker.folders(folders.empty(&guard))?;
    }
    Ok(scanned)
}

/// Folders that the archive names.
#[derive(Default)]
struct Folders {
    named: Vec<Item>,
    bytes: usize,
}

impl Folders {
    fn add(&mut self, item: Item) -> Result<(), ArchiveError> {
        self.bytes += item.path.as_str().len() + size_of::<Item>();
        self.named.push(item);
        match self.bytes > FOLDER_BYTES_MAX {
            true => {
                Err(ArchiveError::Limit("its folders have more than 64 MiB of names".to_owned()))
            }
            false => Ok(()),
        }
    }

    /// Those in which nothing is, once each.
    fn empty(self, guard: &Guard<'_>) -> Vec<Item> {
        let mut named = self.named;
        named.retain(|item| !guard.is_filled(&item.path));
        named.sort_by(|a, b| a.path.cmp(&b.path));
        named.dedup_by(|a, b| a.path == b.path);
        named
    }
}
