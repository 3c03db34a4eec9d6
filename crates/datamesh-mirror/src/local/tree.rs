//! Changes of a local tree that move no bytes: other names, removals, folders.
//!
//! As everywhere below a folder, each step is taken from an open folder and never through a link; and
//! a file is only touched while it is in the state in which it was looked at.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use datamesh_core::MeshPath;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::reason;
use super::writer::{Failure, descend, make_folder, open_folder};
use crate::fingerprint::Fingerprint;

/// Why a file is left as it is.
const CHANGED: &str = "it changed here meanwhile; the next sync looks at it again";

/// Why a name cannot be given.
const TAKEN: &str = "something has that name here by now; the next sync looks at it again";

/// A folder and what is below it.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    root: Arc<OwnedFd>,
}

impl Tree {
    /// The tree below `root`.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { root: Arc::new(File::open(root)?.into()) })
    }

    /// Opens the folder that a path lies in, making what is not there if that is asked for.
    fn parent<'a>(
        &self,
        path: &'a MeshPath,
        make: bool,
    ) -> Result<(Arc<OwnedFd>, &'a str), Failure> {
        let parts: Vec<String> = path.components().map(str::to_owned).collect();
        let Some((_, parents)) = parts.split_last() else {
            return Ok((Arc::clone(&self.root), path.name()));
        };
        if make {
            return Ok((descend(&self.root, &mut None, parents, true)?, path.name()));
        }
        let mut at = Arc::clone(&self.root);
        for part in parents {
            at = Arc::new(open_folder(&at, OsStr::new(part))?);
        }
        Ok((at, path.name()))
    }

    /// Gives a file in the state `expected` another name that nothing has. Returns its state then.
    pub(crate) fn rename(
        &self,
        from: &MeshPath,
        to: &MeshPath,
        expected: &Fingerprint,
    ) -> Result<Fingerprint, String> {
        let (old, old_name) = self.parent(from, false).map_err(Failure::text)?;
        if stat(&old, old_name)?.as_ref() != Some(expected) {
            return Err(CHANGED.to_owned());
        }
        let (folder, name) = self.parent(to, true).map_err(Failure::text)?;
        match rustix::fs::renameat_with(&*old, old_name, &*folder, name, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(TAKEN.to_owned()),
            Err(Errno::INVAL | Errno::NOSYS) => {
                if stat(&folder, name)?.is_some() {
                    return Err(TAKEN.to_owned());
                }
                rustix::fs::renameat(&*old, old_name, &*folder, name)
                    .map_err(|error| failed("it cannot be renamed", error))?;
            }
            Err(error) => return Err(failed("it cannot be renamed", error)),
        }
        rustix::fs::fsync(&*folder)
            .map_err(|error| failed("its folder cannot be synced", error))?;
        stat(&folder, name)?.ok_or_else(|| CHANGED.to_owned())
    }

    /// Removes a file in the state `expected`. One that is gone already is no failure.
    pub(crate) fn remove(&self, path: &MeshPath, expected: &Fingerprint) -> Result<(), String> {
        let (folder, name) = self.parent(path, false).map_err(Failure::text)?;
        match stat(&folder, name)? {
            None => return Ok(()),
            Some(found) if found == *expected => {}
            Some(_) => return Err(CHANGED.to_owned()),
        }
        match rustix::fs::unlinkat(&*folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed("it cannot be removed", error)),
        }
    }

    /// Makes a folder, and those on the way to it.
    pub(crate) fn make_folder(&self, path: &MeshPath) -> Result<(), String> {
        let (folder, name) = self.parent(path, true).map_err(Failure::text)?;
        make_folder(&folder, OsStr::new(name)).map_err(Failure::text)?;
        rustix::fs::fsync(&*folder).map_err(|error| failed("its folder cannot be synced", error))
    }

    /// Removes a folder if it is empty. False where it is not.
    pub(crate) fn remove_folder(&self, path: &MeshPath) -> Result<bool, String> {
        let (folder, name) = self.parent(path, false).map_err(Failure::text)?;
        match rustix::fs::unlinkat(&*folder, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(failed("the folder cannot be removed", error)),
        }
    }
}

fn failed(what: &str, error: Errno) -> String {
    format!("{what}: {}", reason(&error.into()))
}

fn stat(folder: &OwnedFd, name: &str) -> Result<Option<Fingerprint>, String> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Fingerprint::of_stat(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(failed("it cannot be looked at", error)),
    }
}
