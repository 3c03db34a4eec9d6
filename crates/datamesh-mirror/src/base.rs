//! The base: what both sides of a mirror had when they were last alike, kept between passes.
//!
//! One file for each pair of a local and a mesh folder, in the home under `sync/`; its format is in
//! `docs/specs/sync-base.md`. It is written whole, synced and renamed, and ends with a hash over all
//! of it. One that does not have that hash is not believed in any part: the pass then compares contents
//! alone and removes nothing. A lock beside it keeps two passes over the same pair apart.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datamesh_core::wire::{self, Decode, Encode, Reader, WireError, Writer};
use datamesh_core::{Hash, MeshPath, VersionId};
use rustix::fs::FlockOperation;
use serde::Serialize;

use crate::fingerprint::Fingerprint;
use crate::tree::{Content, Known, KnownTree};

/// What a base's file begins with.
const MAGIC: [u8; 4] = *b"DMSB";

/// The newest version of the format that is known here.
const VERSION: u8 = 1;

/// Largest file that is read: some millions of entries.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Longest name of a local folder, in bytes; what the system takes.
const FOLDER_BYTES_MAX: usize = 4096;

/// What the hash over the file is for.
const HASH_CONTEXT: &str = "datamesh 2026 sync base v1";

/// What the name of the file is for.
const NAME_CONTEXT: &str = "datamesh 2026 sync base name v1";

/// Hexadecimal digits of the hash that a base's file is named by.
const NAME_DIGITS: usize = 32;

/// Why the base cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// A file of the home.
    #[error("{doing} {} failed", path.display())]
    File {
        /// What was done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else mirrors the same folders.
    #[error("another sync of this folder is running")]
    Running,
    /// A later program wrote it.
    #[error("{} was written by a later version of datamesh", path.display())]
    Later {
        /// The file.
        path: PathBuf,
    },
}

/// How the base was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// There is none: nothing was mirrored between these folders before.
    None,
    /// As it was written.
    Whole,
    /// Not as it was written, so it is not believed.
    Damaged,
    /// It is about another folder that was in this one's place, so it is not believed.
    Moved,
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    folder: Vec<u8>,
    remote: String,
    root: u64,
    entries: KnownTree,
}

/// The base of one pair of folders, and the right to change it.
#[derive(Debug)]
pub struct Base {
    path: PathBuf,
    folder: Vec<u8>,
    remote: String,
    found: Found,
    /// The inode of the local folder, 0 before the first pass.
    root: u64,
    entries: Arc<KnownTree>,
    changed: bool,
    /// Held until the base is dropped, or the process ends.
    _lock: File,
}

impl Base {
    /// Opens the base of `folder`, which is canonical, and the mesh folder `remote`, in the home.
    ///
    /// # Errors
    /// [`BaseError`] where it is in use, cannot be read, or was written by a later program. One that is
    /// damaged is no error: see [`found`](Self::found).
    pub fn open(home: &Path, folder: &Path, remote: &str) -> Result<Self, BaseError> {
        let sync = home.join("sync");
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| BaseError::File { doing, path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&sync)
            .map_err(failed("making the folder", &sync))?;
        let folder = folder.as_os_str().as_bytes().to_vec();
        let mut naming = Writer::new();
        naming.bytes(&folder).text(remote);
        let name = Hash::derive(NAME_CONTEXT, &naming.into_vec()).to_string();
        let path = sync.join(format!("{}.base", &name[..NAME_DIGITS]));
        let lock_path = path.with_extension("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("opening", &lock_path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(BaseError::Running),
            Err(error) => return Err(failed("locking", &lock_path)(error.into())),
        }
        let read = read(&path).map_err(failed("reading", &path))?;
        let (found, root, entries) = match read.as_deref().map(parse) {
            None => (Found::None, 0, KnownTree::new()),
            Some(Ok(record)) if record.folder == folder && record.remote == remote => {
                (Found::Whole, record.root, record.entries)
            }
            Some(Err(WireError::Version { .. })) => return Err(BaseError::Later { path }),
            Some(_) => (Found::Damaged, 0, KnownTree::new()),
        };
        let (entries, remote) = (Arc::new(entries), remote.to_owned());
        Ok(Self { path, folder, remote, found, root, entries, changed: false, _lock: lock })
    }

    /// How it was found.
    pub fn found(&self) -> Found {
        self.found
    }

    /// The inode that the local folder had; nothing before the first pass.
    pub fn root(&self) -> Option<u64> {
        (self.root != 0).then_some(self.root)
    }

    /// Another folder is in the place of the one that this is about: what was known of that says nothing of this.
    pub fn distrust(&mut self) {
        self.found = Found::Moved;
        self.entries = Arc::default();
    }

