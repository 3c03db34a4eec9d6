//! The paths of one archive, each of which may stand for one thing only.

use std::collections::BTreeMap;

/// What a path was seen as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    File,
    /// A folder that was named.
    Folder,
    /// A folder in which something is.
    Filled,
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
            if self.see(&path[..at], Seen::Filled) == Some(Seen::File) {
                return Err(Clash::Both(path[..at].to_owned()));
            }
        }
        match (self.see(path, if folder { Seen::Folder } else { Seen::File }), folder) {
            (None, _) | (Some(Seen::Folder | Seen::Filled), true) => Ok(()),
            (Some(Seen::File), false) => Err(Clash::Twice),
            _ => Err(Clash::Both(path.to_owned())),
        }
    }

    /// Paths that were seen, those of folders that nobody named too.
    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Whether something is in this folder.
    pub(crate) fn is_filled(&self, path: &str) -> bool {
        self.0.get(&key(path)) == Some(&Seen::Filled)
    }

    /// What a path was seen as before.
    fn see(&mut self, path: &str, now: Seen) -> Option<Seen> {
        let key = key(path);
        let before = self.0.get(&key).copied();
        let fills = now == Seen::Filled && before == Some(Seen::Folder);
        if before.is_none() || fills {
            self.0.insert(key, now);
        }
        before
    }
}

fn key(path: &str) -> u128 {
    let hash = blake3::hash(path.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(key)
}
