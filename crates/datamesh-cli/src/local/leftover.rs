//! What a get that was killed leaves behind: a file under its temporary name.
//!
//! A file that is being written is locked, and the system ends the lock with the process. So a
//! temporary file that can be locked belongs to nobody any more, and the next get of the same name
//! to the same folder removes it. Where the file system has no locks nothing is removed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Most bytes of a file's name that its temporary name repeats, so that both fit a component.
const NAME_BYTES_KEPT: usize = 200;

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

/// What a temporary name repeats of its file's; nothing where it is none.
fn repeated(name: &str) -> Option<&str> {
    let (kept, numbers) = name.strip_prefix('.')?.strip_suffix(SUFFIX)?.rsplit_once('.')?;
    let (process, count) = numbers.split_once('-')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (number(process) && number(count)).then_some(kept)
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
    names: BTreeMap<String, Vec<OsString>>,
}

impl Leftovers {
    /// Removes what earlier gets of this name left in `folder`.
    pub(super) fn remove(&mut self, folder: &Arc<OwnedFd>, kept: &str) {
        if !self.folder.as_ref().is_some_and(|known| Arc::ptr_eq(known, folder)) {
            // Room that is not given back is no reason to write nothing.
            self.names = find(folder).unwrap_or_default();
            self.folder = Some(Arc::clone(folder));
        }
        for name in self.names.remove(kept).unwrap_or_default() {
            match remove(folder, &name) {
                Ok(()) | Err(Errno::WOULDBLOCK | Errno::NOENT) => {}
                Err(error) => tracing::debug!(%error, ?name, "a half-written file stays behind"),
            }
        }
    }
}

fn find(folder: &OwnedFd) -> Result<BTreeMap<String, Vec<OsString>>, Errno> {
    let mut names: BTreeMap<String, Vec<OsString>> = BTreeMap::new();
    let mut count = 0;
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if let Some(kept) = name.to_str().and_then(repeated) {
            names.entry(kept.to_owned()).or_default().push(name.to_owned());
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
    let (opened, named) =
        (rustix::fs::fstat(&file)?, rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?);
    let same = (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino);
    if same && FileType::from_raw_mode(opened.st_mode).is_file() {
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
            assert_eq!(made.to_str().and_then(repeated), Some(kept.as_str()));
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
        ] {
            assert_eq!(repeated(name), None, "{name}");
        }
    }
}
