//! A file under its temporary name, from its first byte until it gets its own.
//!
//! The temporary name of a large file follows from its content. Where the operation breaks off, such
//! a part stays, and the next get of that content goes on in it. Nothing in a part that was found is
//! believed: after a crash it may be anything, so what it has is hashed together with what comes, and
//! only the right hash gives it its name.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datamesh_core::Hash;
use datamesh_core::stream::{EntryHead, LARGE_BYTES_MIN};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::content::{ALIGNMENT, Content};
use super::leftover::{self, Leftovers};
use super::places::{Places, Verdict};
use super::writer::{Failure, restore};
use crate::fingerprint::Fingerprint;

/// Fewer bytes are fetched again sooner than their file is explained.
const KEPT_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// What is read at once of a part that was found.
const READ_BYTES: usize = 1024 * 1024;

/// Why a fetched file does not get its name.
const CHANGED_HERE: &str = "what has its name here changed meanwhile; the next sync compares them";

/// What the parts of a writer have in common.
pub(super) struct Parts {
    /// Makes their temporary names differ.
    count: u64,
    leftovers: Leftovers,
    /// Set when nobody waits for the entry any more.
    given_up: Arc<AtomicBool>,
    /// What may be written where; everything where there is none.
    places: Option<Arc<Places>>,
    /// The folder that files got their names in and that is not synced yet, where it is to be.
    unsynced: Option<Arc<OwnedFd>>,
}

impl Parts {
    pub(super) fn new(given_up: Arc<AtomicBool>, places: Option<Arc<Places>>) -> Self {
        let leftovers = Leftovers::default();
        Self { count: 0, leftovers, given_up, places, unsynced: None }
    }

    /// Whether an entry is to be written.
    pub(super) fn verdict(&self, head: &EntryHead) -> Verdict {
        self.places.as_ref().map_or(Verdict::Wanted, |places| places.verdict(head))
    }

    /// Whether what is written is synced.
    pub(super) fn syncs(&self) -> bool {
        self.places.is_some()
    }

    /// Notes that a file got its name in a folder; entries come folder by folder.
    fn named_in(&mut self, folder: &Arc<OwnedFd>) {
        if !self.unsynced.as_ref().is_some_and(|last| Arc::ptr_eq(last, folder)) {
            self.sync_last();
            self.unsynced = Some(Arc::clone(folder));
        }
    }

    /// Syncs the folder that files got their names in last.
    pub(super) fn sync_last(&mut self) {
        if let Some(folder) = self.unsynced.take()
            && let Err(error) = rustix::fs::fsync(&*folder)
        {
            tracing::warn!(%error, "a folder could not be synced");
        }
    }
}

/// A file under its temporary name. It is removed unless it is kept or left.
pub(super) struct Part {
    folder: Arc<OwnedFd>,
    temporary: OsString,
    name: OsString,
    content: Content,
    head: EntryHead,
    /// Bytes that were there when it was opened.
    held: u64,
    /// What was there and what came since, and the hash of the whole; nothing where all came.
    whole: Option<(blake3::Hasher, Hash)>,
    /// Its name is that of its content, so that it may stay for the next get.
    lasting: bool,
    /// It has its name, or stays as it is.
    settled: bool,
}

