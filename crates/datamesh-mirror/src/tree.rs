//! The three trees that a pass compares. All are named by the way from the mirrored folder.

use std::collections::BTreeMap;

use datamesh_core::{Hash, MeshPath, VersionId};

use crate::fingerprint::Fingerprint;

/// What is at a name, on the mesh or in the memory of the last pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A folder that is an entry of its own: one that was stored empty.
    Folder,
    /// A file.
    File {
        /// Bytes.
        size: u64,
        /// BLAKE3 of them.
        hash: Hash,
    },
}

/// What is at a name in the local folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// A folder.
    Folder {
        /// Nothing at all is in it.
        empty: bool,
    },
    /// A regular file.
    File {
        /// Its state when it was looked at.
        fingerprint: Fingerprint,
        /// BLAKE3 of its content, where that is known: because it did not change, or because it had
        /// to be read.
        hash: Option<Hash>,
    },
}

/// What is at a name on the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// What it is.
    pub content: Content,
    /// The version.
    pub version: VersionId,
    /// Its number among the path's versions.
    pub number: u64,
}

/// What both sides had at a name when they were last alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What it was.
    pub content: Content,
    /// The version; zero where it was not told.
    pub version: VersionId,
    /// The local file's state, where a change of it is sure to show.
    pub fingerprint: Option<Fingerprint>,
}

/// The local folder.
pub type LocalTree = BTreeMap<MeshPath, Local>;
/// The mesh folder.
pub type RemoteTree = BTreeMap<MeshPath, Remote>;
/// The base: what both had in common.
pub type KnownTree = BTreeMap<MeshPath, Known>;

impl Local {
    /// Whether it is this. A file whose content was not looked at is nothing else's like.
    pub(crate) fn is(&self, content: &Content) -> bool {
        match (self, content) {
            (Self::Folder { .. }, Content::Folder) => true,
            (Self::File { fingerprint, hash: Some(hash) }, Content::File { size, hash: other }) => {
                fingerprint.size == *size && hash == other
            }
            _ => false,
        }
    }

    /// A folder with something in it, which is no entry of its own.
    pub(crate) fn is_full_folder(&self) -> bool {
        matches!(self, Self::Folder { empty: false })
    }
}

impl Remote {
    /// Whether it is what it was when the base was made. The version tells; where another one has
    /// the same content, nothing changed either.
    pub(crate) fn is(&self, known: &Known) -> bool {
        self.version == known.version || self.content == known.content
    }
}

/// The first entry below `folder`.
pub(crate) fn first_below<'a, T>(
    tree: &'a BTreeMap<MeshPath, T>,
    folder: &MeshPath,
) -> Option<&'a MeshPath> {
    below(tree, folder).next().map(|(path, _)| path)
}

/// All entries below `folder`.
pub(crate) fn below<'a, T>(
    tree: &'a BTreeMap<MeshPath, T>,
    folder: &MeshPath,
) -> impl Iterator<Item = (&'a MeshPath, &'a T)> {
    // The lowest name that can be below it; where there is no room for one, nothing is.
    let from = format!("{folder}/\u{1}").parse::<MeshPath>().ok();
    let inside = format!("{folder}/");
    let range = from.map(|from| tree.range(from..)).into_iter().flatten();
    range.take_while(move |(path, _)| path.as_str().starts_with(&inside))
}

/// The folders that a path lies in, the nearest first.
pub(crate) fn folders_of(path: &MeshPath) -> impl Iterator<Item = MeshPath> + '_ {
    let mut rest = path.as_str();
    std::iter::from_fn(move || {
        (rest, _) = rest.rsplit_once('/')?;
        // A path's beginning up to a slash is a path.
        rest.parse().ok()
    })
}
