//! The paths of one archive, each of which may stand for one thing only.

use std::collections::BTreeMap;

/// What a path was seen as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    File,
    Folder,
}

/// Why a path cannot be in the same archive as one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Clash {
    /// A file had it.
    Twice,
    /// This path, its own or a folder's of it, is a folder and something else.
    Both(String),
}

/// The paths that were seen, by a part of their hash, which takes less room than their names.
#[derive(Default)]
pub(crate) struct Paths(BTreeMap<u128, Seen>);

impl Paths {
    /// Adds a path and those of its folders.
    ///
    /// # Errors
    /// What it clashes with.
    pub(crate) fn add(&mut self, path: &str, folder: bool) -> Result<(), Clash> {
        for (at, _) in path.match_indices('/') {
            if self.see(&path[..at], Seen::Folder) == Some(Seen::File) {
                return Err(Clash::Both(path[..at].to_owned()));
            }
        }
        match (self.see(path, if folder { Seen::Folder } else { Seen::File }), folder) {
            (None, _) | (Some(Seen::Folder), true) => Ok(()),
            (Some(Seen::File), false) => Err(Clash::Twice),
            _ => Err(Clash::Both(path.to_owned())),
        }
    }

    /// What a path was seen as before.
    fn see(&mut self, path: &str, now: Seen) -> Option<Seen> {
        let hash = blake3::hash(path.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hash.as_bytes()[..16]);
        let key = u128::from_le_bytes(key);
        let before = self.0.get(&key).copied();
        if before.is_none() {
            self.0.insert(key, now);
        }
        before
    }
}