impl Part {
    /// Opens a file under a temporary name in `folder`: what an earlier get left of the same
    /// content, or an empty one.
    pub(super) fn open(
        folder: Arc<OwnedFd>,
        name: OsString,
        head: EntryHead,
        parts: &mut Parts,
    ) -> Result<Self, Failure> {
        let taken = rustix::fs::statat(&*folder, &name, AtFlags::SYMLINK_NOFOLLOW);
        if taken.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir()) {
            let shown = name.to_string_lossy();
            return Err(Failure::Entry(format!("\"{shown}\" is a folder there")));
        }
        let kept = leftover::kept(&name);
        parts.leftovers.remove(&folder, &kept);
        // Nobody else may read more of the file while it is written than when it is whole.
        let mode = if head.mode == 0 { 0o666 } else { (head.mode & 0o700) | 0o600 };
        let mode = Mode::from_raw_mode(mode);
        let lasting = head.resumable().and_then(|(hash, _)| {
            let temporary = leftover::lasting(&kept, &hash);
            leftover::take(&folder, &temporary, mode).map(|file| (file, temporary))
        });
        let is_lasting = lasting.is_some();
        let (file, temporary) = match lasting {
            Some(opened) => opened,
            None => create(&folder, &kept, mode, &mut parts.count)?,
        };
        let mut part = Self {
            folder,
            temporary,
            name,
            content: Content::cached(file),
            head,
            held: 0,
            whole: None,
            lasting: is_lasting,
            settled: false,
        };
        if is_lasting {
            part.go_on(mode, &parts.given_up)?;
        }
        part.enlarge()?;
        Ok(part)
    }

    /// Finds out what an earlier get left, and reads it into the hash of the whole.
    fn go_on(&mut self, mode: Mode, given_up: &AtomicBool) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io("it cannot be written", &error);
        let Some((hash, size)) = self.head.resumable() else { return Ok(()) };
        let file = self.content.file();
        let length = file.metadata().map_err(failed)?.len();
        if length > 0 && self.head.mode != 0 {
            // Another version with the same content may have had other permissions.
            rustix::fs::fchmod(file, mode).map_err(|error| failed(error.into()))?;
        }
        let held = match length {
            length if length > size => 0,
            length if length == size => size,
            length => length - length % ALIGNMENT as u64,
        };
        // What cannot be read again is not there.
        let read = hashed(file, held, given_up).unwrap_or_default();
        if given_up.load(Ordering::Relaxed) {
            self.settled = held > 0;
            return Err(Failure::GivenUp { left: held });
        }
        match read.filter(|_| held > 0) {
            Some(hasher) => {
                self.held = held;
                self.whole = Some((hasher, hash));
            }
            None => file.set_len(0).map_err(failed)?,
        }
        Ok(())
    }

    /// Prepares for a large file, if it is to be one.
    fn enlarge(&mut self) -> Result<(), Failure> {
        let Some(size) = self.head.size.filter(|size| *size >= LARGE_BYTES_MIN) else {
            return Ok(());
        };
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let reopen = |more| {
            rustix::fs::openat(&*self.folder, &self.temporary, flags | more, Mode::empty())
                .map(File::from)
        };
        let file = self.content.file().try_clone();
        match file.and_then(|file| Content::large(file, size, self.held, reopen)) {
            Ok(content) => self.content = content,
            Err(error) => {
                // With more room the next get can go on.
                self.settled = self.held > 0;
                return Err(Failure::io("it cannot be written", &error));
            }
        }
        Ok(())
    }

    /// Bytes that were there when it was opened.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Takes bytes that follow all before.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if let Some((hasher, _)) = &mut self.whole {
            hasher.update(bytes);
        }
        let written = self.content.write(bytes);
        written.map_err(|error| Failure::io("it cannot be written", &error))
    }

    /// Gives the file its name, and removes what earlier gets left of other contents.
    pub(super) fn keep(mut self, parts: &mut Parts) -> Result<(), Failure> {
        if let Some(size) = self.head.size
            && size != self.content.length()
        {
            let text = format!("{} bytes arrived of {size}", self.content.length());
            return Err(Failure::Entry(text));
        }
        if let Some((hasher, hash)) = &self.whole
            && hasher.finalize() != *hash.as_bytes()
        {
            let text = "what an interrupted get had left of it was damaged, and is removed now; \
                        repeat the command to fetch all of it";
            return Err(Failure::Entry(text.to_owned()));
        }
        let finished = self.content.finish();
        finished.map_err(|error| Failure::io("it cannot be written", &error))?;
        restore(self.content.file(), &self.head)?;
        match parts.places.clone() {
            Some(places) => self.place(&places, parts)?,
            None => rustix::fs::renameat(&*self.folder, &self.temporary, &*self.folder, &self.name)
                .map_err(|error| Failure::of("it cannot be given its name", error))?,
        }
        self.settled = true;
        parts.leftovers.remove_lasting(&self.folder, &leftover::kept(&self.name));
        Ok(())
    }

    /// Gives the file its name where what has that name is still what was decided about.
    fn place(&self, places: &Places, parts: &mut Parts) -> Result<(), Failure> {
        let failed = |error| Failure::of("it cannot be given its name", error);
        let file = self.content.file();
        file.sync_all().map_err(|error| Failure::io("it cannot be synced", &error))?;
        let there = match rustix::fs::statat(&*self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(failed(error)),
        };
        let changed = || Failure::Entry(CHANGED_HERE.to_owned());
        if !places.is_as_decided(&self.head.path, there.as_ref()) {
            return Err(changed());
        }
        let (from, to) = (&self.temporary, &self.name);
        let flags = match places.is_empty(&self.head.path) {
            true => RenameFlags::NOREPLACE,
            false => RenameFlags::empty(),
        };
        let folder = &*self.folder;
        match rustix::fs::renameat_with(folder, from, folder, to, flags) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(changed()),
            // Not every file system can refuse to replace.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::renameat(folder, from, folder, to).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        parts.named_in(&self.folder);
        let stat = rustix::fs::fstat(file).map_err(failed)?;
        places.note(self.head.path.clone(), Fingerprint::of_stat(&stat));
        Ok(())
    }

    /// Leaves a file that breaks off to the next get, if that can go on in it. Returns the bytes
    /// that stay.
    pub(super) fn leave(mut self) -> u64 {
        if !self.lasting || self.content.length() < KEPT_BYTES_MIN || self.content.finish().is_err()
        {
            return 0;
        }
        let length = self.content.length();
        // Gives back the room that was reserved behind them.
        if self.content.file().set_len(length).is_err() {
            return 0;
        }
        self.settled = true;
        length
    }

    /// Leaves a file whose entry failed. Returns the bytes that stay.
    pub(super) fn fail(self) -> u64 {
        // Where all bytes came and it failed, some of them are wrong.
        if self.head.size == Some(self.content.length()) { 0 } else { self.leave() }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.settled
            && let Err(error) =
                rustix::fs::unlinkat(&*self.folder, &self.temporary, AtFlags::empty())
        {
            let name = String::from_utf8_lossy(self.temporary.as_bytes()).into_owned();
            tracing::warn!(%error, name, "a half-written file stays behind");
        }
    }
}

/// Makes an empty file under a temporary name that nobody else has.
fn create(
    folder: &OwnedFd,
    kept: &str,
    mode: Mode,
    count: &mut u64,
) -> Result<(File, OsString), Failure> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        *count += 1;
        let temporary = leftover::temporary(kept, *count);
        match rustix::fs::openat(folder, &temporary, flags, mode) {
            Ok(file) => {
                let file = File::from(file);
                if leftover::claim(&file) {
                    return Ok((file, temporary));
                }
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(Failure::of("the file cannot be made", error)),
        }
    }
}

/// The first `length` bytes in a hasher; nothing where they are not there or the work is given up.
fn hashed(file: &File, length: u64, given_up: &AtomicBool) -> io::Result<Option<blake3::Hasher>> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    while at < length && !given_up.load(Ordering::Relaxed) {
        let count = (length - at).min(READ_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..count], at)?;
        hasher.update(&buffer[..count]);
        at += count as u64;
    }
    Ok((at == length).then_some(hasher))
}