    /// Notes the inode of the local folder.
    pub fn set_root(&mut self, root: u64) {
        self.changed |= self.root != root;
        self.root = root;
    }

    /// What both sides had.
    pub fn entries(&self) -> &Arc<KnownTree> {
        &self.entries
    }

    /// Notes that both sides have this now.
    pub fn know(&mut self, path: MeshPath, known: Known) {
        self.changed = true;
        Arc::make_mut(&mut self.entries).insert(path, known);
    }

    /// Notes that neither side has it any more. Returns what both had.
    pub fn forget(&mut self, path: &MeshPath) -> Option<Known> {
        let known = Arc::make_mut(&mut self.entries).remove(path);
        self.changed |= known.is_some();
        known
    }

    /// Whether it says what both sides had, or that they had nothing.
    pub fn is_believed(&self) -> bool {
        !matches!(self.found, Found::Damaged | Found::Moved)
    }

    /// A pass over a base that was not believed came to its end: what it found alike is the base from now on.
    pub fn believe(&mut self) {
        self.changed |= self.found != Found::Whole;
        self.found = Found::Whole;
    }

    /// Writes the base, if anything in it changed. One that is not yet believed anew stays as it is.
    ///
    /// # Errors
    /// [`BaseError::File`]; what was there before is still there then.
    pub fn save(&mut self) -> Result<(), BaseError> {
        if !self.changed || !self.is_believed() {
            return Ok(());
        }
        let record = Encoded {
            folder: &self.folder,
            remote: &self.remote,
            root: self.root,
            entries: &self.entries,
        };
        let bytes = record.bytes();
        write(&self.path, &bytes).map_err(|source| BaseError::File {
            doing: "writing",
            path: self.path.clone(),
            source,
        })?;
        self.changed = false;
        Ok(())
    }
}

/// The file's bytes; nothing where there is none.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    // What is longer than any that was written does not have its hash.
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(path.parent().unwrap_or(Path::new(OsStr::new("."))))?.sync_all()
}

/// The fields of a record that is to be written.
struct Encoded<'a> {
    folder: &'a [u8],
    remote: &'a str,
    root: u64,
    entries: &'a KnownTree,
}

impl Encoded<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&MAGIC).u8(VERSION).bytes(self.folder).text(self.remote);
        out.u64(self.root).u64(self.entries.len() as u64);
        for (path, known) in self.entries {
            path.encode(&mut out);
            match known.content {
                Content::File { size, hash } => {
                    out.u8(1).u64(size).raw(hash.as_bytes());
                }
                Content::Folder => {
                    out.u8(2);
                }
            }
            out.raw(known.version.as_bytes()).flag(known.fingerprint.is_some());
            if let Some(fingerprint) = &known.fingerprint {
                fingerprint.encode(&mut out);
            }
        }
        hashed(out.into_vec())
    }
}

/// The file of this body, with the hash over it.
pub(crate) fn hashed(mut body: Vec<u8>) -> Vec<u8> {
    let hash = Hash::derive(HASH_CONTEXT, &body);
    body.extend_from_slice(hash.as_bytes());
    body
}

/// Whether what a file says, if it can be read, is written as the same, for the [fuzzer](crate::parsers).
pub(crate) fn reads_again(bytes: &[u8]) -> bool {
    parse(bytes).map_or(true, |record| {
        let Record { folder, remote, root, entries } = &record;
        Encoded { folder, remote, root: *root, entries }.bytes() == bytes
    })
}

/// What the bytes of a file say.
fn parse(bytes: &[u8]) -> Result<Record, WireError> {
    let invalid = |field| WireError::Invalid { field };
    let body = bytes.len().checked_sub(Hash::SIZE).ok_or(invalid("length"))?;
    let (body, hash) = bytes.split_at(body);
    if Hash::derive(HASH_CONTEXT, body).as_bytes() != hash {
        return Err(invalid("hash"));
    }
    wire::decode(body)
}

