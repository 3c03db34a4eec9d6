//! The thread that walks and reads.

use std::ffi::OsString;
use std::fs::{File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use bytes::Bytes;
use datamesh_api::{EntryFailure, identity_of};
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{EntryHead, PIECE_BYTES_MAX, Piece};
use datamesh_core::{Hash, MeshPath, Timestamp};
use rustix::fs::{Advice, OFlags};
use tokio::sync::mpsc;

use super::pick::LocalFile;
use super::pool::Pool;
use super::readings::{Reading, Readings};
use super::reason;
use super::source::Problems;
use crate::fingerprint::{self, Fingerprint, milliseconds};

/// Files up to this many bytes are read into memory of their own size: a whole buffer for each
/// would be mostly empty.
const SMALL_BYTES_MAX: u64 = 64 * 1024;

/// Why a file that did not stay the same is not stored.
const CHANGED: &str = "it changed while it was read";

/// Nobody takes the items any more.
pub(super) struct Gone;

/// What goes to the stream.
pub(super) enum Item {
    Head(EntryHead),
    Piece(Piece),
}

/// Reads local files into a queue.
pub(super) struct Reader {
    items: mpsc::Sender<Item>,
    problems: Problems,
    pool: Pool,
    /// Where what was read of each file is noted, if anybody wants to know.
    readings: Option<Readings>,
}

/// A folder on the way, with what is still to be visited in it.
struct Level {
    /// Its name below the root; nothing for the root.
    name: String,
    children: std::vec::IntoIter<(OsString, FileType)>,
    /// Entries that had been sent when it was entered.
    sent_before: u64,
}

impl Reader {
    pub(super) fn new(items: mpsc::Sender<Item>, problems: Problems) -> Self {
        Self { items, problems, pool: Pool::default(), readings: None }
    }

    /// Notes what is read of each file.
    pub(super) fn note_to(&mut self, readings: Readings) {
        self.readings = Some(readings);
    }

    fn send(&self, item: Item) -> Result<(), Gone> {
        self.items.blocking_send(item).map_err(|_| Gone)
    }

    fn problem(&self, path: impl Into<String>, reason: impl ToString) {
        let failure = EntryFailure { path: path.into(), reason: reason.to_string() };
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
    }

    /// Reads a stream: nothing is known of it beforehand.
    pub(super) fn stream(&mut self, file: File, path: MeshPath) -> Result<(), Gone> {
        let mut head = stream_head(path);
        // A file that says that it is empty is read so too.
        if let Ok(metadata) = file.metadata()
            && metadata.is_file()
        {
            (head.mode, head.modified) = (metadata.mode() & 0o7777, modified(&metadata));
        }
        self.send(Item::Head(head))?;
        self.content(file, None, None)
    }

    /// Reads a regular file.
    pub(super) fn file(
        &mut self,
        file: File,
        name: &Path,
        path: MeshPath,
        tags: Vec<String>,
    ) -> Result<(), Gone> {
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            Err(error) => {
                self.problem(path.as_str(), reason(&error));
                return Ok(());
            }
        };
        let head = EntryHead {
            path,
            kind: EntryKind::File,
            mode: metadata.mode() & 0o7777,
            modified: modified(&metadata),
            tags,
            size: Some(metadata.len()),
            source: Some(identity_of(name, &metadata)),
            hash: None,
        };
        let noted = self.readings.is_some().then(|| head.path.clone());
        self.send(Item::Head(head))?;
        self.content(file, Some(metadata), noted)
    }

    /// Reads these files and empty folders below `root`, each under the name that is given with it.
    pub(super) fn listed(
        &mut self,
        root: &Path,
        entries: Vec<(MeshPath, MeshPath)>,
    ) -> Result<(), Gone> {
        for (below, path) in entries {
            let full = root.join(below.as_str());
            match full.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => self.folder(&full, path)?,
                Ok(_) => {
                    let shown = path.to_string();
                    if let Some(file) = self.open(&full, &shown) {
                        self.file(file, &full, path, Vec::new())?;
                    }
                }
                Err(error) => self.problem(path.as_str(), reason(&error)),
            }
        }
        Ok(())
    }

    /// Reads these files.
    pub(super) fn picked(&mut self, files: Vec<LocalFile>) -> Result<(), Gone> {
        for LocalFile { file, path, tags, .. } in files {
            if let Some(opened) = self.open(&file, path.as_str()) {
                self.file(opened, &file, path, tags)?;
            }
        }
        Ok(())
    }

    /// Reads everything below `root`.
    pub(super) fn tree(&mut self, root: PathBuf, into: Option<MeshPath>) -> Result<(), Gone> {
        let named = |below: &str| -> Result<MeshPath, datamesh_core::path::PathError> {
            match &into {
                Some(into) if below.is_empty() => Ok(into.clone()),
                Some(into) => format!("{into}/{below}").parse(),
                None => below.parse(),
            }
        };
        let mut sent = 0u64;
        let mut levels = Vec::new();
        levels.extend(self.level(&root, String::new(), sent, &into));
        while let Some(level) = levels.last_mut() {
            let Some((child, kind)) = level.children.next() else {
                // A folder without anything to store below it is an entry itself.
                if level.sent_before == sent
                    && let Ok(path) = named(&level.name)
                {
                    self.folder(&root.join(&level.name), path)?;
                    sent += 1;
                }
                levels.pop();
                continue;
            };
            let below = join(&level.name, &child.to_string_lossy());
            let shown =
                into.as_ref().map_or_else(|| below.clone(), |into| join(into.as_str(), &below));
            if child.to_str().is_none() {
                self.problem(shown, "its name is not Unicode");
                continue;
            }
            let full = root.join(&level.name).join(&child);
            if kind.is_dir() {
                levels.extend(self.level(&full, below, sent, &into));
            } else if let Some(what) = not_stored(kind) {
                self.problem(shown, what);
            } else {
                match named(&below) {
                    Ok(path) => {
                        if let Some(file) = self.open(&full, &shown) {
                            self.file(file, &full, path, Vec::new())?;
                            sent += 1;
                        }
                    }
                    Err(error) => self.problem(shown, error),
                }
            }
        }
        Ok(())
    }

    /// Lists a folder in the order of names.
    fn level(
        &self,
        folder: &Path,
        name: String,
        sent_before: u64,
        into: &Option<MeshPath>,
    ) -> Option<Level> {
        let listed = std::fs::read_dir(folder).and_then(|entries| {
            entries
                .map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))))
                .collect::<io::Result<Vec<_>>>()
        });
        match listed {
            Ok(mut children) => {
                children.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
                Some(Level { name, children: children.into_iter(), sent_before })
            }
            Err(error) => {
                let shown =
                    into.as_ref().map_or_else(|| name.clone(), |into| join(into.as_str(), &name));
                self.problem(shown, format!("the folder cannot be read: {}", reason(&error)));
                None
            }
        }
    }

    fn folder(&self, folder: &Path, path: MeshPath) -> Result<(), Gone> {
        let metadata = match std::fs::symlink_metadata(folder) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.problem(path.as_str(), reason(&error));
                return Ok(());
            }
        };
        let head = EntryHead {
            path,
            kind: EntryKind::Folder,
            mode: metadata.mode() & 0o7777,
            modified: modified(&metadata),
            tags: Vec::new(),
            size: Some(0),
            source: None,
            hash: None,
        };
        self.send(Item::Head(head))?;
        self.send(Item::Piece(Piece::End))
    }

    /// Opens a file of the tree; one that became something else since it was listed is refused.
    fn open(&self, file: &Path, shown: &str) -> Option<File> {
        // Without NONBLOCK a pipe that took the file's place would wait for a writer for ever.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let opened = File::options().read(true).custom_flags(flags).open(file);
        match opened.and_then(|file| Ok((file.metadata()?, file))) {
            Ok((metadata, file)) if metadata.is_file() => return Some(file),
            Ok(_) => self.problem(shown, "it is not a regular file any more"),
            Err(error) => self.problem(shown, reason(&error)),
        }
        None
    }

    /// Sends the bytes and the end.
    fn content(
        &mut self,
        mut file: File,
        expected: Option<Metadata>,
        noted: Option<MeshPath>,
    ) -> Result<(), Gone> {
        let begun = noted.is_some().then(fingerprint::now);
        let mut hasher = blake3::Hasher::new();
        let size = expected.as_ref().map(Metadata::len);
        if size.is_some_and(|size| size > PIECE_BYTES_MAX as u64) {
            // A longer read-ahead by the system; it is no loss where that is refused.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
        }
        let mut total = 0;
        let end = loop {
            let read = match size {
                // One byte more than expected shows a file that grew.
                Some(size) if size <= SMALL_BYTES_MAX => read_small(&mut file, size),
                _ => read_piece(&mut file, &self.pool),
            };
            match read {
                Ok(bytes) if bytes.is_empty() => {
                    break self.judged(&file, expected.as_ref(), total);
                }
                Ok(bytes) => {
                    total += bytes.len() as u64;
                    if noted.is_some() {
                        hasher.update(&bytes);
                    }
                    if size.is_some_and(|size| total > size) {
                        break Piece::Broken(CHANGED.to_owned());
                    }
                    let last = size.is_some_and(|size| size <= SMALL_BYTES_MAX && total == size);
                    self.send(Item::Piece(Piece::Bytes(bytes)))?;
                    if last {
                        break self.judged(&file, expected.as_ref(), total);
                    }
                }
                Err(error) => {
                    break Piece::Broken(format!("it cannot be read: {}", reason(&error)));
                }
            }
        };
        if let (Piece::End, Some(readings), Some(path), Some(read), Some(begun)) =
            (&end, &self.readings, noted, &expected, begun)
        {
            let hash = Hash(*hasher.finalize().as_bytes());
            let fingerprint = Fingerprint::of(read);
            let settled = fingerprint.settled(begun);
            readings.note(Reading { path, hash, fingerprint, settled });
        }
        self.send(Item::Piece(end))
    }

    /// The end of a file, or why it is none: its bytes are not from one moment.
    fn judged(&self, file: &File, before: Option<&Metadata>, total: u64) -> Piece {
        let Some(before) = before else { return Piece::End };
        let same = |after: &Metadata| {
            after.len() == total
                && before.len() == total
                && after.mtime() == before.mtime()
                && after.mtime_nsec() == before.mtime_nsec()
        };
        match file.metadata() {
            Ok(after) if same(&after) => Piece::End,
            Ok(_) => Piece::Broken(CHANGED.to_owned()),
            Err(error) => Piece::Broken(format!("it cannot be read: {}", reason(&error))),
        }
    }
}

