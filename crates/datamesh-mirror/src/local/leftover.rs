//! What a get that broke off leaves behind: a file under its temporary name.
//!
//! A file that is being written is locked, and the system ends the lock with the process. So a
//! temporary file that can be locked belongs to nobody any more. The next get of the same name to the
//! same folder goes on in it, where its name says that it has the same content; one of another content
//! is removed as soon as a file got its name, and any other at once. Where the file system has no locks
//! nothing is continued or removed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use datamesh_core::Hash;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Most bytes of a file's name that its temporary name repeats, so that both fit a component.
const NAME_BYTES_KEPT: usize = 200;

/// Hexadecimal digits of a content's hash in the temporary name of a file with that content. They
/// only find it: the whole hash is compared in the end.
const HASH_DIGITS: usize = 32;

/// Ends every temporary name.
const SUFFIX: &str = ".datamesh-part";

/// Most leftovers that are looked after in one folder.
const LEFTOVERS_MAX: usize = 4096;

/// The part of a file's name that its temporary name repeats.
pub(super) fn kept(name: &OsStr) -> String {
    let shown = name.to_string_lossy();
    shown[..shown.floor_char_boundary(NAME_BYTES_KEPT)].to_owned()
}

/// The temporary name of a file, the `count`th of this process.
pub(super) fn temporary(kept: &str, count: u64) -> OsString {
    OsString::from(format!(".{kept}.{}-{count}{SUFFIX}", std::process::id()))
}

/// The temporary name of a file with this content, for whoever fetches it.
pub(super) fn lasting(kept: &str, hash: &Hash) -> OsString {
    let mut digits = hash.to_string();
    digits.truncate(HASH_DIGITS);
    OsString::from(format!(".{kept}.{digits}{SUFFIX}"))
}

/// Whether a file's name is a temporary one.
pub(crate) fn is_temporary(name: &str) -> bool {
    repeated(name).is_some()
}

/// What a temporary name repeats of its file's, and whether it is that of a content; nothing where it
/// is none.
fn repeated(name: &str) -> Option<(&str, bool)> {
    let (kept, mark) = name.strip_prefix('.')?.strip_suffix(SUFFIX)?.rsplit_once('.')?;
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if mark.len() == HASH_DIGITS && mark.bytes().all(digit) {
        return Some((kept, true));
    }
    let (process, count) = mark.split_once('-')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (number(process) && number(count)).then_some((kept, false))
}

/// Opens and locks the file under a content's temporary name, and makes it where it is not there.
/// Nothing where it is not safe to write to what is there: somebody else writes it, owns it or has
/// another name for it, or it is no file at all.
pub(super) fn take(folder: &OwnedFd, name: &OsStr, mode: Mode) -> Option<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let (file, made) = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            let flags = flags | OFlags::CREATE | OFlags::EXCL;
            (rustix::fs::openat(folder, name, flags, mode), true)
        }
        opened => (opened, false),
    };
    let file = File::from(file.ok()?);
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(error) => {
            if made && error != Errno::WOULDBLOCK {
                // Without locks it could never be continued.
                let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
            }
            return None;
        }
    }
    let opened = rustix::fs::fstat(&file).ok()?;
    let ours = opened.st_uid == rustix::process::geteuid().as_raw() && opened.st_nlink == 1;
    (ours && is_named(&opened, folder, name).ok()?).then_some(file)
}

/// Whether an opened file is a regular one and still has this name: it may have been removed or
/// given its own before it was locked.
fn is_named(opened: &Stat, folder: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    let named = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let same = (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino);
    Ok(same && FileType::from_raw_mode(opened.st_mode).is_file())
}

/// Locks a temporary file that was just made. False where another get took it for a leftover
/// before it was locked.
pub(super) fn claim(file: &File) -> bool {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink > 0),
        // Without locks nobody removes anything either.
        Err(error) => error != Errno::WOULDBLOCK,
    }
}

/// The leftovers of the folder that is being written to, by what they repeat.
#[derive(Default)]
pub(super) struct Leftovers {
    folder: Option<Arc<OwnedFd>>,
    names: Names,
}

/// Temporary names by what they repeat and by whether they are those of contents.
type Names = BTreeMap<(String, bool), Vec<OsString>>;

impl Leftovers {
    /// Removes what earlier gets of this name left in `folder` and nobody can go on in.
    pub(super) fn remove(&mut self, folder: &Arc<OwnedFd>, kept: &str) {
        self.remove_some(folder, kept, false);
    }

    /// Removes what earlier gets of this name left for later ones.
    pub(super) fn remove_lasting(&mut self, folder: &Arc<OwnedFd>, kept: &str) {
        self.remove_some(folder, kept, true);
    }

    fn remove_some(&mut self, folder: &Arc<OwnedFd>, kept: &str, lasting: bool) {
        if !self.folder.as_ref().is_some_and(|known| Arc::ptr_eq(known, folder)) {
            // Room that is not given back is no reason to write nothing.
            self.names = find(folder).unwrap_or_default();
            self.folder = Some(Arc::clone(folder));
        }
        for name in self.names.remove(&(kept.to_owned(), lasting)).unwrap_or_default() {
            match remove(folder, &name) {
                Ok(()) | Err(Errno::WOULDBLOCK | Errno::NOENT) => {}
                Err(error) => tracing::debug!(%error, ?name, "a half-written file stays behind"),
            }
        }
    }
}

fn find(folder: &OwnedFd) -> Result<Names, Errno> {
    let mut names = Names::new();
    let mut count = 0;
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if let Some((kept, lasting)) = name.to_str().and_then(repeated) {
            names.entry((kept.to_owned(), lasting)).or_default().push(name.to_owned());
            count += 1;
        }
        if count == LEFTOVERS_MAX {
            break;
        }
    }
    Ok(names)
}

/// Removes a temporary file that nobody writes.
fn remove(folder: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    if is_named(&rustix::fs::fstat(&file)?, folder, name)? {
        rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_own_making_are_leftovers() {
        for name in ["a", "a.b", "", "é".repeat(120).as_str()] {
            let kept = kept(OsStr::new(name));
            let made = temporary(&kept, 7);
            assert!(made.len() <= 255);
            assert_eq!(made.to_str().and_then(repeated), Some((kept.as_str(), false)));
            let made = lasting(&kept, &Hash([0xC7; 32]));
            assert!(made.len() <= 255);
            assert_eq!(made.to_str().and_then(repeated), Some((kept.as_str(), true)));
        }
        for name in [
            "a.1-1.datamesh-part",
            ".a.1-1.part",
            ".a.1.datamesh-part",
            ".a.1-.datamesh-part",
            ".a.-1.datamesh-part",
            ".a.1-x.datamesh-part",
            ".datamesh-part",
            ".a.1-1.datamesh-part.",
            ".a.c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c.datamesh-part",
            ".a.C7C7C7C7C7C7C7C7C7C7C7C7C7C7C7C7.datamesh-part",
            ".c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7.datamesh-part",
        ] {
            assert_eq!(repeated(name), None, "{name}");
        }
    }
}