impl Decode for Record {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let invalid = |field| WireError::Invalid { field };
        if from.array::<4>()? != MAGIC {
            return Err(invalid("magic"));
        }
        from.version("sync base", VERSION)?;
        let folder = from.bytes("folder", FOLDER_BYTES_MAX)?.to_vec();
        let remote = from.text("remote", MeshPath::BYTES_MAX)?;
        let root = from.u64()?;
        let count = from.u64()?;
        let mut entries = KnownTree::new();
        for _ in 0..count {
            let path = MeshPath::decode(from)?;
            let content = match from.u8()? {
                1 => Content::File { size: from.u64()?, hash: Hash(from.array()?) },
                2 => Content::Folder,
                _ => return Err(invalid("kind")),
            };
            let version = VersionId(from.array()?);
            let fingerprint = match from.flag("fingerprint")? {
                true => Some(Fingerprint::decode(from)?),
                false => None,
            };
            // In the order of names, each once, so that there is one encoding.
            if entries.last_key_value().is_some_and(|(last, _)| *last >= path) {
                return Err(invalid("order"));
            }
            entries.insert(path, Known { content, version, fingerprint });
        }
        Ok(Self { folder, remote, root, entries })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    fn path(text: &str) -> MeshPath {
        text.parse().unwrap()
    }

    fn known(size: u64) -> Known {
        Known {
            content: Content::File { size, hash: Hash([3; 32]) },
            version: VersionId([4; 16]),
            fingerprint: Some(Fingerprint { size, modified: 5, changed: 6, inode: 7 }),
        }
    }

    fn folder() -> Known {
        Known { content: Content::Folder, version: VersionId([0; 16]), fingerprint: None }
    }

    #[test]
    fn a_base_comes_back_as_it_was_saved() {
        let home = tempfile::tempdir().unwrap();
        let open = |remote: &str| Base::open(home.path(), Path::new("/a/b"), remote);
        let mut base = open("photos").unwrap();
        assert_eq!((base.found(), base.root()), (Found::None, None));
        base.set_root(9);
        base.know(path("x/y"), known(1));
        base.know(path("x"), folder());
        assert!(matches!(open("photos"), Err(BaseError::Running)));
        assert_eq!(open("other").unwrap().found(), Found::None, "another pair, another base");
        base.save().unwrap();
        let entries = Arc::clone(base.entries());
        drop(base);
        let mut base = open("photos").unwrap();
        assert_eq!((base.found(), base.root()), (Found::Whole, Some(9)));
        assert_eq!(*base.entries(), entries);
        assert_eq!(base.forget(&path("x")), Some(folder()));
        base.save().unwrap();
        drop(base);
        assert_eq!(open("photos").unwrap().entries().len(), 1);
    }

    #[test]
    fn a_damaged_base_is_not_believed_and_is_not_overwritten_before_a_pass_is_over() {
        let home = tempfile::tempdir().unwrap();
        let open = || Base::open(home.path(), Path::new("/a"), "b").unwrap();
        let mut base = open();
        base.know(path("x"), known(1));
        base.save().unwrap();
        let file = base.path.clone();
        drop(base);
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&file, &bytes).unwrap();
            let mut base = open();
            assert_eq!((base.found(), base.entries().len()), (Found::Damaged, 0), "byte {at}");
            base.know(path("z"), known(2));
            base.save().unwrap();
            assert_eq!(fs::read(&file).unwrap(), bytes);
        }
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        let mut base = open();
        assert_eq!(base.found(), Found::Damaged);
        base.believe();
        base.save().unwrap();
        drop(base);
        assert_eq!(open().found(), Found::Whole);
    }

    #[test]
    fn the_bytes_are_those_of_the_golden_file() {
        let entries =
            KnownTree::from([(path("a/b.txt"), known(1)), (path("an empty folder"), folder())]);
        let record =
            Encoded { folder: b"/srv/photos", remote: "photos", root: 9, entries: &entries };
        let bytes = record.bytes();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/sync-base/two.bin");
        if std::env::var_os("DATAMESH_BLESS").is_some() {
            fs::create_dir_all(golden.parent().unwrap()).unwrap();
            fs::write(&golden, &bytes).unwrap();
        }
        assert_eq!(bytes, fs::read(&golden).unwrap());
        let read = parse(&bytes).unwrap();
        assert_eq!(
            (read.folder, read.remote, read.root),
            (b"/srv/photos".to_vec(), "photos".to_owned(), 9)
        );
        assert_eq!(read.entries, entries);
    }

    #[test]
    fn a_base_of_a_later_version_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let mut base = Base::open(home.path(), Path::new("/a"), "b").unwrap();
        base.know(path("x"), known(1));
        base.save().unwrap();
        let file = base.path.clone();
        drop(base);
        let mut bytes = fs::read(&file).unwrap();
        bytes.truncate(bytes.len() - Hash::SIZE);
        bytes[4] = VERSION + 1;
        let hash = Hash::derive(HASH_CONTEXT, &bytes);
        bytes.extend_from_slice(hash.as_bytes());
        fs::write(&file, &bytes).unwrap();
        let refused = Base::open(home.path(), Path::new("/a"), "b");
        assert!(matches!(refused, Err(BaseError::Later { .. })));
    }
}