/// All of a small file in one piece; a piece longer than `size` means that it grew.
fn read_small(file: &mut File, size: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; size as usize + 1];
    let filled = fill(file, &mut bytes)?;
    bytes.truncate(filled);
    Ok(Bytes::from(bytes))
}

fn read_piece(file: &mut File, pool: &Pool) -> io::Result<Bytes> {
    let mut buffer = pool.take();
    let filled = fill(file, buffer.room())?;
    Ok(buffer.into_bytes(filled))
}

/// Reads until `room` is full or the file ends.
fn fill(file: &mut File, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < room.len() {
        match file.read(&mut room[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A name in a folder; "" is the root and its name.
pub(crate) fn join(folder: &str, name: &str) -> String {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => folder.to_owned(),
        _ => format!("{folder}/{name}"),
    }
}

/// Why what is no file and no folder is not stored.
pub(crate) fn not_stored(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_symlink() {
        Some("it is a symbolic link; links are not stored")
    } else if kind.is_fifo() {
        Some("it is a pipe; only files and folders are stored")
    } else if kind.is_socket() {
        Some("it is a socket; only files and folders are stored")
    } else {
        Some("it is a device; only files and folders are stored")
    }
}

fn modified(metadata: &Metadata) -> Timestamp {
    milliseconds(metadata.mtime(), metadata.mtime_nsec())
}

/// The head of what is read as a stream.
fn stream_head(path: MeshPath) -> EntryHead {
    EntryHead {
        path,
        kind: EntryKind::File,
        mode: 0,
        modified: 0,
        tags: Vec::new(),
        size: None,
        source: None,
        hash: None,
    }
}
